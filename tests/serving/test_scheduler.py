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
from si_embodied.serving.scheduler import Scheduler, Stage
from si_embodied.types import PlanRecord

RECORD = PlanRecord(0.0, "v", "m", "k", "d", (), 0, 0, {"total": 0.0}, Code.EMPTY_PLAN, "")


class Model:
    """Records whom it is asked for, and answers when released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.canceled: list[str] = []

    def decide(self, request: PlanRequest, waited_s: float) -> Decision:
        self.asked.append(f"{request.robot}:{request.task.instruction}")
        self.entered.release()
        assert self.open.acquire(timeout=10)
        if request.task.instruction == "break":
            raise ZeroDivisionError("a bug")
        return Hold(replace(RECORD, code=Code.EMPTY_PLAN, message=request.task.instruction))

    def cancel(self, request: PlanRequest) -> None:
        self.canceled.append(request.robot)
        self.open.release()


Ask = Callable[..., Future[Decision]]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def threads() -> int:
    return 1


@pytest.fixture
def scheduler(model: Model, threads: int) -> Iterator[Scheduler]:
    scheduler = Scheduler(model.decide, cancel=model.cancel, threads=threads, most_waiting=3)
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
    assert model.canceled == []


def test_withdrawing_a_running_request_frees_the_model(model: Model, scheduler: Scheduler, ask: Ask) -> None:
    gone, last = ask("a"), ask("b")
    assert model.entered.acquire(timeout=10)
    scheduler.withdraw(gone)
    assert model.canceled == ["a"]
    assert answers(model, last) == ["go"]
    scheduler.withdraw(last)
    assert model.canceled == ["a"]


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


class Job:
    """Works until interrupted `often` times, or for some turns, and records what happens to it."""

    def __init__(self, model: Model, name: str = "job", often: int = 0, turns: int = 1) -> None:
        self.model, self.name, self.often, self.turns = model, name, often, turns
        self.interrupted, self.canceled, self.done = threading.Event(), threading.Event(), threading.Event()
        self.refused: RequestRefused | None = None

    def run(self, others: Callable[[], bool]) -> Stage:
        self.model.asked.append(self.name)
        self.model.entered.release()
        if self.often and not self.canceled.is_set():
            assert self.interrupted.wait(timeout=10)
            self.often -= 1
            return "done" if self.canceled.is_set() else "interrupted"
        self.turns -= 1
        if self.turns and others():
            return "turn over"
        self.done.set()
        return "done"

    def cancel(self) -> None:
        self.canceled.set()
        self.interrupted.set()

    def refuse(self, refused: RequestRefused) -> None:
        self.refused = refused


def test_a_job_waits_for_all_robots(scheduler: Scheduler, model: Model, ask: Ask) -> None:
    first = ask("a")
    assert model.entered.acquire(timeout=10)
    job = Job(model)
    scheduler.add(job)
    second = ask("b")
    model.open.release(2)
    first.result(timeout=10)
    second.result(timeout=10)
    assert job.done.wait(timeout=10)
    assert model.asked[-1] == "job"


def test_a_robot_interrupts_a_job_which_is_the_first_to_continue(scheduler: Scheduler, model: Model, ask: Ask) -> None:
    job, other = Job(model, often=1), Job(model, "other")
    scheduler.add(job)
    assert model.entered.acquire(timeout=10)
    scheduler.add(other)
    model.open.release()
    ask("a").result(timeout=10)
    assert other.done.wait(timeout=10)
    assert [name.partition(":")[0] for name in model.asked] == ["job", "a", "job", "other"]


def test_jobs_take_turns_and_a_robot_comes_first(scheduler: Scheduler, model: Model, ask: Ask) -> None:
    """The interrupted job goes on with its turn before the others have theirs."""
    robot = ask("a")
    assert model.entered.acquire(timeout=10)
    jobs = [Job(model, "x", often=1, turns=3), Job(model, "y", turns=2), Job(model, "z")]
    for job in jobs:
        scheduler.add(job)
    model.open.release(2)
    robot.result(timeout=10)
    assert model.entered.acquire(timeout=10)
    ask("b").result(timeout=10)
    assert all(job.done.wait(timeout=10) for job in jobs)
    assert [name.partition(":")[0] for name in model.asked] == ["a", "x", "b", "x", "y", "z", "x", "y", "x"]


def test_a_removed_job_never_runs(scheduler: Scheduler, model: Model) -> None:
    running, waiting = Job(model, often=1), Job(model, "waiting")
    scheduler.add(running)
    assert model.entered.acquire(timeout=10)
    scheduler.add(waiting)
    assert scheduler.remove(waiting)
    assert not scheduler.remove(waiting)
    assert not scheduler.remove(running)
    scheduler.drop(running)
    assert scheduler.stop(grace_s=5)
    assert model.asked == ["job"]


@pytest.mark.parametrize("threads", [3])
def test_several_robots_are_served_at_once_and_each_with_one_request(
    model: Model, scheduler: Scheduler, ask: Ask
) -> None:
    """The second request of a robot waits for the first, though a thread is free."""
    first = ask("a", "1")
    assert model.entered.acquire(timeout=10)
    second, other = ask("a", "2"), ask("b", "1")
    assert model.entered.acquire(timeout=10)
    assert (scheduler.working, scheduler.waiting) == (2, 1)
    answers(model, first, other, second)
    assert sorted(model.asked[:2]) == ["a:1", "b:1"]
    assert model.asked[2:] == ["a:2"]


@pytest.mark.parametrize("threads", [3])
def test_withdrawing_one_of_several_running_requests_leaves_the_others(
    model: Model, scheduler: Scheduler, ask: Ask
) -> None:
    ask("a")
    gone = ask("b")
    for _ in range(2):
        assert model.entered.acquire(timeout=10)
    scheduler.withdraw(gone)
    assert model.canceled == ["b"]


@pytest.mark.parametrize("threads", [3])
def test_a_job_waits_until_no_robot_is_served_also_with_several_threads(
    model: Model, scheduler: Scheduler, ask: Ask
) -> None:
    first = ask("a")
    assert model.entered.acquire(timeout=10)
    job = Job(model)
    scheduler.add(job)
    assert not job.done.wait(timeout=0.1)
    answers(model, first)
    assert job.done.wait(timeout=10)


def test_one_job_runs_at_a_time_also_with_several_threads(model: Model) -> None:
    scheduler = Scheduler(model.decide, threads=3)
    first, second = Job(model, "first", often=1), Job(model, "second")
    scheduler.add(first)
    scheduler.add(second)
    assert model.entered.acquire(timeout=10)
    assert not second.done.wait(timeout=0.1)
    scheduler.drop(first)
    assert second.done.wait(timeout=10)
    assert scheduler.stop(grace_s=5)


def test_a_dropped_job_ends_or_leaves_the_queue(scheduler: Scheduler, model: Model) -> None:
    running, waiting, last = Job(model, often=5), Job(model, "waiting"), Job(model, "last")
    for job in (running, waiting, last):
        scheduler.add(job)
    assert model.entered.acquire(timeout=10)
    scheduler.drop(waiting)
    scheduler.drop(running)
    assert last.done.wait(timeout=10)
    assert model.asked == ["job", "last"]


def test_jobs_beyond_the_queue_size_are_refused(scheduler: Scheduler, model: Model) -> None:
    running = Job(model, often=1)
    scheduler.add(running)
    assert model.entered.acquire(timeout=10)
    for _ in range(3):
        scheduler.add(Job(model))
    with pytest.raises(RequestRefused) as refused:
        scheduler.add(Job(model))
    assert refused.value.reason == "busy"
    scheduler.drop(running)


def test_accepted_jobs_are_finished_before_a_stop_and_late_ones_refused(scheduler: Scheduler, model: Model) -> None:
    quick = Job(model)
    scheduler.add(quick)
    assert quick.done.wait(timeout=10)
    endless, waiting = Job(model, often=5), Job(model, "waiting")
    scheduler.add(endless)
    scheduler.add(waiting)
    assert not scheduler.stop(grace_s=0.2)
    for job in (endless, waiting):
        assert job.refused is not None
        assert job.refused.reason == "stopping"
    with pytest.raises(RequestRefused, match="shutting down"):
        scheduler.add(Job(model))


def test_a_job_that_fails_is_refused_and_the_next_one_runs(scheduler: Scheduler, model: Model) -> None:
    class Broken(Job):
        def run(self, others: Callable[[], bool]) -> Stage:
            raise ZeroDivisionError("a bug")

    broken, next_one = Broken(model), Job(model)
    scheduler.add(broken)
    scheduler.add(next_one)
    assert next_one.done.wait(timeout=10)
    assert broken.refused is not None
    assert broken.refused.reason == "failed"
