"""What the simulator's node asks of a robot, whichever world it stands in. Nothing here knows ROS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What the simulator knows of the task at its last observation. Privileged: for the perfect-pixels backend."""

    skill: str | None  # "goto", "pick" or "place"; None when nothing is left to do
    name: str  # of what the skill is about, in words
    visible: tuple[int, float, float] | None  # (view, u, v) of a pixel that shows it
    at_goal: bool  # whether stopping now is success


class SimulatedRobot(Protocol):
    """A robot in its world, moved on by whoever runs the clock."""

    tick_s: float  # of simulated time, between two calls of `advance`

    @property
    def embodiment(self) -> Embodiment:
        """What a planner may know of it."""

    @property
    def instruction(self) -> str:
        """What the running episode asks for."""

    @property
    def T_map_base(self) -> Pose:  # noqa: N802  (a transform, as the field writes it)
        """Where it truly stands."""

    def reset(self, seed: int) -> None:
        """Start the episode of a seed; every command is forgotten."""

    def advance(self) -> None:
        """Let one tick pass."""

    def observe(self, stamp_s: float) -> Observation:
        """Look: every camera, at one instant."""

    def ground_truth(self) -> GroundTruth:
        """The truth of the last observation."""

    def close(self) -> None:
        """Give the renderer's resources back."""
