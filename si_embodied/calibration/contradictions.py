"""Why the robot's poses and the pictures of a board contradict each other: a unit, a convention, or a few bad pictures.

Poses that are inverted, in another unit, or paired with other pictures still give a least-squares fit. It means
nothing; what the mistake was is found by undoing each of the usual ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.mount_fit import Fit, Problem, apart_by_view, park
from si_embodied.errors import DataError
from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from si_embodied.calibration.detection import View

MOST_VIEW_M = 0.02
"""A view whose board is farther from where the others expect it has a wrong pose, or was taken in motion."""
_MOST_VIEW_RAD = np.radians(5.0)
_MOST_LEVER_M = 5.0
"""From a link to the camera or the board that is fixed to it."""
_UNITS = (("centimetres", 100), ("millimetres", 1000))
_STRAYS = 5
"""One view in so many may be bad; if more are, it is not the views."""
_LEAST_VIEWS = 4


def check_unit(views: list[View], boards: list[Pose]) -> None:
    """Check that the poses can be in metres.

    Args:
        views: pictures of the board, each with the mount's pose.
        boards: `T_camera_board` in each.

    Raises:
        DataError: the mount moved farther than the board can be seen.
    """
    poses = [(view.picture.name, pose) for view in views if (pose := view.picture.T_fixed_mount) is not None]
    placed = list(zip(poses, boards, strict=True))
    for ((name_a, a), board_a), ((name_b, b), board_b) in combinations(placed, 2):
        moved_m = float(np.linalg.norm(a.translation - b.translation))
        a_m, b_m = (float(np.linalg.norm(each.translation)) for each in (board_a, board_b))
        if moved_m > a_m + b_m + 2 * _MOST_LEVER_M:
            x, y, z = a.translation
            unit, factor = _unit([pose for _, pose in poses], boards)
            raise DataError(
                f"by its poses the mount moved {moved_m:.0f} m between {name_a} and {name_b}, which show the same "
                f"board from {a_m:.1f} m and {b_m:.1f} m; {name_a} has the position ({x:g}, {y:g}, {z:g}). Positions "
                f"are in metres, and these look like {unit}: divide x, y and z by {factor}"
            )


def _unit(poses: list[Pose], boards: list[Pose]) -> tuple[str, int]:
    """The unit that positions are most likely in, and how many of it make a metre.

    A camera on a link moves about as far as the link does; how much farther, or less far, depends on the turns.
    """
    seen = [each.inverse().translation for each in boards]
    moved = [np.linalg.norm(a.translation - b.translation) for a, b in combinations(poses, 2)]
    by_camera = [np.linalg.norm(a - b) for a, b in combinations(seen, 2)]
    ratio = float(np.sum(moved) / np.sum(by_camera))
    return min(_UNITS, key=lambda unit: abs(np.log(ratio / unit[1])))


def strays(problem: Problem, views: list[View], fit: Fit) -> list[str]:
    """The names of the few views without which all others agree; empty if there is no such few."""
    kept = list(range(len(views)))
    for _ in range(len(views) // _STRAYS):
        errors = problem.only(kept).errors(fit)
        kept.pop(int(np.argmax([by_m for by_m, _ in errors])))
        if len(kept) < _LEAST_VIEWS:
            break
        rest = problem.only(kept)
        with suppress(DataError):
            fit = rest.solve(fit.mount, fit.board)
            if fit.settled and max(by_m for by_m, _ in rest.errors(fit)) <= MOST_VIEW_M:
                return [view.picture.name for i, view in enumerate(views) if i not in kept]
    return []


def why_contradictory(problem: Problem, fit: Fit) -> tuple[str, str]:
    """What to say of poses that no mount explains, and what to do."""
    root_mm = 1e3 * float(np.sqrt(np.mean([by_m**2 for by_m, _ in problem.errors(fit)])))
    says = (
        f"not determined: no mount explains poses and pictures (the best leaves the board {root_mm:.0f} mm from where "
        "the views expect it)"
    )
    for motions, boards, mistake in _undone(problem.motions, problem.poses, held=problem.held):
        with suppress(DataError):
            mount = park(motions, boards)
            errors = apart_by_view(motions, boards, mount, motions[0].inverse() @ mount @ boards[0])
            by_m, by_rad = np.median(errors, axis=0)
            if by_m <= MOST_VIEW_M and by_rad <= _MOST_VIEW_RAD:
                return says, f"{mistake} (they agree to {1e3 * by_m:.1f} mm then)"
    board = (
        "that the arm holds the board and the camera stands still (or leave --board-held out)"
        if problem.held
        else "that the board stands still (or give --board-held if the arm holds it)"
    )
    fix = (
        f"check that each pose belongs to its picture; {board}; that poses are of the mount in the fixed frame, not "
        "inverted, with positions in metres; that quaternions are in the order x y z w; --fixed and --mount of a "
        "recording; and that the robot knows its poses to millimetres"
    )
    return says, fix


def _undone(motions: list[Pose], boards: list[Pose], *, held: bool) -> Iterator[tuple[list[Pose], list[Pose], str]]:
    """Motions and board poses with one usual mistake undone, and its correction in words."""
    inverse = [each.inverse() for each in motions]
    setup = (
        "leave --board-held out if the board stands still and the camera moves"
        if held
        else "give --board-held if the arm holds the board and the camera stands still"
    )
    yield inverse, boards, f"{setup}; otherwise invert the poses: they are those of the mount in the fixed frame"
    poses = [_reordered(each) for each in (motions if held else inverse)]
    order = "the quaternions are in the order w x y z; write x y z w"
    yield poses if held else [each.inverse() for each in poses], boards, order
    yield motions[:-1], boards[1:], "each picture has the next one's pose; pair them again"
    yield motions[1:], boards[:-1], "each picture has the pose of the one before; pair them again"


def _reordered(pose: Pose) -> Pose:
    """The pose whose quaternion was written w x y z and read as x y z w."""
    w, x, y, z = pose.quaternion()
    return Pose.from_quaternion((x, y, z, w), pose.translation)
