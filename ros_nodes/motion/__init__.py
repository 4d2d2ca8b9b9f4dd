"""Clients that move the robot: base, arm and camera tilt. Nothing here plans."""
