"""Tasks are handed out one by one, those of lost workers again, and nothing is done twice or left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError
from si_embodied.parallel.placement import HERE, Placement
from si_embodied.parallel.work import MOST_TRIES, Failure, Kind, Lost, WorkError, WorkerSlot, work_through


class Adder:
    """Adds ten."""

    closed = False

    def do(self, task: int) -> int:
        if task == 13:
            raise ValueError("unlucky")
        return task + 10

    def close(self) -> None:
        self.closed = True


class FakePool:
    """Two workers, which end in the order in which they began; some are lost."""

    def __init__(self, lost: dict[int, int]) -> None:
        self.lost = dict(lost)  # how often each task loses its worker
        self.running: list[tuple[int, int]] = []
        self.started: list[int] = []
        self.slot, self.cancelled = WorkerSlot(), False

    def has_free(self) -> bool:
        return len(self.running) < 2

    def submit(self, make: type[Adder], task: int) -> int:
        assert make is Adder
        self.started.append(task)
        self.running.append((len(self.started), task))
        return len(self.started)

    def wait(self) -> Sequence[tuple[int, int | Failure | Lost]]:
        handle, task = self.running.pop(0)
        if self.lost.get(task, 0):
            self.lost[task] -= 1
            return [(handle, Lost("killed"))]
        return [(handle, self.slot.do(Kind(1, Adder), task))]

    def cancel(self) -> None:
        self.cancelled = True


def test_every_task_is_done_once() -> None:
    pool = FakePool({})
    assert sorted(work_through(pool, Adder, range(5))) == [10, 11, 12, 13, 14]
    assert pool.started == [0, 1, 2, 3, 4]


def test_a_lost_task_is_done_again_before_new_ones() -> None:
    pool = FakePool({0: 1, 2: 2})
    assert sorted(work_through(pool, Adder, range(5))) == [10, 11, 12, 13, 14]
    assert pool.started == [0, 1, 0, 2, 3, 2, 4, 2]


def test_a_task_that_loses_worker_after_worker_is_given_up() -> None:
    pool = FakePool({1: 99})
    with pytest.raises(WorkError, match=f"^1 was given up: its worker was lost {MOST_TRIES} times.*killed.*--workers"):
        list(work_through(pool, Adder, range(5)))
    assert pool.started.count(1) == MOST_TRIES
    assert pool.cancelled, "what else is being done is given up"


def test_a_failure_names_the_task_and_keeps_the_trace() -> None:
    with pytest.raises(WorkError, match="^13 failed: ValueError: unlucky$") as caught:
        list(work_through(FakePool({}), Adder, [13]))
    assert "raise ValueError" in str(caught.value.__cause__)


def test_a_task_is_taken_when_there_is_a_worker_for_it() -> None:
    """So it may depend on the results so far."""
    done: list[int] = []

    def tasks() -> Iterator[int]:
        yield from (0, 1)
        yield 2 + len(done)

    for result in work_through(FakePool({}), Adder, tasks()):
        done.append(result)  # noqa: PERF402 - as it grows
    assert done == [10, 11, 13]


def test_here_an_exception_stays_what_it_is_and_the_worker_is_closed() -> None:
    adder = Adder()
    with pytest.raises(ValueError, match="unlucky"), HERE.pool() as pool:
        list(work_through(pool, lambda: adder, [1, 13]))
    assert adder.closed


def test_a_kept_pool_closes_a_worker_when_another_kind_of_task_comes() -> None:
    """Two simulators in one process may not live together."""
    first, second = Adder(), Adder()
    with HERE.kept() as place:
        for adder in (first, second):
            with place.kept() as same, same.pool() as pool:
                assert list(work_through(pool, lambda adder=adder: adder, [1])) == [11]
            assert not adder.closed
        assert first.closed
    assert second.closed


@pytest.mark.timeout(60)
def test_a_kept_pool_keeps_its_processes_and_replaces_the_one_that_dies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "worlds"))
    import mortal_worker

    with Placement(2).kept() as place, place.pool() as pool:
        pids = set(work_through(pool, mortal_worker.Mortal, ["", "", ""]))
        again = set(work_through(pool, mortal_worker.Mortal, ["", ""]))
        assert again <= pids
        assert len(pids) <= 2
        assert len(list(work_through(pool, mortal_worker.Mortal, ["", str(tmp_path / "died"), ""]))) == 3
        assert (tmp_path / "died").exists(), "one of them died"
    assert os.getpid() not in pids


@pytest.mark.parametrize("settings", [{"workers": 0}, {"gpu_share": 0.5}, {"ray": "local", "gpu_share": 1.5}])
def test_placements_that_cannot_be_are_rejected(settings: dict) -> None:
    with pytest.raises(ConfigError, match="got"):
        Placement(**settings)
