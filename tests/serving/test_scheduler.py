"""The scheduler: many robots take turns with one model, each with its latest request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from si_embodied import Code, Decision, Hold
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError, RequestRefused
from si_embodied.memory import Memory
from si_embodied.serving.messages import PlanRequest
from si_embodied.serving.scheduler import Scheduler
from si_embodied.types import PlanRecord

RECORD = PlanRecord(0.0, "v", "m", "k", "d", (), 0, 0, {"total": 0.0}, Code.EMPTY_PLAN, "")


class Model:
    """Records whom it is asked for, and answers when released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.canceled = 0

    def decide(self, request: PlanRequest, waited_s: float) -> Decision:
        self.asked.append(f"{request.robot}:{request.task.instruction}")
        self.entered.release()
        assert self.open.acquire(timeout=10)
        if request.task.instruction == "break":
            raise ZeroDivisionError("a bug")
        return Hold(replace(RECORD, code=Code.EMPTY_PLAN, message=request.task.instruction))

    def cancel(self) -> None:
        self.canceled += 1
        self.open.release()


Ask = Callable[..., Future[Decision]]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    scheduler = Scheduler(model.decide, cancel=model.cancel, most_waiting=3)
    yield scheduler
    model.open.release(100)
    scheduler.stop(grace_s=5)


@pytest.fixture
def ask(scheduler: Scheduler, wall_ahead: Any, find_chair: Any, base: Any) -> Ask:
    def ask(robot: str, instruction: str = "go", deadline_s: float = 60.0) -> Future[Decision]:
        task = replace(find_chair, instruction=instruction)
        request = PlanRequest(robot, base, PlannerConfig(), task, wall_ahead, Memory(), 10.0, deadline_s)
        return scheduler.submit(request)

    return ask


def answers(model: Model, *futures: Future[Decision]) -> list[str]:
    model.open.release(len(futures))
    return [future.result(timeout=10).message for future in futures]  # type: ignore[union-attr]


def test_robots_are_served_in_order_of_arrival(model: Model, ask: Ask) -> None:
    futures = [ask("a"), ask("b"), ask("c")]
    answers(model, *futures)
    assert model.asked == ["a:go", "b:go", "c:go"]


def test_a_robots_latest_request_wins(model: Model, ask: Ask) -> None:
    first = ask("a", "now")
    assert model.entered.acquire(timeout=10)
    old, new = ask("b", "old"), ask("b", "new")
    with pytest.raises(RequestRefused, match="newer request") as refused:
        old.result(timeout=10)
    assert refused.value.reason == "superseded"
    assert answers(model, first, new) == ["now", "new"]


def test_a_robot_that_asks_often_gets_no_more_turns(model: Model, ask: Ask) -> None:
    """It keeps its place in the queue, and goes to the back after being served."""
    futures = [ask("busy", "0")]
    assert model.entered.acquire(timeout=10)
    ask("busy", "1")
    futures += [ask("calm"), ask("busy", "2")]
    model.open.release()
    assert model.entered.acquire(timeout=10)
    futures.append(ask("busy", "3"))
    answers(model, *futures)
    assert model.asked == ["busy:0", "busy:2", "calm:go", "busy:3"]


def test_robots_beyond_the_queue_size_are_refused(model: Model, ask: Ask) -> None:
    ask("working")
    assert model.entered.acquire(timeout=10)
    for name in "abc":
        ask(name)
    with pytest.raises(RequestRefused) as refused:
        ask("d")
    assert refused.value.reason == "busy"
    ask("a", "again")  # one that waits already may ask anew


def test_a_request_whose_turn_comes_too_late_is_not_planned(model: Model, ask: Ask) -> None:
    first = ask("a")
    assert model.entered.acquire(timeout=10)
    late = ask("b", deadline_s=0.05)
    time.sleep(0.1)
    answers(model, first)
    with pytest.raises(RequestRefused) as refused:
        late.result(timeout=10)
    assert refused.value.reason == "late"
    assert model.asked == ["a:go"]


def test_a_withdrawn_request_is_not_planned(model: Model, scheduler: Scheduler, ask: Ask) -> None:
    first, gone, last = ask("a"), ask("b"), ask("c")
    assert model.entered.acquire(timeout=10)
    scheduler.withdraw(gone)
    answers(model, first, last)
    assert model.asked == ["a:go", "c:go"]
    assert model.canceled == 0


def test_withdrawing_a_running_request_frees_the_model(model: Model, scheduler: Scheduler, ask: Ask) -> None:
    gone, last = ask("a"), ask("b")
    assert model.entered.acquire(timeout=10)
    scheduler.withdraw(gone)
    assert model.canceled == 1
    assert answers(model, last) == ["go"]
    scheduler.withdraw(last)
    assert model.canceled == 1


def test_an_error_in_one_plan_does_not_affect_others(model: Model, ask: Ask) -> None:
    broken, fine = ask("a", "break"), ask("b")
    model.open.release(2)
    with pytest.raises(RequestRefused, match="ZeroDivisionError: a bug") as refused:
        broken.result(timeout=10)
    assert refused.value.reason == "failed"
    assert fine.result(timeout=10)


def test_stopping_answers_accepted_requests_and_refuses_new_ones(model: Model, scheduler: Scheduler, ask: Ask) -> None:
    futures = [ask("a"), ask("b")]
    model.open.release(2)
    assert scheduler.stop(grace_s=10)
    assert all(future.result(timeout=0) for future in futures)
    with pytest.raises(RequestRefused) as refused:
        ask("c")
    assert refused.value.reason == "stopping"


def test_stopping_waits_at_most_grace_s(model: Model, scheduler: Scheduler, ask: Ask) -> None:
    ask("a")
    assert model.entered.acquire(timeout=10)
    waits = ask("b")
    assert not scheduler.stop(grace_s=0.1)
    with pytest.raises(RequestRefused, match="before this request's turn"):
        waits.result(timeout=0)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"most_waiting": 0}])
def test_invalid_settings_are_rejected(model: Model, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Scheduler(model.decide, **wrong)
