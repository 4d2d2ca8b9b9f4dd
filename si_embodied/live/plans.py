"""Shows the plans that a planning server makes, for whichever robot it made the latest."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from si_embodied.live.drawer import Drawer
from si_embodied.live.moment import LISTED_PLANS, Moment
from si_embodied.policies.base import Execution

if TYPE_CHECKING:
    from si_embodied.live.board import Screen
    from si_embodied.serving.messages import PlanRequest
    from si_embodied.types import Decision, Prompt


class LivePlans:
    """A listener of a planning service; it returns at once."""

    def __init__(self, screen: Screen, title: str) -> None:
        """Show plans on a screen."""
        self._screen, self._title = screen, title
        self._lock, self._drawer = threading.Lock(), Drawer(screen)
        self._decisions: deque[Decision] = deque(maxlen=LISTED_PLANS)
        self._count = 0

    def __call__(self, request: PlanRequest, decision: Decision, prompt: Prompt | None) -> None:
        """Take a decision, and show it if a page is open. Any thread may call it."""
        with self._lock:
            self._decisions.append(decision)
            self._count += 1
            if not self._screen.wanted():
                return
            execution = Execution(planned_from=request.memory.recall(request.observation), memory=request.memory)
            moment = Moment(
                f"{self._title}: {request.robot}", None, request.task.instruction, self._count, "planned",
                request.observation, tuple(self._decisions), execution, prompt, request.embodiment,
                earlier=self._count - len(self._decisions),
            )  # fmt: skip
            self._drawer.show(moment)
