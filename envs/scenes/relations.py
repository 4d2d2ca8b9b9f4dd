"""Spatial relations with a margin: each returns the one candidate that it holds for, or None if that is ambiguous."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.envs.scenes.apartment import Furniture

SIDE_M = 0.35  # from the axis: clearly to one side
NEAREST_MARGIN_M = 0.5


def side_offsets(candidate: Furniture, anchor: Furniture) -> tuple[float, float]:
    """Position of a candidate for an observer who faces the anchor's front: (to the right, beyond its centre), metres.

    The observer looks along -f, the opposite of the front f. Right of -f is -f rotated by -90 degrees, which is f
    rotated by +90 degrees: (-f.y, f.x).
    """
    fx, fy = anchor.front
    dx, dy = float(candidate.centre[0] - anchor.centre[0]), float(candidate.centre[1] - anchor.centre[1])
    return -fy * dx + fx * dy, -(fx * dx + fy * dy)


def side_of(candidates: Sequence[Furniture], anchor: Furniture, side: Literal["left", "right"]) -> Furniture | None:
    """The one candidate on a side of the anchor, as seen by an observer who faces it; all others must clearly not be.

    On a side means farther sideways than in depth: within 45 degrees of the line through the anchor across the view.
    """
    chosen = None
    for candidate in candidates:
        right, beyond = side_offsets(candidate, anchor)
        across = right if side == "right" else -right
        if across < -SIDE_M:
            continue
        if across < SIDE_M or abs(beyond) > across or chosen is not None:
            return None
        chosen = candidate
    return chosen


def nearest(candidates: Sequence[Furniture], point: tuple[float, float]) -> Furniture | None:
    """The candidate nearest to a map point, if the second nearest is farther by 0.5 m and by a third."""
    ranked = sorted(candidates, key=lambda p: (_to(p, point), p.name))
    if len(ranked) < 2:
        return None
    first, second = _to(ranked[0], point), _to(ranked[1], point)
    return ranked[0] if second - first >= NEAREST_MARGIN_M and second >= first * 4 / 3 else None


def _to(piece: Furniture, point: tuple[float, float]) -> float:
    return math.hypot(float(piece.centre[0]) - point[0], float(piece.centre[1]) - point[1])


def between(candidates: Sequence[Furniture], a: Furniture, b: Furniture) -> Furniture | None:
    """The one candidate between two anchors; all others must clearly not be between them.

    Between: its projection falls into the middle 60% of the segment, and its distance from the segment is less than a
    quarter of the length (and 0.6 m). Clearly not: beyond an end, or farther than half the length (and 1.0 m).
    """
    ax, ay = (float(v) for v in a.centre)
    bx, by = (float(v) for v in b.centre)
    length = math.hypot(bx - ax, by - ay)
    if length < 1.6:
        return None
    ux, uy = (bx - ax) / length, (by - ay) / length
    chosen = None
    for candidate in candidates:
        dx, dy = float(candidate.centre[0]) - ax, float(candidate.centre[1]) - ay
        along, off = (dx * ux + dy * uy) / length, abs(dx * uy - dy * ux)
        if along < 0 or along > 1 or off > max(length / 2, 1.0):
            continue
        if not (0.2 <= along <= 0.8 and off <= min(length / 4, 0.6)) or chosen is not None:
            return None
        chosen = candidate
    return chosen
