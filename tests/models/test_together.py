"""The queue of a model's work: shared calls, and threads that do one another no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models import together
from si_embodied.models.runner import PREFILL_CHUNK
from si_embodied.models.together import Together


class Model:
    """Doubles numbers, and records which were in one call. The first call is held until others wait."""

    def __init__(self) -> None:
        self.together, self.calls = Together(), list[list[int]]()
        self.entered, self.open = threading.Event(), threading.Event()

    def double(self, items: Sequence[int], check: Callable[[], object]) -> list[int]:
        self.calls.append(list(items))
        if 0 in items:
            self.entered.set()
            assert self.open.wait(timeout=10)
        check()
        if 13 in items:
            raise ZeroDivisionError("13")
        return [2 * item for item in items]

    def halve(self, items: Sequence[int], _: object) -> list[float]:
        return [item / 2 for item in items]

    def waiting(self, count: int) -> None:
        ends_s = time.monotonic() + 10
        while len(self.together._waiting) < count:
            assert time.monotonic() < ends_s
            time.sleep(0.001)


def after_the_first(model: Model, *jobs: Callable[[], Any]) -> list[Any]:
    """Ask for 0, and while it is worked on for `jobs`, each in a thread; the results or errors."""
    with ThreadPoolExecutor(len(jobs) + 1) as pool:
        first = pool.submit(model.together.run, model.double, 0)
        assert model.entered.wait(timeout=10)
        futures = []
        for number, job in enumerate(jobs):
            futures.append(pool.submit(job))
            model.waiting(number + 1)
        model.open.set()
        assert first.result(timeout=10) == 0
        return [future.exception(timeout=10) or future.result() for future in futures]


def ask(model: Model, item: int, **keywords: Any) -> Callable[[], Any]:
    return lambda: model.together.run(model.double, item, **keywords)


def test_what_waits_shares_a_call() -> None:
    model = Model()
    assert after_the_first(model, *(ask(model, item) for item in (1, 2, 3))) == [2, 4, 6]
    assert model.calls == [[0], [1, 2, 3]]


def test_alone_nothing_waits() -> None:
    model = Model()
    assert [model.together.run(model.double, item) for item in (1, 2, 3)] == [2, 4, 6]
    assert model.calls == [[1], [2], [3]]


def test_other_work_has_a_call_of_its_own() -> None:
    model = Model()
    halved = after_the_first(model, ask(model, 1), lambda: model.together.run(model.halve, 3), ask(model, 2))
    assert halved == [2, 1.5, 4]
    assert model.calls == [[0], [1, 2]]


def test_long_items_do_not_share_a_call() -> None:
    model, most = Model(), PREFILL_CHUNK
    jobs = (ask(model, 1, size=most - 1), ask(model, 2, size=most), ask(model, 3, size=1))
    assert after_the_first(model, *jobs) == [2, 4, 6]
    assert model.calls == [[0], [1, 3], [2]]


def test_the_prompt_that_began_first_goes_first() -> None:
    model, most = Model(), PREFILL_CHUNK
    jobs = (ask(model, item, place=place, size=most) for item, place in ((1, 3), (2, 1), (3, 2)))
    assert after_the_first(model, *jobs) == [2, 4, 6]
    assert model.calls == [[0], [2], [3], [1]]


def test_a_step_does_not_wait_for_the_reading_of_a_later_prompt() -> None:
    """But goes along with that of an earlier one."""
    model = Model()
    jobs = (ask(model, item, place=item, size=size) for item, size in ((1, 2), (2, 200), (3, 66), (4, 2)))
    assert after_the_first(model, *jobs) == [2, 4, 6, 8]
    assert model.calls == [[0], [1, 3, 4], [2]]


def test_a_long_answer_does_not_keep_later_prompts_out() -> None:
    """The first prompt asks again and again, each time before the later one has its turn."""
    model, most = Model(), PREFILL_CHUNK

    def step(items: Sequence[int], _: object) -> list[int]:
        model.calls.append(list(items))
        model.waiting(1)
        return list(items)

    def answer() -> list[int]:
        return [model.together.run(step, item, place=1) for item in range(1, together._MOST_PASSED + 2)]

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(model.together.run, model.double, 0)
        assert model.entered.wait(timeout=10)
        later = pool.submit(model.together.run, model.double, 99, place=2, size=most)
        model.waiting(1)
        long = pool.submit(answer)
        model.waiting(2)
        model.open.set()
        assert first.result(timeout=10) == 0
        assert later.result(timeout=10) == 198
        pool.submit(model.together.run, model.double, 98, place=3)  # for the step that is still waited with
        assert len(long.result(timeout=10)) == together._MOST_PASSED + 1
    assert model.calls.index([99]) <= together._MOST_PASSED + 1


def test_a_call_waits_for_the_next_job_of_those_before_unless_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for patience in ("_LEAST_PATIENCE_S", "_MOST_PATIENCE_S"):
        monkeypatch.setattr(together, patience, 60.0)
    model = Model()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(model.together.run, model.double, 0, place=1)
        assert model.entered.wait(timeout=10)
        second = pool.submit(model.together.run, model.double, 2, place=2)
        model.waiting(1)
        model.open.set()
        assert first.result(timeout=10) == 0
        assert model.together.run(model.double, 1, place=1) == 2
        assert second.result(timeout=10) == 4
        third = pool.submit(model.together.run, model.double, 3, place=3)
        model.waiting(1)
        assert not third.done()
        for place in (1, 2):
            model.together.leave(place)
        assert third.result(timeout=10) == 6
    assert model.calls == [[0], [1, 2], [3]]


def test_one_that_fails_fails_alone() -> None:
    model = Model()
    found = after_the_first(model, *(ask(model, item) for item in (1, 13, 3)))
    assert (found[0], type(found[1]), found[2]) == (2, ZeroDivisionError, 6)
    assert model.calls == [[0], [1, 13, 3], [1], [13], [3]]


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), BackendError("canceled")])
def test_one_that_is_aborted_while_it_waits_leaves_at_once(error: Exception) -> None:
    """The model is still busy then."""
    model, late = Model(), threading.Event()

    def check() -> None:
        if late.is_set():
            raise error

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(model.together.run, model.double, 0)
        assert model.entered.wait(timeout=10)
        second = pool.submit(model.together.run, model.double, 1, check=check)
        model.waiting(1)
        late.set()
        assert second.exception(timeout=10) is error
        assert not first.done()
        model.open.set()
        assert first.result(timeout=10) == 0
    assert model.calls == [[0]]
    assert model.together.run(model.double, 2) == 4


def test_one_that_is_aborted_at_work_puts_the_others_back() -> None:
    """The thread that works for all is late: it alone fails."""
    model, looks = Model(), iter(range(100))

    def check() -> None:
        if model.calls[-1] == [1, 2]:
            raise DeadlineExceeded(f"late {next(looks)}")

    late, other = after_the_first(model, ask(model, 1, check=check), ask(model, 2))
    assert isinstance(late, DeadlineExceeded)
    assert other == 4
    assert model.calls == [[0], [1, 2], [2]]


def test_many_threads_get_their_own_results() -> None:
    together, largest = Together(), list[int]()

    def work(items: Sequence[int], _: object) -> list[int]:
        largest.append(len(items))
        time.sleep(0.002)
        return [item * item for item in items]

    def robot(number: int) -> bool:
        return all(together.run(work, number + 10 * step) == (number + 10 * step) ** 2 for step in range(20))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(robot, range(6)))
    assert max(largest) > 1
