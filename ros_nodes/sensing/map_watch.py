"""Notices a map frame that jumps: localisation that was lost and found, a map that was loaded anew. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from si_embodied.geometry import Pose

JUMP_M, JUMP_RAD = 0.5, 0.25
"""A correction larger than this, at once, counts as a jump. At 2 m, that angle moves a point by as much."""


class MapWatch:
    """Compares where the odometry's frame is in the map with where it was.

    The odometry does not jump (REP 105), so a sudden change means that positions in the map no longer hold. Slow
    changes make up for the odometry's drift and leave them valid. Without an odometry frame nothing is noticed.
    """

    def __init__(self, odom_now: Callable[[], Pose | None]) -> None:
        """Watch; `odom_now` returns the newest `T_map_odom`, None while it is not known."""
        self._odom_now = odom_now
        self._last: Pose | None = None

    def check(self) -> str:
        """By how much the map frame has jumped since the last call, in words; empty if it has not."""
        now, last = self._odom_now(), self._last
        if now is None:
            return ""
        self._last = now
        if last is None:
            return ""
        between = last.inverse() @ now
        moved_m, turned_rad = float(np.linalg.norm(between.translation)), abs(between.yaw)
        if moved_m <= JUMP_M and turned_rad <= JUMP_RAD:
            return ""
        return f"the map frame has jumped by {moved_m:.2f} m and {np.degrees(turned_rad):.0f} degrees"
