"""Notices a ROS clock that jumps back (a simulation reset, a bag that loops, NTP), or that does not run. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

BACK_S = 0.1
"""The clock is out of order by less than this where several sources publish it."""
SILENT_S = 2.0
"""After this long without a change, a simulated clock counts as stopped."""


class ClockWatch:
    """Compares the ROS clock with what it was, and with the steady clock."""

    def __init__(
        self,
        now_s: Callable[[], float],
        on_jump: Callable[[float], None],
        *,
        simulated: bool,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a clock.

        Args:
            now_s: the ROS clock.
            on_jump: told by how many seconds the clock went back.
            simulated: the clock comes on /clock (use_sim_time).
            steady_s: a clock that never jumps.
        """
        self._now_s, self._on_jump, self._simulated, self._steady_s = now_s, on_jump, simulated, steady_s
        self._latest_s = now_s()
        self._changed_s = steady_s()
        self.jumps = 0  # back, so far

    def check(self) -> float:
        """The time now, after telling of a jump; call it for every message and every now and then."""
        now_s = self._now_s()
        back_s = self._latest_s - now_s
        if now_s != self._latest_s:
            self._changed_s = self._steady_s()
        self._latest_s = now_s if now_s > self._latest_s or back_s > BACK_S else self._latest_s
        if back_s > BACK_S:
            self.jumps += 1
            self._on_jump(back_s)
        return now_s

    @property
    def problem(self) -> str | None:
        """What is wrong with a simulated clock; None if nothing is, and for the system's clock."""
        silent_s = self._steady_s() - self._changed_s
        if not self._simulated or silent_s <= SILENT_S:
            return None
        if self._latest_s <= 0:
            return (
                f"use_sim_time is true, but nothing has come on /clock for {silent_s:.0f} s; start the simulation or "
                "the bag (ros2 bag play --clock), or set use_sim_time: false"
            )
        return f"/clock has stood still at {self._latest_s:.3f} s for {silent_s:.0f} s; is the simulation paused?"
