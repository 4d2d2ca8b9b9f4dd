"""The interface between `sim_node` and a robot in any of the worlds. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The task's state at the last observation. Privileged information, for the perfect-pixels backend."""

    skill: str | None  # "goto", "pick" or "place"; None when the task is complete
    name: str  # of the object that the skill acts on
    visible: tuple[int, float, float] | None  # (view, u, v) of a pixel that shows the object
    at_goal: bool  # whether stopping now would succeed


class SimulatedRobot(Protocol):
    """A robot in its world; the owner of the clock calls `advance`."""

    tick_s: float  # simulated time per call of `advance`

    @property
    def embodiment(self) -> Embodiment:
        """The robot as a planner may know it."""

    @property
    def instruction(self) -> str:
        """The instruction of the current episode."""

    @property
    def T_map_base(self) -> Pose:  # noqa: N802  (a transform, as the field writes it)
        """The true pose of the base."""

    def reset(self, seed: int) -> None:
        """Start the episode of a seed; pending commands are dropped."""

    def advance(self) -> None:
        """Advance by one tick."""

    def observe(self, stamp_s: float) -> Observation:
        """Take an image with every camera, all at the same instant."""

    def ground_truth(self) -> GroundTruth:
        """The ground truth at the last observation."""

    def close(self) -> None:
        """Release the renderer's resources."""
