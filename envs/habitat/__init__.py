"""Habitat's tasks, sensors, measures and episode format, on our apartments and on users' datasets.

habitat-lab defines the tasks and a simulator renders them: `embedded` is ours (MuJoCo), `habitat-sim` is Habitat's own.
Habitat is y-up; only `frames` converts. Importing this package does not import habitat.
"""
