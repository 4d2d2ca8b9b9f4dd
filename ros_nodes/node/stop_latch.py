"""The planner's latch of the emergency stop, and what it knows of the watchdog's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RELEASE_S = 1.0
"""Time for the watchdog to answer a release."""


@dataclass(slots=True)
class StopLatch:
    """The robot is stopped while the planner or the watchdog has latched a stop. Times: steady clock, seconds."""

    ours: bool = False
    watchdogs: bool = False
    _said: bool = False  # what the watchdog has said last
    _again: bool = False  # it has said so while the release was under way
    _until_s: float | None = None  # when the release under way counts as lost; None: there is none

    @property
    def set(self) -> bool:
        """Whether the robot must stand."""
        return self.ours or self.watchdogs

    @property
    def releasing(self) -> bool:
        """Whether a release of the watchdog's stop is under way."""
        return self._until_s is not None

    def hear(self, *, latched: bool) -> bool:
        """Take what the watchdog says; whether that stops the robot now.

        While a release is under way, a stop may be the old one, or a new one set after the release: it waits.
        """
        self._said = latched
        if self.releasing and latched:
            self._again = True
            return False
        self.watchdogs, self._again, self._until_s = latched, False, None
        return latched

    def release(self, now_s: float) -> None:
        """Ask the watchdog to release its stop."""
        self.watchdogs, self._again, self._until_s = False, False, now_s + RELEASE_S

    def answered(self) -> bool:
        """Take the watchdog's answer; whether it has said meanwhile that another stop was set."""
        return self._end_release(stopped=self._again)

    def check(self, now_s: float) -> bool:
        """End a release not answered in time; what the watchdog said last holds again. Whether that stops the robot."""
        overdue = self._until_s is not None and now_s >= self._until_s
        return overdue and self._end_release(stopped=self._said)

    def _end_release(self, *, stopped: bool) -> bool:
        if not self.releasing:
            return False
        self._until_s, self._again, self.watchdogs = None, False, stopped
        return stopped
