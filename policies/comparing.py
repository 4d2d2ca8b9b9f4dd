"""A backend that asks the perfect-pixels planner what a model was asked, and notes where the two agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import PlanParseError
from si_embodied.plan import parse_plan
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.skills import PointedSubgoal

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.backends.base import Backend, BackendInfo
    from si_embodied.plan import Plan
    from si_embodied.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model."""

    decision: float  # probabilities: see `Certainty`
    agrees: bool  # whether perfect pixels makes the same decision
    point: float | None
    on_target: bool | None  # whether the point lies on the target; None without a point or with another decision


class Compared:
    """Answers as the wrapped backend does. `answers` are its plans so far whose probability is known."""

    def __init__(self, backend: Backend, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap the backend of a policy that plays in `env`, a world with ground truth."""
        self._backend, self._teacher = backend, perfect_pixels_backend(env)
        self._world: Any = env.unwrapped
        self.answers: list[Answer] = []

    @property
    def info(self) -> BackendInfo:
        """The wrapped backend's info."""
        return self._backend.info

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The wrapped backend's completion; raises what it raises."""
        completion = self._backend.generate(prompt, deadline_s=deadline_s)
        try:
            plan = parse_plan(completion.text, self._world.kind, prompt.views)
        except PlanParseError:
            return completion
        told = self._teacher.generate(prompt, deadline_s=deadline_s)
        right = parse_plan(told.text, self._world.kind, prompt.views)
        if completion.certainty is not None:
            agrees = decided(plan) == decided(right)
            on_target = self._on_target(plan) if agrees else None
            self.answers.append(Answer(completion.certainty.decision, agrees, completion.certainty.point, on_target))
        return completion

    def cancel(self) -> None:
        """Abort the wrapped backend's completion."""
        self._backend.cancel()

    def close(self) -> None:
        """Close the wrapped backend."""
        self._backend.close()

    def _on_target(self, plan: Plan) -> bool | None:
        """Whether the first subgoal points at the target in a present view; None if it does not point at one."""
        first = plan.subgoals[0] if plan.subgoals else None
        if not isinstance(first, PointedSubgoal):
            return None
        if first.view >= len(self._world.embodiment.cameras):
            return None
        return bool(self._world.ground_truth.shows_target(first.view, first.point))


def decided(plan: Plan) -> dict[str, Any]:
    """What `Certainty.decision` is about: the first subgoal without the place it points at, or `done` without one."""
    if not plan.subgoals:
        return {"done": plan.done}
    return plan.subgoals[0].model_dump(exclude={"view", "point", "to"})
