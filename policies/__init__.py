"""Policies: the planner with its skills, and the baselines it is compared with.

Policies see observations only. The oracle alone also reads the simulator's ground truth.
"""
