"""Calibration of a robot's camera from pictures of a ChArUco board: by how much is a setting off, and what to set.

Intrinsics, the camera's mount (hand-eye), depth, and the time between images and transforms. Each check is a function
of pictures, and returns findings. Nothing here moves a robot or needs ROS.
"""
