"""Tasks are handed out one by one, those of lost workers again, and nothing is done twice or left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from si_embodied.errors import ConfigError
from si_embodied.parallel.placement import HERE, Placement
from si_embodied.parallel.work import MOST_TRIES, Bench, Failure, Lost, WorkError, work_through


class Adder:
    """Adds ten."""

    closed = False

    def do(self, task: int) -> int:
        if task == 13:
            raise ValueError("unlucky")
        return task + 10

    def close(self) -> None:
        self.closed = True


class FakeCrew:
    """Two workers, which end in the order in which they began; some are lost."""

    def __init__(self, lost: dict[int, int]) -> None:
        self.lost = dict(lost)  # how often each task loses its worker
        self.running: list[tuple[int, int]] = []
        self.started: list[int] = []

    def free(self) -> bool:
        return len(self.running) < 2

    def start(self, task: int) -> int:
        self.started.append(task)
        self.running.append((len(self.started), task))
        return len(self.started)

    def ended(self) -> Sequence[tuple[int, int | Failure | Lost]]:
        ticket, task = self.running.pop(0)
        if self.lost.get(task, 0):
            self.lost[task] -= 1
            return [(ticket, Lost("killed"))]
        return [(ticket, Bench(Adder).do(task))]


def test_every_task_is_done_once() -> None:
    crew = FakeCrew({})
    assert sorted(work_through(crew, range(5))) == [10, 11, 12, 13, 14]
    assert crew.started == [0, 1, 2, 3, 4]


def test_a_lost_task_is_done_again_before_new_ones() -> None:
    crew = FakeCrew({0: 1, 2: 2})
    assert sorted(work_through(crew, range(5))) == [10, 11, 12, 13, 14]
    assert crew.started == [0, 1, 0, 2, 3, 2, 4, 2]


def test_a_task_that_loses_worker_after_worker_is_given_up() -> None:
    crew = FakeCrew({1: 99})
    with pytest.raises(WorkError, match=f"^1 was given up: its worker was lost {MOST_TRIES} times.*killed.*--workers"):
        list(work_through(crew, range(5)))
    assert crew.started.count(1) == MOST_TRIES


def test_a_failure_names_the_task_and_keeps_the_trace() -> None:
    with pytest.raises(WorkError, match="^13 failed: ValueError: unlucky$") as caught:
        list(work_through(FakeCrew({}), [13]))
    assert "raise ValueError" in str(caught.value.__cause__)


def test_a_task_is_taken_when_there_is_a_worker_for_it() -> None:
    """So it may depend on the results so far."""
    done: list[int] = []

    def tasks() -> Iterator[int]:
        yield from (0, 1)
        yield 2 + len(done)

    for result in work_through(FakeCrew({}), tasks()):
        done.append(result)  # noqa: PERF402 - as it grows
    assert done == [10, 11, 13]


def test_here_an_exception_stays_what_it_is_and_the_worker_is_closed() -> None:
    adder = Adder()
    with pytest.raises(ValueError, match="unlucky"), HERE.crew(lambda: adder, 2) as crew:
        list(work_through(crew, [1, 13]))
    assert adder.closed


@pytest.mark.parametrize("settings", [{"workers": 0}, {"gpu_share": 0.5}, {"ray": "local", "gpu_share": 1.5}])
def test_placements_that_cannot_be_are_rejected(settings: dict) -> None:
    with pytest.raises(ConfigError, match="got"):
        Placement(**settings)
