"""The loop that hands out tasks, does those of lost workers again, and yields results as they come."""

from __future__ import annotations

import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from si_embodied.errors import SiEmbodiedError

TaskT = TypeVar("TaskT", bound=Hashable)
ResultT = TypeVar("ResultT")
_Task_contra = TypeVar("_Task_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)

MOST_TRIES = 3
"""A task whose worker is lost this often is given up: it would take the next worker down, too."""

_log = logging.getLogger(__name__)


class WorkError(SiEmbodiedError, RuntimeError):
    """A task failed in its worker, or its workers were lost again and again."""


class Worker(Protocol[_Task_contra, _Result_co]):
    """Does tasks, one after another, in one process."""

    def do(self, task: _Task_contra, /) -> _Result_co:
        """Do a task. Its text names it in messages."""

    def close(self) -> None:
        """Release what it holds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in a worker's process, as text: not every exception can be pickled."""

    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone, and with it what it was doing."""

    why: str


Ticket = Hashable
"""Stands for a task that is being done."""


class Crew(Protocol[TaskT, ResultT]):
    """Workers, each of which does one task at a time."""

    def free(self) -> bool:
        """Whether another task can be started now."""

    def start(self, task: TaskT) -> Ticket:
        """Start a task, with a new worker if there is none for it."""

    def ended(self) -> Sequence[tuple[Ticket, ResultT | Failure | Lost]]:
        """Wait until at least one task has ended. A lost worker is replaced when it is needed."""


def work_through(crew: Crew[TaskT, ResultT], tasks: Iterable[TaskT]) -> Generator[ResultT, None, None]:
    """Do the tasks; yields each result when it is there, in no certain order.

    A task is taken from `tasks` when there is a worker for it, so that it may depend on the results so far.

    Raises:
        WorkError: a task failed, or lost its worker `MOST_TRIES` times.
    """
    waiting = iter(tasks)
    again: deque[TaskT] = deque()
    tries: Counter[TaskT] = Counter()
    running: dict[Ticket, TaskT] = {}
    while True:
        while crew.free() and (task := again.popleft() if again else next(waiting, None)) is not None:
            running[crew.start(task)] = task
        if not running:
            return
        for ticket, outcome in crew.ended():
            task = running.pop(ticket)
            if isinstance(outcome, Failure):
                raise WorkError(f"{task} failed: {outcome.message}") from WorkError(outcome.trace)
            if not isinstance(outcome, Lost):
                yield outcome
                continue
            tries[task] += 1
            if tries[task] >= MOST_TRIES:
                raise WorkError(
                    f"{task} was given up: its worker was lost {tries[task]} times, most likely out of memory "
                    f"({outcome.why}); repeat the command with fewer --workers to resume"
                )
            _log.warning("lost the worker of %s (%s); it is done again", task, outcome.why)
            again.append(task)


# --- in this process ------------------------------------------------------------------------------------------------


class _Here(Generic[TaskT, ResultT]):
    """One worker in this process, made for the first task. What it raises is raised as it is."""

    def __init__(self, make: Callable[[], Worker[TaskT, ResultT]]) -> None:
        self._make = make
        self.worker: Worker[TaskT, ResultT] | None = None
        self._task: TaskT | None = None

    def free(self) -> bool:
        return self._task is None

    def start(self, task: TaskT) -> Ticket:
        self._task = task
        return task

    def ended(self) -> Sequence[tuple[Ticket, ResultT | Failure | Lost]]:
        task, self._task = self._task, None
        assert task is not None
        if self.worker is None:
            self.worker = self._make()
        return [(task, self.worker.do(task))]


@contextmanager
def here(make: Callable[[], Worker[TaskT, ResultT]]) -> Iterator[Crew[TaskT, ResultT]]:
    """The crew of one that works in this process."""
    crew = _Here(make)
    try:
        yield crew
    finally:
        if crew.worker is not None:
            crew.worker.close()


# --- in a worker's process ------------------------------------------------------------------------------------------


class Bench(Generic[TaskT, ResultT]):
    """The place of a worker in another process: makes it for its first task, and turns exceptions into text."""

    def __init__(self, make: Callable[[], Worker[TaskT, ResultT]]) -> None:
        """Nothing is made yet: what goes wrong is told with the first task."""
        self._make = make
        self._worker: Worker[TaskT, ResultT] | None = None

    def do(self, task: TaskT) -> ResultT | Failure:
        """Do a task."""
        try:
            if self._worker is None:
                from si_embodied.plugins import load_plugins

                load_plugins()
                self._worker = self._make()
            return self._worker.do(task)
        except Exception as error:  # noqa: BLE001 - the process that asked raises it
            return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())

    def close(self) -> None:
        """Close the worker, if it was made."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
