"""Fits where a camera is mounted to pictures of a board; `hand_eye` says what is fitted."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.board import Board
from si_embodied.calibration.detection import View, board_pose, pinhole_pixels, rms, undistorted_pixels
from si_embodied.errors import ConfigError, DataError, extra
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_HEIGHT_SIGMA_M = 0.001
"""Of a tape measure."""
_MOST_EVALUATIONS = 100
"""Poses that agree with the pictures need 10 to 30; others may never settle."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The fitted mount and the board's place."""

    mount: Pose  # X
    board: Pose  # Y
    scale: float  # of the board's squares; 1 unless it was fitted
    covariance: NDArray[np.float64]  # of X's rotation vector (in the camera), X's position, Y's, and the scale
    rms_px: float
    settled: bool  # whether the least-squares fit ended before its limit

    @property
    def sigma_m(self) -> float:
        """Standard deviation of the camera's position, metres."""
        return float(np.sqrt(np.trace(self.covariance[3:6, 3:6])))

    @property
    def sigma_rad(self) -> float:
        """Standard deviation of the camera's orientation, radians."""
        return float(np.sqrt(np.trace(self.covariance[:3, :3])))


class Problem:
    """The least-squares problem: the corners' pixels in all views."""

    def __init__(
        self, camera: CameraModel, board: Board, views: list[View], *, held: bool, board_height_m: float | None
    ) -> None:
        """Find the board in each view.

        Args:
            camera: the calibration of the pictures.
            board: the board.
            views: pictures of the board, each with the mount's pose.
            held: the mount holds the board, and the camera stands still.
            board_height_m: of the board's origin in the fixed frame, if it is known.

        Raises:
            DataError: a view has no pose.
        """
        self._camera, self._board_height_m, self.held = camera, board_height_m, held
        self._points = [board.corners_m()[view.ids] for view in views]
        self._pixels = [undistorted_pixels(camera, view.pixels) for view in views]
        self.poses = [board_pose(camera, board, view).T_camera_board for view in views]
        self.motions: list[Pose] = []
        for view in views:
            if (T_fixed_mount := view.picture.T_fixed_mount) is None:
                raise DataError(
                    f"{view.picture.name} has no pose; add it to poses.txt, or check --fixed and --mount of a recording"
                )
            self.motions.append(T_fixed_mount if held else T_fixed_mount.inverse())

    def only(self, kept: list[int]) -> Problem:
        """The same problem with some of its views."""
        part = copy(self)
        part.motions, part.poses = [self.motions[i] for i in kept], [self.poses[i] for i in kept]
        part._points, part._pixels = [self._points[i] for i in kept], [self._pixels[i] for i in kept]
        return part

    def start(self, published: Pose | None) -> tuple[Pose, Pose]:
        """X and Y to start from: OpenCV's, or what is published if the motion does not determine all of X."""
        mount = published if self._board_height_m is not None else park(self.motions, self.poses)
        if mount is None:
            raise ConfigError("--board-height needs the mount that is set to start from; give --published")
        return mount, self.motions[0].inverse() @ mount @ self.poses[0]

    def solve(self, mount: Pose, place: Pose, *, with_scale: bool = False) -> Fit:
        """Fit X and Y, and the board's scale if asked.

        Raises:
            DataError: the views do not determine them.
            MissingExtraError: scipy is not installed.
        """
        with extra("bags"):
            from scipy.optimize import least_squares
        count = 13 if with_scale else 12

        def residuals_of(step: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.concatenate(self._residuals(mount, place, step))

        found = least_squares(residuals_of, np.zeros(count), max_nfev=_MOST_EVALUATIONS)
        x, y, scale = _stepped(mount, place, found.x)
        residuals, jacobian = self._residuals(mount, place, found.x), np.asarray(found.jac, dtype=np.float64)
        pixels = np.concatenate(residuals[: len(self.motions)]).reshape(-1, 2)
        covariance = _sandwich(jacobian, residuals, len(self.motions))
        return Fit(x, y, scale, covariance, rms(pixels), found.status > 0)

    def errors(self, fit: Fit) -> list[tuple[float, float]]:
        """By how much the board is not where the fit expects it in each view, metres and radians."""
        seen = [Pose(each.rotation, fit.scale * each.translation) for each in self.poses]
        return apart_by_view(self.motions, seen, fit.mount, fit.board)

    def _residuals(self, mount: Pose, place: Pose, step: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Pixels of each view's corners, expected less found; then the height of the board in tape measure errors."""
        x, y, scale = _stepped(mount, place, step)
        found = []
        for motion, points, pixels in zip(self.motions, self._points, self._pixels, strict=True):
            seen = (x.inverse() @ motion @ y).apply(scale * points)
            seen[:, 2] = np.maximum(seen[:, 2], 1e-3)  # a bad step may move the board behind the camera
            found.append((pinhole_pixels(self._camera, seen) - pixels).ravel())
        if self._board_height_m is not None:
            found.append(np.array([(y.translation[2] - self._board_height_m) / _HEIGHT_SIGMA_M]))
        return found


def park(motions: list[Pose], boards: list[Pose]) -> Pose:
    """X by Park and Martin's method, from the mount's motion and the board's pose in the camera's frame in each view.

    Raises:
        DataError: the poses do not determine it.
    """
    cv2 = import_opencv()
    grippers = [motion.inverse() for motion in motions]
    rotation, translation = cv2.calibrateHandEye(
        [each.rotation for each in grippers], [each.translation for each in grippers],
        [each.rotation for each in boards], [each.translation for each in boards],
        method=cv2.CALIB_HAND_EYE_PARK,
    )  # fmt: skip
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        raise DataError("the poses do not determine the mount; turn it about two axes by 30° or more between views")
    u, _, vt = np.linalg.svd(rotation)
    return Pose(u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt, np.ravel(translation))


def apart_by_view(motions: list[Pose], boards: list[Pose], mount: Pose, place: Pose) -> list[tuple[float, float]]:
    """By how much the board is not where X and Y expect it in each view, metres and radians."""
    pairs = zip(motions, boards, strict=True)
    return [apart(motion.inverse() @ mount @ T_camera_board, place) for motion, T_camera_board in pairs]


def apart(a: Pose, b: Pose) -> tuple[float, float]:
    """Distance in metres and angle in radians between two poses."""
    between = a.inverse() @ b
    cosine = (np.trace(between.rotation) - 1) / 2
    return float(np.linalg.norm(between.translation)), float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _sandwich(jacobian: NDArray[np.float64], residuals: list[NDArray[np.float64]], views: int) -> NDArray[np.float64]:
    """The parameters' covariance, if the residuals of a view are related, and those of different views are not.

    Raises:
        DataError: the views do not determine the parameters.
    """
    hessian = jacobian.T @ jacobian
    values = np.linalg.eigvalsh(hessian)
    if values[0] <= 1e-12 * values[-1]:
        raise DataError(
            "the views do not determine the mount: it needs turns about two axes, and for a base that only drives "
            "(--board-height) turns and drives of a metre or more"
        )
    parts = np.split(jacobian, np.cumsum([len(each) for each in residuals])[:-1])
    slopes = np.array([part.T @ each for part, each in zip(parts, residuals, strict=True)])
    inverse = np.linalg.inv(hessian)
    few = views / max(1.0, views - jacobian.shape[1] / 6)  # a view measures six numbers
    covariance: NDArray[np.float64] = few * inverse @ slopes.T @ slopes @ inverse
    return covariance


def _stepped(mount: Pose, place: Pose, step: NDArray[np.float64]) -> tuple[Pose, Pose, float]:
    """X and Y after a step: rotation vectors on the right, positions added; and the board's scale."""
    cv2 = import_opencv()
    x = Pose(mount.rotation @ cv2.Rodrigues(step[:3])[0], mount.translation + step[3:6])
    y = Pose(place.rotation @ cv2.Rodrigues(step[6:9])[0], place.translation + step[9:12])
    return x, y, 1.0 + (float(step[12]) if len(step) > 12 else 0.0)
