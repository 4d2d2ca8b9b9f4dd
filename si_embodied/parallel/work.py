"""The loop that hands out tasks, does those of lost workers again, and yields results as they come."""

from __future__ import annotations

import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

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
    """Does tasks of one kind, one after another, in one process."""

    def do(self, task: _Task_contra, /) -> _Result_co:
        """Do a task. Its text names it in messages."""

    def close(self) -> None:
        """Release what it holds."""


Make: TypeAlias = Callable[[], Worker[TaskT, ResultT]]
"""Makes a worker in its process. It can be pickled: a function of a module, or a `functools.partial` of one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in a worker's process, as text: not every exception can be pickled."""

    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone, and with it what it was doing."""

    why: str


Handle: TypeAlias = Hashable
"""Stands for a task that is being done."""


class WorkerPool(Protocol):
    """Processes, each of which does one task at a time and keeps its worker until it gets a task of another kind."""

    def has_free(self) -> bool:
        """Whether another task can be started now."""

    def submit(self, make: Make[TaskT, Any], task: TaskT) -> Handle:
        """Start a task, in a new process if there is none for it."""

    def wait(self) -> Sequence[tuple[Handle, Any | Failure | Lost]]:
        """Wait until at least one task has ended. A lost process is replaced when it is needed."""

    def cancel(self) -> None:
        """Give up what is being done; nobody waits for it any more."""


def work_through(
    pool: WorkerPool, make: Make[TaskT, ResultT], tasks: Iterable[TaskT]
) -> Generator[ResultT, None, None]:
    """Do the tasks; yields each result when it is there, in no certain order.

    A task is taken from `tasks` when there is a worker for it, so that it may depend on the results so far.

    Raises:
        WorkError: a task failed, or lost its worker `MOST_TRIES` times.
    """
    waiting = iter(tasks)
    again: deque[TaskT] = deque()
    tries: Counter[TaskT] = Counter()
    running: dict[Handle, TaskT] = {}
    try:
        while True:
            while pool.has_free() and (task := again.popleft() if again else next(waiting, None)) is not None:
                running[pool.submit(make, task)] = task
            if not running:
                return
            for handle, outcome in pool.wait():
                task = running.pop(handle)
                if isinstance(outcome, Failure):
                    raise WorkError(f"{task} failed: {outcome.message}") from WorkError(outcome.trace)
                if isinstance(outcome, Lost):
                    tries[task] += 1
                    _check_tries(task, tries[task], outcome)
                    again.append(task)
                else:
                    yield outcome
    finally:
        if running:
            pool.cancel()


def _check_tries(task: object, tries: int, lost: Lost) -> None:
    if tries < MOST_TRIES:
        _log.warning("lost the worker of %s (%s); it is done again", task, lost.why)
        return
    raise WorkError(
        f"{task} was given up: its worker was lost {tries} times, most likely out of memory ({lost.why}); repeat the "
        "command with fewer --workers to resume"
    )


# --- in this process ------------------------------------------------------------------------------------------------


class _Here:
    """Works in this process. What a task raises is raised as it is."""

    def __init__(self) -> None:
        self._make: Make[Any, Any] | None = None
        self._worker: Worker[Any, Any] | None = None
        self._task: Any = None

    def has_free(self) -> bool:
        return self._task is None

    def submit(self, make: Make[TaskT, Any], task: TaskT) -> Handle:
        if make is not self._make:
            self.close()
            self._make = make
        self._task = task
        return task

    def wait(self) -> Sequence[tuple[Handle, Any | Failure | Lost]]:
        task, self._task = self._task, None
        assert self._make is not None  # a task was started
        if self._worker is None:
            self._worker = self._make()
        return [(task, self._worker.do(task))]

    def cancel(self) -> None:
        self._task = None

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


@contextmanager
def here() -> Iterator[WorkerPool]:
    """The pool of one worker, in this process."""
    pool = _Here()
    try:
        yield pool
    finally:
        pool.close()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tasks: those that one worker can do."""

    number: int  # among those of its pool; 0 stands for none
    make: Make[Any, Any]

    def with_make(self, make: Make[Any, Any]) -> Kind:
        """This kind, or the next one if its workers are made in another way."""
        return self if make is self.make else Kind(self.number + 1, make)


def _nobody() -> Worker[Any, Any]:
    raise WorkError("no task has been started")


NO_KIND = Kind(0, _nobody)

# --- in a worker's process ------------------------------------------------------------------------------------------


class WorkerSlot:
    """Holds the worker of another process: makes it for its first task, and turns exceptions into text."""

    def __init__(self) -> None:
        """Nothing is made yet: what goes wrong is told with the first task."""
        self._kind = 0
        self._worker: Worker[Any, Any] | None = None

    def do(self, kind: Kind, task: object) -> Any | Failure:
        """Do a task of a kind, with the worker that is there if it is for that kind."""
        try:
            if kind.number != self._kind:
                from si_embodied.plugins import load_plugins

                load_plugins()
                self.close()
                self._worker, self._kind = kind.make(), kind.number
            assert self._worker is not None  # it was just made
            return self._worker.do(task)
        except Exception as error:  # noqa: BLE001 - the process that asked raises it
            return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())

    def close(self) -> None:
        """Close the worker, if there is one."""
        worker, self._worker, self._kind = self._worker, None, 0
        if worker is not None:
            worker.close()
