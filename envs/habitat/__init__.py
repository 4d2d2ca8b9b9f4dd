"""Habitat: its tasks, sensors, measures and episode format, on our apartments and on users' datasets.

habitat-lab defines the tasks; a simulator draws them: `embedded` is ours (MuJoCo), `habitat-sim` is Habitat's own.
Habitat is y-up; `frames` converts, and nothing else here or elsewhere does. Importing this loads nothing of habitat.
"""
