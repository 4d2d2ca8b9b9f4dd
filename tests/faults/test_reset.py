"""A reset while the model works: the old answer is never delivered, and the model is free for the next task."""

from __future__ import annotations

import threading
import time

import pytest

from si_embodied import Execute, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.types import Completion, Prompt
from si_embodied.worker import PlannerWorker

TURN = '{{"subgoals":[{{"skill":"turn","degrees":{}}}],"done":false}}'


class Cancelable(ScriptedBackend):
    """The first answer takes until it is cancelled."""

    def __init__(self) -> None:
        super().__init__([])
        self.entered, self.canceled, self.count = threading.Event(), threading.Event(), 0

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        self.count += 1
        if self.count == 1:
            self.entered.set()
            assert self.canceled.wait(10)
            raise BackendError("canceled")
        return Completion(TURN.format(self.count))

    def cancel(self) -> None:
        self.canceled.set()


@pytest.mark.promise(recovers="with the next plan")
def test_a_reset_cancels_the_plan_in_flight(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    backend = Cancelable()
    worker = PlannerWorker(Planner(backend, base), lambda: 10.0)
    worker.submit(find_chair, wall_ahead, Memory())
    assert backend.entered.wait(5)
    worker.reset()
    assert not worker.busy
    worker.submit(find_chair, wall_ahead, Memory())
    end, decision = time.monotonic() + 5, None
    while decision is None and time.monotonic() < end:
        decision = worker.poll()
        time.sleep(0.002)
    assert isinstance(decision, Execute)
    assert decision.plan.subgoals[0].words == "turn 2", "the second answer; the first one was dropped"
    worker.close()


def test_closing_does_not_wait_for_a_model_that_can_be_cancelled(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    backend = Cancelable()
    worker = PlannerWorker(Planner(backend, base), lambda: 10.0)
    worker.submit(find_chair, wall_ahead, Memory())
    assert backend.entered.wait(5)
    started = time.monotonic()
    worker.close()
    assert time.monotonic() - started < 1.0
