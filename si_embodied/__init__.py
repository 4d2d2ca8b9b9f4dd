"""Spatial vision-language models as a robot's high-level planner.

The core (this level) is pure: numpy and the standard library. Heavy parts are imported from their own packages:
`si_embodied.envs`, `.policies`, `.models`, `.backends`, `.evaluation`, `.serving`, `.ros_nodes`.
"""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from si_embodied.backends.opening import open_planner

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
    "open_planner",
]


def __getattr__(name: str) -> object:
    """Import what opens a model on first use: the core itself knows no backend."""
    if name == "open_planner":
        from si_embodied.backends.opening import open_planner

        return open_planner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
