"""How far long work has come. The work says it with `track`; the program that runs it chooses how it is shown.

As with logging, a library says and a program shows: without `shown_with`, nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(slots=True, eq=False)
class Progress:
    """How far one piece of work has come."""

    label: str
    total: int | None  # None: nobody knows how much there is to do
    done: int = 0
    unit: str = "episodes"
    note: str = ""  # shown behind the numbers
    _changed: Callable[[Progress], None] = field(default=lambda _: None, repr=False)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """More is done."""
        self.reach(self.done + count, note=note)

    def reach(self, done: int, *, total: int | None = None, note: str | None = None) -> None:
        """So much is done; a total or a note that is not given stays."""
        self.done = done
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        self._changed(self)


class Display(Protocol):
    """Shows progress. Work may be part of other work: what begins last ends first."""

    def begin(self, work: Progress) -> None:
        """Work begins."""

    def change(self, work: Progress) -> None:
        """More of it is done."""

    def end(self, work: Progress) -> None:
        """It ended, well or not."""


OpenDisplay: TypeAlias = Callable[[], AbstractContextManager[Display]]
"""Opens a display. It is a function of a module, so that a process of its own can open one too."""

_shown: list[tuple[OpenDisplay, Display]] = []
"""The displays of this process; the last one shows."""


@contextmanager
def shown_with(open_display: OpenDisplay | None) -> Iterator[None]:
    """Show the progress of all work in the block; None shows nothing more than before."""
    if open_display is None:
        yield
        return
    with open_display() as display:
        _shown.append((open_display, display))
        try:
            yield
        finally:
            _shown.pop()


def display_in_use() -> OpenDisplay | None:
    """How this process shows progress, for another process that works for it."""
    return _shown[-1][0] if _shown else None


@contextmanager
def track(label: str, total: int | None = None, *, done: int = 0, unit: str = "episodes") -> Iterator[Progress]:
    """Say how far the work in the block has come.

    Args:
        label: names the work.
        total: how much there is to do; None if nobody knows.
        done: how much of it was done before.
        unit: what is counted.
    """
    display = _shown[-1][1] if _shown else None
    if display is None:
        yield Progress(label, total, done, unit)
        return
    work = Progress(label, total, done, unit, _changed=display.change)
    display.begin(work)
    try:
        yield work
    finally:
        display.end(work)
