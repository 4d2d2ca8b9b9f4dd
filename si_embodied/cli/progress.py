"""Shows on stderr how far long work has come: bars on a terminal, elsewhere a line every 20 seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

    from si_embodied.progress import Display, Progress

EVERY_S = 20.0
"""Work that takes less is not spoken of; a reader of a log file never waits longer for a sign of life."""
_LOOKS_EVERY_S = 1.0


@contextmanager
def open_display() -> Iterator[Display]:
    """The display that fits stderr."""
    if sys.stderr.isatty():
        bars = Bars()
        try:
            yield bars
        finally:
            bars.close()
    else:
        lines = Lines(_write)
        with _looking_after(lines.look):
            yield lines


def _write(line: str) -> None:
    with suppress(OSError, ValueError):  # the reader of our stderr has ended; the work goes on
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


# --- lines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Begun:
    work: Progress
    at_s: float
    done: int  # before this run


class Lines:
    """A line about the work in progress, whenever `EVERY_S` have passed since the last one or the start."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            write: takes a line.
            clock: seconds.
        """
        self._write, self._clock = write, clock
        self._begun: list[_Begun] = []
        self._last_s = clock()  # many short works in a row are long work
        self._one_at_a_time = threading.Lock()

    def begin(self, work: Progress) -> None:
        """Work begins, or a part of what is in progress."""
        self._begun.append(_Begun(work, self._clock(), work.done))

    def change(self, work: Progress) -> None:
        """More of it is done."""
        self.look()

    def end(self, work: Progress) -> None:
        """It ended."""
        self.look()
        self._begun = [begun for begun in self._begun if begun.work is not work]

    def look(self) -> None:
        """Write a line if it is time. Also called by a clock, since a single episode may take minutes."""
        with self._one_at_a_time:
            now_s, begun = self._clock(), self._begun
            if begun and now_s - self._last_s >= EVERY_S:
                self._last_s = now_s
                *around, inner = begun
                self._write("; ".join([*(_briefly(each.work) for each in around), _in_full(inner, now_s)]))


def _briefly(work: Progress) -> str:
    """Work that other work is part of."""
    return work.label if work.total is None else f"{work.label} ({work.done} of {work.total} {work.unit} done)"


def _in_full(begun: _Begun, now_s: float) -> str:
    """How much is done, how fast, and how long the rest takes if it goes on like that."""
    work, took_s = begun.work, now_s - begun.at_s
    new = work.done - begun.done
    said = [f"{work.done} of {work.total} {work.unit}"] if work.total is not None else []
    if new > 0 and took_s > 0:
        said.append(_rate(new / took_s))
        if work.total is not None:
            said.append(f"{duration((work.total - work.done) * took_s / new)} left")
    else:
        said.append(f"{duration(took_s)} so far")
    return f"{work.label}: {', '.join([*said, *filter(None, [work.note])])}"


def _rate(per_s: float) -> str:
    """The rate a second, a minute or an hour; a minute's down to one in ten, so that slow work keeps its unit."""
    unit, count = next(
        (
            (unit, per_s * length_s)
            for unit, length_s, least in (("s", 1, 1.0), ("min", 60, 0.1))
            if per_s * length_s >= least
        ),
        ("h", per_s * 3600),
    )
    return f"{count:.2g} per {unit}" if count < 99.5 else f"{count:.0f} per {unit}"


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def _looking_after(look: Callable[[], None]) -> Iterator[None]:
    """Call a function every second, beside the block."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOKS_EVERY_S):
            look()

    threading.Thread(target=watch, name="progress", daemon=True).start()
    try:
        yield
    finally:
        over.set()


# --- bars -----------------------------------------------------------------------------------------------------------


class Bars:
    """A bar for each piece of work, which disappears when that has ended."""

    def __init__(self) -> None:
        """Nothing is loaded or drawn before there is work."""
        self._bars: rich.progress.Progress | None = None
        self._drawn: dict[int, rich.progress.TaskID] = {}

    def begin(self, work: Progress) -> None:
        """Draw its bar."""
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        self._drawn[id(work)] = self._bars.add_task(
            work.label, total=work.total, completed=work.done, note=work.note, unit=work.unit
        )

    def change(self, work: Progress) -> None:
        """Move its bar."""
        if self._bars is not None:
            self._bars.update(self._drawn[id(work)], completed=work.done, total=work.total, note=work.note)

    def end(self, work: Progress) -> None:
        """Remove its bar."""
        if self._bars is not None:
            self._bars.remove_task(self._drawn.pop(id(work)))
            if not self._drawn:
                self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._drawn.clear()


def _bars() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    # What a command prints meanwhile appears above the bars, unless it goes to a file.
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
