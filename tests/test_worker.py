"""The control loop never blocks on the planner, and never gets an answer to a dropped request."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from si_embodied import Code, Decision, Execute, Hold, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import GuardConfig, PlannerConfig
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.types import Prompt
from si_embodied.worker import PlannerWorker

TURN = '{{"subgoals":[{{"skill":"turn","degrees":{}}}],"done":false}}'


class Gate:
    """A backend script that blocks until it is released, and records the prompts."""

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.instructions: list[str] = []

    def __call__(self, prompt: Prompt) -> str:
        self.instructions.append(prompt.text)
        self.entered.release()
        assert self.open.acquire(timeout=5)
        return TURN.format(len(self.instructions))


def degrees(decision: Decision | None) -> int:
    assert isinstance(decision, Execute)
    return decision.plan.subgoals[0].degrees  # type: ignore[union-attr]


def wait_for(poll: Callable[[], Decision | None]) -> Decision:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        decision = poll()
        if decision is not None:
            return decision
        time.sleep(0.002)
    raise AssertionError("no decision within 5 s")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def worker(gate: Gate, base: MobileBase) -> Iterator[PlannerWorker]:
    worker = PlannerWorker(Planner(ScriptedBackend(gate), base), lambda: 10.0)
    yield worker
    for _ in range(10):
        gate.open.release()
    worker.close()


def test_submitting_does_not_wait_for_the_plan(
    worker: PlannerWorker, gate: Gate, wall_ahead: Observation, find_chair: Task
) -> None:
    worker.submit(find_chair, wall_ahead, Memory())
    assert gate.entered.acquire(timeout=5)
    assert worker.poll() is None
    assert worker.busy
    gate.open.release()
    assert degrees(wait_for(worker.poll)) == 1
    assert not worker.busy
    assert worker.poll() is None


def test_the_latest_waiting_request_wins(worker: PlannerWorker, gate: Gate, wall_ahead: Observation) -> None:
    worker.submit(Task("first", "navigation"), wall_ahead, Memory())
    assert gate.entered.acquire(timeout=5)
    worker.submit(Task("second", "navigation"), wall_ahead, Memory())
    worker.submit(Task("third", "navigation"), wall_ahead, Memory())
    gate.open.release(2)
    assert gate.entered.acquire(timeout=5)
    assert "third" in gate.instructions[1]
    assert degrees(wait_for(worker.poll)) in (1, 2)


def test_a_reset_drops_what_is_in_flight(
    worker: PlannerWorker, gate: Gate, wall_ahead: Observation, find_chair: Task
) -> None:
    worker.submit(find_chair, wall_ahead, Memory())
    assert gate.entered.acquire(timeout=5)
    worker.reset()
    assert not worker.busy
    worker.submit(find_chair, wall_ahead, Memory())
    gate.open.release(2)
    assert degrees(wait_for(worker.poll)) == 2  # the second answer; the first was never delivered


def test_a_foreign_planner_that_raises_holds_the_robot(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    class Broken(Planner):
        def plan(self, *_: object, **__: object) -> Decision:
            raise ZeroDivisionError("a bug")

    worker = PlannerWorker(Broken(ScriptedBackend([]), base), lambda: 10.0)
    worker.submit(find_chair, wall_ahead, Memory())
    decision = wait_for(worker.poll)
    assert isinstance(decision, Hold)
    assert decision.code is Code.INTERNAL_ERROR
    assert "a bug" in decision.message
    worker.close()


def test_a_closed_worker_accepts_no_request(worker: PlannerWorker, wall_ahead: Observation, find_chair: Task) -> None:
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(find_chair, wall_ahead, Memory())


class SimulatedClock:
    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


def simulated(
    base: MobileBase, latency_s: float, config: PlannerConfig | None = None
) -> tuple[PlannerWorker, SimulatedClock]:
    count = iter(range(1, 100))
    planner = Planner(ScriptedBackend(lambda _: TURN.format(next(count))), base, config)
    clock = SimulatedClock()
    return PlannerWorker(planner, clock, latency=lambda _: latency_s), clock


def test_on_a_simulated_clock_the_plan_comes_after_its_latency(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    worker, clock = simulated(base, 2.0)
    worker.submit(find_chair, wall_ahead, Memory())
    clock.now_s = 11.9
    assert worker.poll() is None
    clock.now_s = 12.0
    assert degrees(worker.poll()) == 1


def test_without_latency_the_plan_is_available_at_once(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    worker, _ = simulated(base, 0.0)
    worker.submit(find_chair, wall_ahead, Memory())
    assert degrees(worker.poll()) == 1


def test_a_request_during_planning_is_planned_next(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    worker, clock = simulated(base, 1.0)
    worker.submit(find_chair, wall_ahead, Memory())
    worker.submit(find_chair, wall_ahead, Memory())
    worker.submit(find_chair, wall_ahead, Memory())
    clock.now_s = 11.0
    assert degrees(worker.poll()) == 1
    assert worker.poll() is None
    clock.now_s = 12.0
    assert degrees(worker.poll()) == 2
    assert not worker.busy


def test_the_plans_age_counts_from_the_images_stamp(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    config = PlannerConfig(guard=GuardConfig(max_plan_age_s=1.5, max_observation_age_s=1.0))
    worker, clock = simulated(base, 1.0, config)
    taken_before = dataclasses.replace(wall_ahead, stamp_s=9.2)
    worker.submit(find_chair, taken_before, Memory())
    clock.now_s = 11.0  # 1 s after the request, but 1.8 s after the image
    decision = worker.poll()
    assert isinstance(decision, Hold)
    assert decision.code is Code.STALE_PLAN
    assert decision.plan is not None


def test_a_plan_later_than_the_deadline_is_refused_at_the_deadline(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    worker, clock = simulated(base, 5.0, PlannerConfig(deadline_s=2.0))
    worker.submit(find_chair, wall_ahead, Memory())
    clock.now_s = 12.0
    decision = worker.poll()
    assert isinstance(decision, Hold)
    assert decision.code is Code.DEADLINE_EXCEEDED
