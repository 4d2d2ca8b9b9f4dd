"""Spatial vision-language models as a robot's high-level planner.

The core (this level) is pure: numpy and the standard library. Heavy parts are imported from their own packages:
`si_embodied.envs`, `.policies`, `.models`, `.backends`, `.evaluation`, `.serving`, `.ros_nodes`.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from si_embodied.backends.opening import open_planner
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

_NOT_IN_TYPES = {"Intrinsics": "geometry", "Pose": "geometry", "open_planner": "backends.opening"}


def __getattr__(name: str) -> object:
    """Import a name on first use: `si-embodied --help` needs no numpy, and the core itself knows no backend."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"si_embodied.{_NOT_IN_TYPES.get(name, 'types')}")
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """Those that are not imported yet, too."""
    return sorted({*globals(), *__all__})
