"""Motion of the base: a disc that slides along the obstacles it touches. No dynamics, as in Habitat."""

from __future__ import annotations

import math
from typing import Protocol

from si_embodied.geometry import wrap_angle

_SUBSTEP_M = 0.05  # less than the thickness of any wall
_SKIN_M = 1e-4


class Obstacles(Protocol):
    """What a disc slides along."""

    def distance(self, x: float, y: float) -> float:
        """Distance from a point to the nearest obstacle; negative inside one."""

    def nearest(self, x: float, y: float) -> tuple[float, float, float]:
        """Distance from a point to the nearest obstacle (negative inside), and the unit vector (x, y) away from it."""


def slide(
    obstacles: Obstacles, radius_m: float, x: float, y: float, direction_rad: float, distance_m: float
) -> tuple[float, float, bool]:
    """Move a disc straight ahead, sliding along obstacles; returns its final x and y, and whether it touched one."""
    touched = False
    count = max(1, math.ceil(abs(distance_m) / _SUBSTEP_M))
    dx, dy = math.cos(direction_rad) * distance_m / count, math.sin(direction_rad) * distance_m / count
    for _ in range(count):
        nx, ny = x + dx, y + dy
        gap, ax, ay = obstacles.nearest(nx, ny)
        for _ in range(3):  # in a corner, moving out of one wall moves into the other
            if gap >= radius_m:
                break
            touched = True
            nx, ny = nx + ax * (radius_m - gap + _SKIN_M), ny + ay * (radius_m - gap + _SKIN_M)
            gap, ax, ay = obstacles.nearest(nx, ny)
        if gap < radius_m:
            return x, y, True  # wedged: stay at the last position where the disc fits
        x, y = nx, ny
    return x, y, touched


def drive(
    obstacles: Obstacles, radius_m: float, pose: tuple[float, float, float], v: float, w: float, period_s: float
) -> tuple[float, float, float, float, bool]:
    """Drive an arc at speed `v` (m/s) and turn rate `w` (rad/s), sliding along obstacles.

    Returns:
        Final x, y and yaw, the length driven, and whether the disc touched an obstacle.
    """
    x, y, yaw = pose
    count = max(1, math.ceil(max(abs(v) * period_s / _SUBSTEP_M, abs(w) * period_s / 0.1)))
    length, touched = 0.0, False
    for _ in range(count):
        yaw += w * period_s / count / 2
        if v != 0.0:
            nx, ny, hit = slide(obstacles, radius_m, x, y, yaw, v * period_s / count)
            length += math.hypot(nx - x, ny - y)
            x, y, touched = nx, ny, touched or hit
        yaw += w * period_s / count / 2
    return x, y, wrap_angle(yaw), length, touched
