"""An answer after its deadline is a refusal, and a backend that hangs does not hang the control loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from si_embodied import Code, Decision, Execute, Hold, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.types import Prompt
from si_embodied.worker import GRACE_S, PlannerWorker

TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'


class SteadyClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Hanging:
    """Answers only when released."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Semaphore(0), threading.Event()

    def __call__(self, prompt: Prompt) -> str:
        self.entered.release()
        assert self.released.wait(20)
        return TURN


def soon(poll: Callable[[], Decision | None]) -> Decision:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        decision = poll()
        if decision is not None:
            return decision
        time.sleep(0.002)
    raise AssertionError("no decision within 5 s")


def hanging_worker(base: MobileBase) -> tuple[PlannerWorker, Hanging, SteadyClock]:
    hanging, clock = Hanging(), SteadyClock()
    planner = Planner(ScriptedBackend(hanging), base, PlannerConfig(deadline_s=2.0))
    return PlannerWorker(planner, lambda: 10.0, steady_clock=clock), hanging, clock


def test_an_answer_after_the_deadline_is_refused(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    def slow(prompt: Prompt) -> str:
        time.sleep(0.1)
        return TURN

    planner = Planner(ScriptedBackend(slow), base, PlannerConfig(deadline_s=0.05))
    decision = planner.plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is Code.DEADLINE_EXCEEDED
    assert decision.record.raw_text == (TURN,), "the late answer is on record"


def test_a_backend_that_hangs_becomes_a_hold_and_its_late_answer_is_dropped(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    worker, hanging, clock = hanging_worker(base)
    worker.submit(find_chair, wall_ahead, Memory())
    assert hanging.entered.acquire(timeout=5)
    clock.now_s = 2.0 + GRACE_S
    assert worker.poll() is None, "not overdue yet"
    clock.now_s += 0.01
    decision = worker.poll()
    assert isinstance(decision, Hold)
    assert decision.code is Code.DEADLINE_EXCEEDED
    assert not worker.busy
    hanging.released.set()
    worker.close()
    assert worker.poll() is None


@pytest.mark.promise(recovers="when the earlier plan returns")
def test_a_request_behind_a_hanging_plan_is_held_too_and_planned_once_it_returns(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    worker, hanging, clock = hanging_worker(base)
    worker.submit(find_chair, wall_ahead, Memory())
    assert hanging.entered.acquire(timeout=5)
    clock.now_s = 3.0
    assert isinstance(worker.poll(), Hold)
    worker.submit(find_chair, wall_ahead, Memory())
    clock.now_s = 6.0
    held = worker.poll()
    assert isinstance(held, Hold)
    assert "an earlier plan did not return" in held.message
    worker.submit(find_chair, wall_ahead, Memory())
    hanging.released.set()
    assert isinstance(soon(worker.poll), Execute), "recovered without a restart"
    worker.close()


@pytest.mark.promise(recovers="with the next plan")
def test_cancelling_before_the_model_is_asked_counts(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    planner = Planner(ScriptedBackend([TURN, TURN]), base)
    check = planner._template.check

    class Canceling:
        def __getattr__(self, name: str) -> object:
            return getattr(template, name)

        def check(self, observation: Observation) -> object:
            planner.cancel()
            return check(observation)

    template = planner._template
    planner._template = Canceling()  # type: ignore[assignment]
    decision = planner.plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.record.raw_text == ()
    planner._template = template
    assert isinstance(planner.plan(find_chair, wall_ahead, Memory()), Execute), "the next plan is not affected"
