"""Spatial vision-language models as a robot's high-level planner.

The core (this level) is pure: numpy and the standard library. Heavy parts are imported from their own packages:
`si_embodied.envs`, `.policies`, `.models`, `.backends`, `.evaluation`, `.serving`, `.ros_nodes`.
"""

from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import (
    ArmState,
    CameraFrame,
    Code,
    Completion,
    Decision,
    Execute,
    Hold,
    NavigationMap,
    Observation,
    Outcome,
    PlanRecord,
    Prompt,
    Task,
)

__version__ = "0.1.0"

__all__ = [
    "ArmState",
    "CameraFrame",
    "Code",
    "Completion",
    "Decision",
    "Execute",
    "Hold",
    "Intrinsics",
    "NavigationMap",
    "Observation",
    "Outcome",
    "PlanRecord",
    "Pose",
    "Prompt",
    "Task",
    "__version__",
]
