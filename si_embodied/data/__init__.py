"""Spatial questions and planning demonstrations generated from simulated scenes, with exact ground truth.

Nothing here runs or scores a policy. `training/` reads the data.
"""
