"""Episodes, metrics, statistics and reports.

Environments and policies are reached through `registry` alone; nothing here knows a particular one.
"""
