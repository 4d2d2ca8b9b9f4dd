"""What a world's ground truth says about an episode while it runs: was the target in view, what did plans point at.

It is recorded with the episode, so that the reason of a failure (`failures`) is a function of the records alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.skills import PointedSubgoal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.geometry import Pose
    from si_embodied.ground_truth import Pointed
    from si_embodied.types import Decision, Observation

_NEW_VIEW_M, _NEW_VIEW_RAD = 0.4, 0.3
"""A view that differs less from the last one in which the target was looked for shows no more of it."""


class Witnessed:
    """Collects the evidence of one episode. `pointed` has it by the decision's index."""

    def __init__(self, world: Any) -> None:
        """Ask the ground truth of an unwrapped environment; without any (`Witness`), nothing is known."""
        truth = getattr(world, "ground_truth", None)
        self._target_in_view = getattr(truth, "target_in_view", None)
        self._pointed_at = getattr(truth, "pointed_at", None)
        self._looked: Pose | None = None  # the first camera's pose when the target was last looked for
        self._decisions = 0  # seen so far
        self.target_seen: bool | None = None
        self.pointed: dict[int, Pointed] = {}

    def acted(self, decisions: Sequence[Decision], observation: Observation) -> None:
        """Look for the target in a new view, and at what a new decision points at; call it before the world moves."""
        decided, self._decisions = len(decisions) > self._decisions, len(decisions)
        if self._target_in_view is not None and not self.target_seen and (decided or self._new_view(observation)):
            in_view = self._target_in_view()
            self.target_seen = self.target_seen if in_view is None else bool(in_view)
        if decided and self._pointed_at is not None:
            pointed = self._first_point(decisions[-1], observation)
            answer = None if pointed is None else self._pointed_at(*pointed)
            if answer is not None:
                self.pointed[len(decisions) - 1] = answer

    def _new_view(self, observation: Observation) -> bool:
        camera = observation.frames[0].T_map_camera
        new = self._looked is None or camera.differs(self._looked, by_m=_NEW_VIEW_M, by_rad=_NEW_VIEW_RAD)
        if new:
            self._looked = camera
        return new

    @staticmethod
    def _first_point(decision: Decision, observation: Observation) -> tuple[int, tuple[int, int]] | None:
        """View and point of the first subgoal, if it points into a present view and the world has not moved since."""
        first = decision.plan.subgoals[0] if decision.plan is not None and decision.plan.subgoals else None
        if not isinstance(first, PointedSubgoal) or first.view >= len(observation.frames):
            return None
        if decision.record.observation_stamp_s != observation.stamp_s:
            return None
        return first.view, first.point
