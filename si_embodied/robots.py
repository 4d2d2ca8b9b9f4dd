"""The Fetch robot: every number of its body that the worlds, the policies and the ROS nodes share, with its source.

`robot.xml` is the description in gymnasium-robotics (`envs/assets/fetch`), which follows the manufacturer's URDF. A
number without a source is our choice for the simulated robot.
"""

from __future__ import annotations

import math
from dataclasses import replace

from si_embodied.embodiment import MobileBase, TableArm

CAMERA_HEIGHT_M = 1.1
"""Of the head camera above the floor, torso down."""
CAMERA_TILT_RAD = -0.35
"""Of the head camera at the start of an episode, up positive: 20 degrees down."""
CAMERA_FOV_Y_DEG = 70.0

TORSO_LIFT_M = 0.25
"""How far the torso is raised at the table; robot.xml allows 0.0386 to 0.3861."""

FETCH_BASE = MobileBase(
    cameras=("head",),
    action_mode="discrete",
    radius_m=0.28,  # half the base's width, 0.56 m (Wise et al., "Fetch & Freight", 2016)
    height_m=1.1,  # torso down: 1.096 m (ibid.)
    forward_step_m=0.25,  # Habitat's ObjectNav
    turn_step_rad=math.radians(15),  # half of ObjectNav's 30 degrees
    tilt_step_rad=math.radians(15),
    tilt_range_rad=(-1.05, 0.52),  # -60 to +30 degrees; robot.xml's head_tilt_joint goes from -1.45 to +0.76
    max_speed_m_s=1.0,  # ibid.
    max_turn_rate_rad_s=1.5,
    control_period_s=0.5,  # of a discrete step
    success_distance_m=1.0,  # Habitat's ObjectNav: 1 m from the object
)
"""The base, driven by discrete steps."""

FETCH_BASE_CONTINUOUS = replace(FETCH_BASE, action_mode="continuous", control_period_s=0.25)
"""The base, driven by velocities; it has no action that tilts the camera."""

FETCH_ARM = TableArm(
    cameras=("head", "side", "wrist"),  # the side camera stands beside the table
    action_mode="pose",
    workspace_m=((0.0, -0.62, 0.60), (1.0, 0.38, 1.60)),  # 1 m cube: EmbodiedBench's 0..100 are centimetres in it
    shoulder_m=(0.0326, 0.0, 0.976),  # robot.xml: base to torso to shoulder_pan_link, torso raised by TORSO_LIFT_M
    reach_m=0.87,  # measured: the farthest at which the tool still points straight down; the arm itself is longer
    max_opening_m=0.1018,  # both finger joints at their limit of 0.05 m (robot.xml); closed, 0.9 mm a side remain
    finger_depth_m=0.012,  # the fingertips reach 0.0385 m from the gripper's frame, the tool centre point 0.0265 m
    home_m=(0.20, -0.60, 0.90),  # high and to the right, out of the head camera's view
    control_period_s=3.0,
)
"""The arm at the table, commanded by tool poses."""

SERVICE_BASE = replace(FETCH_BASE, height_m=1.2, tilt_range_rad=(-math.pi / 4, math.pi / 4))
"""A typical service robot's base, where nothing says which robot it is: the ROS default, and images from files."""

SERVICE_ARM = TableArm(
    cameras=("head",),
    action_mode="pose",
    workspace_m=((-2.0, -2.0, 0.0), (2.0, 2.0, 2.0)),
    shoulder_m=(0.0, 0.0, 0.8),
    reach_m=1.5,
    max_opening_m=0.1,
    finger_depth_m=0.02,
    home_m=(0.4, 0.0, 1.2),
    control_period_s=1.0,
)
"""A typical service robot's arm, with generous bounds: for images from files, which no arm follows."""
