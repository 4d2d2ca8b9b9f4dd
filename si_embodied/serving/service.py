"""One model as a service: what a request and a backend make a decision, whatever carries them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias

from si_embodied.backends.base import SharedBackend
from si_embodied.backends.tapped import Tap
from si_embodied.config import PlannerConfig
from si_embodied.planner import Planner

if TYPE_CHECKING:
    from collections.abc import Callable

    from si_embodied.backends.base import Backend
    from si_embodied.serving.messages import PlanRequest
    from si_embodied.types import Decision, Prompt

    Listener: TypeAlias = Callable[[PlanRequest, Decision, Prompt | None], None]
    """Is told of each decision and the prompt of it, None if the model was not asked; must return at once."""


class PlanningService:
    """Decides for any robot. It keeps nothing between requests: a robot's memory comes with its request."""

    def __init__(
        self, backend: Backend, config: PlannerConfig | None = None, *, listener: Listener | None = None
    ) -> None:
        """Plan with a backend.

        Args:
            backend: the model.
            config: its prompts, whether it reasons, and the longest that a robot may ask it to take. Bounds and
                grounding are the robot's and come with each request.
            listener: is told of each decision.
        """
        self.backend, self.config, self._listener = backend, config or PlannerConfig(), listener
        self._planning: dict[int, Planner] = {}  # by the request's id

    def decide(self, request: PlanRequest, waited_s: float) -> Decision:
        """The decision; its record says how long the request has waited, and the image has aged by as much."""
        config = dataclasses.replace(
            request.config,
            prompts=self.config.prompts,
            guard=dataclasses.replace(
                request.config.guard,
                max_instruction_characters=min(
                    request.config.guard.max_instruction_characters, self.config.guard.max_instruction_characters
                ),
            ),
            deadline_s=min(request.deadline_s - waited_s, self.config.deadline_s),
        )
        backend = self.backend.caller() if isinstance(self.backend, SharedBackend) else self.backend
        tap = Tap()
        self._planning[id(request)] = planner = Planner(tap.on(backend), request.embodiment, config)
        try:
            decision = planner.plan(request.task, request.observation, request.memory, now_s=request.now_s + waited_s)
        finally:
            del self._planning[id(request)]
        took = decision.record.latency_s
        latency_s = {"queue": waited_s, **took, "total": took["total"] + waited_s}
        decision = dataclasses.replace(decision, record=dataclasses.replace(decision.record, latency_s=latency_s))
        if self._listener is not None:
            self._listener(request, decision, tap.prompt)
        return decision

    def cancel(self, request: PlanRequest) -> None:
        """Abort the decision on a request, unless the backend can only abort those on others with it."""
        planner = self._planning.get(id(request))
        if planner is not None and (isinstance(self.backend, SharedBackend) or len(self._planning) == 1):
            planner.cancel()

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()
