"""Independent tasks, done one after another, by processes on this machine, or by the workers of a Ray cluster.

Nothing here knows what a task is: evaluations have episodes, data sets have shards.
"""
