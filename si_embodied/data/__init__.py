"""Spatial questions and planning demonstrations made from simulated scenes, with exact ground truth.

Nothing here runs a policy or scores one; training reads what is made here.
"""
