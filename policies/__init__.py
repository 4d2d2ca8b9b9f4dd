"""Policies: the planner with its skills, and the baselines it is measured against.

They see observations only; the oracle alone looks into the simulator, through the ground truth that it is given.
"""
