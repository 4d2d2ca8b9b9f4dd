"""Checks where a camera is mounted (hand-eye calibration).

Either the camera moves with its mount and the board stands still, or the mount holds the board and the camera stands
still. With M the mount's motion, X the camera's mount and Y the board's place, `T_camera_board = X⁻¹ M Y` in each view.
OpenCV's `calibrateHandEye` (Park and Martin, "Robot sensor calibration: solving AX = XB on the Euclidean group", 1994)
starts a least-squares fit of X and Y to the corners' pixels. Standard deviations allow for errors that the corners of
a view share, such as those of its recorded pose (the sandwich estimator, with views as clusters).
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typing_extensions import Doc

from si_embodied.calibration.board import Board
from si_embodied.calibration.contradictions import MOST_VIEW_M, check_unit, strays, why_contradictory
from si_embodied.calibration.detection import View, check_size
from si_embodied.calibration.mount_fit import Fit, Problem, apart
from si_embodied.errors import ConfigError, DataError
from si_embodied.findings import Finding, Report, Verdict, judged
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

LEAST_VIEWS = 4
_TOLERANCE_M, _TOLERANCE_RAD = 0.005, np.radians(0.3)
"""Of the mount: 0.3° moves a point at 3 m by 16 mm."""
_LEAST_TURN_RAD = np.radians(5.0)
_SCALE_TOLERANCE = 0.01
_MOST_MOUNT_M = 10.0
"""From a link to the camera on it, and from the floor to the board: farther is a number in another unit."""


@dataclass(frozen=True, slots=True)
class HandEyeSettings:
    """How the pictures were taken, and what is set."""

    board_held: Annotated[bool, Doc("the mount holds the board, and the camera stands still (a head camera)")] = False
    published: Annotated[
        str, Doc("the mount that is set: 'x y z qx qy qz qw', metres; default: the recording's transforms")
    ] = ""
    board_height: Annotated[
        float | None,
        Doc("height of the board's first corner (top left) in the fixed frame, metres: for a base that only drives"),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.board_held and self.board_height is not None:
            raise ConfigError("expected --board-height for a board that stands still, got it with --board-held")
        if self.board_height is not None and not abs(self.board_height) <= _MOST_MOUNT_M:
            raise ConfigError(f"expected --board-height in metres, got: {self.board_height:g}; 1200 mm are 1.2")

    def mount(self) -> Pose | None:
        """The mount that is set; None if it is not given.

        Raises:
            ConfigError: not seven numbers, or the position is not in metres.
        """
        if not self.published:
            return None
        try:
            x, y, z, qx, qy, qz, qw = map(float, self.published.replace(",", " ").split())
        except ValueError as error:
            raise ConfigError(f"expected --published 'x y z qx qy qz qw', got: {self.published!r}") from error
        if not self.board_held and math.hypot(x, y, z) > _MOST_MOUNT_M:  # a held board's is that in the fixed frame
            raise ConfigError(
                f"expected --published in metres, got a camera {math.hypot(x, y, z):.0f} m from its link: "
                f"{self.published!r}; divide x, y and z by 1000 if they are millimetres, by 100 if they are centimetres"
            )
        return Pose.from_quaternion((qx, qy, qz, qw), (x, y, z))


def check_hand_eye(
    views: list[View],
    board: Board,
    camera: CameraModel,
    settings: HandEyeSettings,
    published: Pose | None,
    frames: tuple[str, str],
) -> Report:
    """Fit the camera's mount, and compare it with the one that is set.

    Args:
        views: pictures of the board, each with the mount's pose.
        board: the board.
        camera: the calibration of the pictures.
        settings: how the pictures were taken.
        published: the mount that is set; None if it is unknown.
        frames: names of the frame that the camera is mounted on, and of the camera's, for the lines to set.

    Raises:
        DataError: a view has no pose, the poses are not in metres, or the views do not determine the mount.
    """
    check_size(camera, views)
    problem = Problem(camera, board, views, held=settings.board_held, board_height_m=settings.board_height)
    check_unit(views, problem.poses)
    _check_motion(problem.motions, settings)
    fit = problem.solve(*problem.start(published))
    errors, square = problem.errors(fit), _square(problem, fit, board)
    bad = [] if _agree(fit, errors) or square.verdict == "off" else strays(problem, views, fit)
    doubt = _doubt(problem, fit, errors, square, bad)
    mount = doubt or _comparison(fit, published)
    findings = (mount, _residuals(views, errors, bad), square)
    rows = [
        (view.picture.name, str(len(view.ids)), f"{1e3 * by_m:.1f}", f"{np.degrees(by_rad):.2f}")
        for view, (by_m, by_rad) in zip(views, errors, strict=True)
    ]
    columns = {"picture": "left", "corners": "right", "residual, mm": "right", "residual, °": "right"}
    to_set = doubt is None and (mount.verdict != "unknown" or (published is None and _precise(fit)))
    lines = tuple(mount_lines(fit.mount, *frames)) if to_set else ()
    return Report(findings, columns, rows, lines, _figures(fit, errors, determined=doubt is None))


def _check_motion(motions: list[Pose], settings: HandEyeSettings) -> None:
    """Check that the mount turned about two axes.

    Raises:
        DataError: it did not.
    """
    cv2 = import_opencv()
    turns = np.array([
        np.ravel(cv2.Rodrigues(b.rotation @ a.rotation.T)[0])
        for i, a in enumerate(motions) for b in motions[i + 1 :]
    ])  # fmt: skip
    most_rad = float(np.linalg.norm(turns, axis=1).max())
    if most_rad < _LEAST_TURN_RAD:
        raise DataError(
            f"the mount turned by {np.degrees(most_rad):.1f}° at most between the views; turn it by 30° or more about "
            "two axes"
        )
    axis = np.linalg.svd(turns)[2][0]
    second_rad = float(np.linalg.norm(turns - np.outer(turns @ axis, axis), axis=1).max())
    if second_rad < _LEAST_TURN_RAD and settings.board_height is None:
        x, y, z = np.round(axis * np.sign(axis[np.abs(axis).argmax()]), 2) + 0.0  # no -0.00
        raise DataError(
            f"the mount turned about one axis alone, ({x:.2f}, {y:.2f}, {z:.2f}): the camera's position along it is "
            "not determined. Turn an arm about two axes by 30° or more; for a head that pans and tilts give its link "
            "as --mount; for a base that only drives measure the board's height and give --board-height, or let the "
            "arm hold the board (--board-held)"
        )


def _agree(fit: Fit, errors: list[tuple[float, float]]) -> bool:
    """Whether poses and pictures agree in all views."""
    return fit.settled and max(by_m for by_m, _ in errors) <= MOST_VIEW_M


def _precise(fit: Fit) -> bool:
    """Whether the mount is known well enough to set it where nothing is set."""
    return fit.sigma_m <= _TOLERANCE_M and fit.sigma_rad <= _TOLERANCE_RAD


def _doubt(
    problem: Problem, fit: Fit, errors: list[tuple[float, float]], square: Finding, bad: list[str]
) -> Finding | None:
    """Why the fitted mount is none to set; None if there is no reason to doubt it."""
    if square.verdict == "off":
        says = "not determined: it rests on the square size, which the robot's motion contradicts"
        return Finding("mount", "unknown", says, "settle the square size first, then run this again")
    if _agree(fit, errors):
        return None
    if bad:
        says = f"not determined: {len(bad)} of {len(problem.poses)} pictures contradict the others"
        return Finding("mount", "unknown", says, "correct or remove the pictures under residuals, then run this again")
    return Finding("mount", "unknown", *why_contradictory(problem, fit))


def _comparison(fit: Fit, published: Pose | None) -> Finding:
    measured = f"determined to ± {1e3 * fit.sigma_m:.1f} mm and ± {np.degrees(fit.sigma_rad):.2f}°"
    if published is None:
        fix = "set the transform below, or give --published to compare it with what is set"
        fix = fix if _precise(fit) else "take more views, with larger turns: this is not precise enough to set"
        return Finding("mount", "unknown", f"none is given to compare with; {measured}", fix)
    by_m, by_rad = apart(published, fit.mount)
    verdicts = {judged(by_m, fit.sigma_m, _TOLERANCE_M), judged(by_rad, fit.sigma_rad, _TOLERANCE_RAD)}
    verdict: Verdict = "off" if "off" in verdicts else "unknown" if "unknown" in verdicts else "fine"
    x, y, z = 1e3 * (fit.mount.translation - published.translation)
    by = {"off": "off by", "unknown": "differs by", "fine": "within"}[verdict]
    says = (
        f"{by} {1e3 * by_m:.1f} mm (add x {x:+.1f}, y {y:+.1f}, z {z:+.1f}) and {np.degrees(by_rad):.2f}°; {measured}"
    )
    fixes = {"off": "set the transform below", "unknown": "take more views, with larger turns", "fine": ""}
    return Finding("mount", verdict, says, fixes[verdict])


def _residuals(views: list[View], errors: list[tuple[float, float]], bad: list[str]) -> Finding:
    root_mm = 1e3 * float(np.sqrt(np.mean([by_m**2 for by_m, _ in errors])))
    root_deg = float(np.degrees(np.sqrt(np.mean([by_rad**2 for _, by_rad in errors]))))
    says = f"the board is where the other views expect it to {root_mm:.1f} mm and {root_deg:.2f}° (root mean square)"
    worst_m, worst = max((by_m, view.picture.name) for view, (by_m, _) in zip(views, errors, strict=True))
    if worst_m <= MOST_VIEW_M:
        return Finding("residuals", "fine", says)
    fix = f"check {', '.join(bad)}: a pose of another moment, a picture in motion, or a board that was moved"
    return Finding("residuals", "off", f"{says}; worst in {worst}: {1e3 * worst_m:.0f} mm", fix if bad else "")


def _square(problem: Problem, fit: Fit, board: Board) -> Finding:
    """Whether the board is as large as its file says, by how far the robot moved.

    The mount may be well determined where the size is not: a head whose axes meet turns about a fixed point.
    """
    what, by_file = "square size", f"{1e3 * board.square_m:.2f} mm by the board file"
    with suppress(DataError):
        scaled = problem.solve(fit.mount, fit.board, with_scale=True)
        sigma = float(np.sqrt(scaled.covariance[12, 12]))
        verdict = judged(scaled.scale - 1, sigma, _SCALE_TOLERANCE)
        square_mm, sigma_mm = 1e3 * board.square_m * scaled.scale, 1e3 * board.square_m * sigma
        says = f"{by_file}, {square_mm:.2f} ± {sigma_mm:.2f} mm by the robot's motion"
        if not _agree(scaled, problem.errors(scaled)):
            says = f"{by_file}; poses and pictures contradict each other whatever it is"
            return Finding(what, "note", says, "measure a square with a ruler")
        if verdict == "off":
            fix = f"measure a square with a ruler; set square_m to {1e-3 * square_mm:.5f} if it agrees"
            return Finding(what, verdict, says, fix)
        if sigma <= _SCALE_TOLERANCE:
            return Finding(what, verdict, says)
    says = f"{by_file}; the robot's motion does not determine it"
    return Finding(what, "note", says, "measure a square with a ruler")


def mount_lines(mount: Pose, parent: str, child: str) -> list[str]:
    """The mount as a command for ROS, and as an origin for URDF. The camera's frame is the optical one."""
    (x, y, z), (qx, qy, qz, qw), (roll, pitch, yaw) = mount.translation, mount.quaternion(), mount.roll_pitch_yaw()
    turned = f"--qx {qx:.6f} --qy {qy:.6f} --qz {qz:.6f} --qw {qw:.6f}"
    command = "ros2 run tf2_ros static_transform_publisher"
    return [
        f"{command} --x {x:.5f} --y {y:.5f} --z {z:.5f} {turned} --frame-id {parent} --child-frame-id {child}",
        f'<origin xyz="{x:.5f} {y:.5f} {z:.5f}" rpy="{roll:.6f} {pitch:.6f} {yaw:.6f}"/>',
    ]


def _figures(fit: Fit, errors: list[tuple[float, float]], *, determined: bool) -> dict[str, Any]:
    return {
        "determined": determined,
        "position_m": fit.mount.translation.tolist() if determined else None,
        "quaternion_xyzw": fit.mount.quaternion().tolist() if determined else None,
        "sigma_m": fit.sigma_m,
        "sigma_rad": fit.sigma_rad,
        "rms_px": fit.rms_px,
        "residuals_m": [by_m for by_m, _ in errors],
    }
