"""What the environment asks of a place, and of the paths to a goal in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.embodiment import BaseAction, MobileBase
    from si_embodied.envs.own.cloud import Cloud, Floor
    from si_embodied.types import CameraFrame

    BasePose = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of an action."""

    length_m: float  # driven
    touched: bool  # an obstacle, or there is no view where the action leads
    off_m: float = 0.0  # of the pose from where the action leads, if only recorded poses are possible
    off_rad: float = 0.0


class Paths(Protocol):
    """The paths from everywhere to one goal."""

    def start_distances(self) -> NDArray[np.float64]:
        """(N,) driving distances from the place's starts, inf where there is no path."""

    def distance(self, pose: BasePose) -> float:
        """Driving distance, metres; inf if there is no path."""

    def points(self, pose: BasePose) -> NDArray[np.float64]:
        """(N, 2), map, the shortest path from a pose; empty if there is none."""

    def next_action(self, pose: BasePose) -> BaseAction:
        """The next action along the shortest path; waits where there is none."""


class Place(Protocol):
    """A place with a robot in it, driven by discrete actions."""

    embodiment: MobileBase
    cloud: Cloud  # with its floor at z = 0
    floor: Floor
    starts: NDArray[np.float64]  # (N, 3), x, y in metres and yaw in radians: where an episode may start
    shape: tuple[int, int]  # of the images, (H, W)

    @property
    def pose(self) -> BasePose:
        """The robot's x, y in metres and yaw in radians, map."""

    def put(self, pose: BasePose) -> None:
        """Put the robot at a pose, its camera as at the start of an episode."""

    def act(self, action: BaseAction) -> Moved:
        """Do one action."""

    def frame(self, stamp_s: float) -> CameraFrame:
        """What the robot's camera sees."""

    def paths_to(self, x: float, y: float, radius_m: float) -> Paths:
        """The paths to within a distance of a map point."""

    def close(self) -> None:
        """Free the renderer; the place can be used again."""
