"""Shows the plans that a planning server makes, for whichever robot it made the latest."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from si_embodied.live.drawing import LISTED_PLANS, frame_of
from si_embodied.live.moment import Moment
from si_embodied.policies.base import Execution

if TYPE_CHECKING:
    from si_embodied.live.board import Screen
    from si_embodied.serving.messages import PlanRequest
    from si_embodied.types import Decision, Prompt

_LOG = logging.getLogger(__name__)


class LivePlans:
    """A listener of a planning service. It draws the latest plan in a thread of its own: no robot waits for it."""

    def __init__(self, screen: Screen, title: str) -> None:
        """Show plans on a screen."""
        self._screen, self._title = screen, title
        self._lock = threading.Lock()
        self._decisions: deque[Decision] = deque(maxlen=LISTED_PLANS)
        self._count = 0
        self._next: Moment | None = None  # to be drawn
        self._drawing = False

    def __call__(self, request: PlanRequest, decision: Decision, prompt: Prompt | None) -> None:
        """Take a decision, and show it if a page is open. Any thread may call it."""
        with self._lock:
            self._decisions.append(decision)
            self._count += 1
            if not self._screen.wanted():
                return
            execution = Execution(planned_from=request.memory.recall(request.observation), memory=request.memory)
            self._next = Moment(
                f"{self._title}: {request.robot}", None, request.task.instruction, self._count, "planned",
                request.observation, tuple(self._decisions), execution, prompt, request.embodiment,
                earlier=self._count - len(self._decisions),
            )  # fmt: skip
            if not self._drawing:
                self._drawing = True
                threading.Thread(target=self._draw, name="live-plans", daemon=True).start()

    def _draw(self) -> None:
        while True:
            with self._lock:
                moment, self._next = self._next, None
                if moment is None:
                    self._drawing = False
                    return
            try:
                self._screen.show(frame_of(moment))
            except Exception as error:  # noqa: BLE001 - whatever cannot be shown, the server goes on
                _LOG.warning("a plan cannot be shown: %s: %s", type(error).__name__, error)
