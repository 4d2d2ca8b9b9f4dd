"""Work says how far it has come, and what is shown of it is the program's choice."""

from __future__ import annotations

import io
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest

from si_embodied.cli import progress as module
from si_embodied.cli.progress import EVERY_S, Lines, duration, open_display
from si_embodied.processes import run_alone
from si_embodied.progress import display_in_use, shown_with, track


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Log:
    """Lines with the times at which they were written."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines: list[tuple[float, str]] = []
        self.display = Lines(lambda line: self.lines.append((self.clock.now_s - 100.0, line)), self.clock)

    def __call__(self) -> Any:
        return nullcontext(self.display)

    def wait(self, seconds: int) -> None:
        """Time passes, and the clock looks every second."""
        for _ in range(seconds):
            self.clock.now_s += 1.0
            self.display.look()


@pytest.fixture
def log() -> Log:
    return Log()


def test_work_that_nobody_shows_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with track("episodes", 3) as work:
        work.advance(2, note="fine")
    assert (work.done, work.total, work.note) == (2, 3, "fine")
    assert capfd.readouterr() == ("", "")


def test_short_work_is_not_spoken_of(log: Log) -> None:
    with shown_with(log), track("episodes", 3) as work:
        for _ in range(3):
            log.wait(6)
            work.advance()
    assert log.lines == []


def test_many_short_works_in_a_row_are_not_silent(log: Log) -> None:
    with shown_with(log):
        for number in range(8):
            with track(f"policy {number}", 1):
                log.wait(10)
    assert [at_s for at_s, _ in log.lines] == [20.0, 40.0, 60.0, 80.0]


def test_a_line_says_what_is_done_how_fast_and_what_is_left(log: Log) -> None:
    with shown_with(log), track("oracle on Apartment", 40, done=10) as work:
        for _ in range(10):
            log.wait(2)
            work.advance(note="7/8 succeeded")
    # 9 new ones in 20 s are 27 a minute (the tenth came after the line); 21 are left, at 20/9 s each.
    assert log.lines == [(20.0, "oracle on Apartment: 19 of 40 episodes, 27 per min, 47 s left, 7/8 succeeded")]


def test_a_rate_keeps_its_unit_when_work_is_somewhat_slower(log: Log) -> None:
    """One in 60 s is 1 a minute and one in 80 s 0.75; a switch at one would say 45 per h."""
    with shown_with(log), track("eval", 40) as work:
        log.wait(59)
        work.advance()
        log.wait(21)
        log.wait(920)
    told = {at_s: line.split(", ")[1] for at_s, line in log.lines}
    assert (told[60.0], told[80.0], told[1000.0]) == ("1 per min", "0.75 per min", "3.6 per h")


def test_one_long_episode_does_not_silence_it(log: Log) -> None:
    """Never silent for more than 30 s, and not more than one line in 20 s, whatever the work does."""
    with shown_with(log), track("eval", 5) as work:
        log.wait(95)
        work.advance()
        for _ in range(400):
            log.wait(1)
            work.reach(2)
    times = [at_s for at_s, _ in log.lines]
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert all(EVERY_S <= gap <= 30.0 for gap in gaps)
    assert times[-1] > 470
    assert log.lines[0][1] == "eval: 0 of 5 episodes, 20 s so far"


def test_work_whose_size_nobody_knows_says_how_long_it_has_run(log: Log) -> None:
    with shown_with(log), track("study noise") as work:
        log.wait(20)
        work.reach(0, note="realsense")
        log.wait(160)
    assert log.lines[0] == (20.0, "study noise: 20 s so far")
    assert log.lines[-1] == (180.0, "study noise: 3 min so far, realsense")


def test_a_part_is_named_with_the_whole(log: Log) -> None:
    with shown_with(log), track("suite nav", 12, unit="rows") as suite:
        suite.advance(2)
        with track("oracle on Apartment", 4):
            log.wait(20)
        log.wait(20)
    assert [line for _, line in log.lines] == [
        "suite nav (2 of 12 rows done); oracle on Apartment: 0 of 4 episodes, 20 s so far",
        "suite nav: 2 of 12 rows, 3 per min, 3 min left",
    ]


def test_after_a_failure_the_next_work_is_shown_as_its_own(log: Log) -> None:
    with shown_with(log):
        with pytest.raises(ValueError), track("first", 2):
            raise ValueError
        with track("second", 2):
            log.wait(20)
    assert log.lines == [(20.0, "second: 0 of 2 episodes, 20 s so far")]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99.0, "99 s"), (100.0, "2 min"), (5900.0, "98 min"), (6000.0, "1.7 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_log_file_gets_lines_from_a_clock_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = threading.Event()
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "_LOOKS_EVERY_S", 0.001)
    monkeypatch.setattr(module, "_write", lambda line: (sys.stderr.write(f"{line}\n"), written.set()))
    with shown_with(open_display), track("demo", 8):
        assert written.wait(10), "the work itself never spoke"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("demo: 0 of 8 episodes, 0 s so far\n")


def test_a_terminal_gets_bars_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown_with(open_display), track("suite nav", 12, unit="rows"), track("oracle", 4) as work:
        work.advance(3, note="3/3 succeeded")
        print("a result")  # noqa: T201
        end = time.monotonic() + 20
        while "3/4" not in terminal.getvalue() and time.monotonic() < end:  # bars are drawn ten times a second
            time.sleep(0.02)
    assert capsys.readouterr().out == "a result\n"
    for text in ("suite nav", "oracle", "3/4", "3/3 succeeded"):
        assert text in terminal.getvalue()


def test_a_process_of_its_own_shows_its_progress_in_the_same_way() -> None:
    code = "from si_embodied.progress import display_in_use as d; assert d().__name__ == 'open_display'"
    with shown_with(open_display):
        assert run_alone(exec, code) == 0
    assert display_in_use() is None
