"""Suites: evaluations of several worlds, tasks and policies that a file describes, run as one and compared in pairs.

`shipped/` has those that come with the package. Nothing here knows worlds or policies but by name.
"""
