"""The queue of a model's work: shared calls, and threads that do one another no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from si_embodied.errors import BackendError, DeadlineExceeded
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
