"""The board in pictures: its corners, and the reason if it is not found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.calibration.board import Board, dictionary_names, named_dictionary
from si_embodied.errors import DataError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.calibration.pictures import Picture
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_LEAST_CORNERS = 8
"""Six determine a pose of a plane barely; eight leave some to check it by."""
_WINDOW = 0.25
"""Half the window in which a corner is refined, by the distance to the next: it holds no other edge."""
_FISHEYE = ("equidistant", "fisheye")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture in which the board was found."""

    picture: Picture
    ids: NDArray[np.int64]  # (n,), rows of `Board.corners_m`
    pixels: NDArray[np.float64]  # (n, 2), in the image as taken


@dataclass(frozen=True, slots=True, eq=False)
class BoardPose:
    """Where the board is in a view."""

    T_camera_board: Pose
    residuals_px: NDArray[np.float64]  # (n, 2), corners as found less as expected

    @property
    def rms_px(self) -> float:
        """Root mean square distance between the corners as found and as expected, pixels."""
        return rms(self.residuals_px)

    @property
    def distance_m(self) -> float:
        """From the camera to the board's origin, metres."""
        return float(np.linalg.norm(self.T_camera_board.translation))

    @property
    def normal(self) -> NDArray[np.float64]:
        """The board's normal (3,) in the camera's frame, away from the camera."""
        return self.T_camera_board.rotation[:, 2]


def rms(residuals: NDArray[np.float64]) -> float:
    """Root mean square of vectors (n, k) by their length."""
    return float(np.sqrt((residuals**2).sum(axis=-1).mean()))


def find_board(board: Board, pictures: Iterable[Picture], *, least: int) -> tuple[list[View], list[str]]:
    """Find the board in pictures of one size.

    Args:
        board: the board.
        pictures: the pictures.
        least: views that the check needs.

    Returns:
        The views, and the names of the pictures without the board.

    Raises:
        DataError: there are too few views, with the likely reason; or the pictures differ in size.
    """
    cv2 = import_opencv()
    detector = cv2.aruco.CharucoDetector(board.opencv())
    views: list[View] = []
    without: list[Picture] = []
    for picture in pictures:
        if views and picture.size != views[0].picture.size:
            raise DataError(
                f"expected pictures of one size, got: {views[0].picture.name} of {views[0].picture.size} and "
                f"{picture.name} of {picture.size}; take all with the same camera and resolution"
            )
        view = _view(detector, board, picture)
        if view is None:
            without.append(picture)
        else:
            views.append(view)
    if len(views) < least:
        raise DataError(_too_few(board, views, without, least))
    return views, [picture.name for picture in without]


def _view(detector: Any, board: Board, picture: Picture) -> View | None:
    corners, ids, _, _ = detector.detectBoard(_grey(picture.rgb))
    if ids is None or len(ids) < _LEAST_CORNERS:
        return None
    numbers = np.asarray(ids, dtype=np.int64).ravel()
    pixels = _refined(_grey(picture.rgb), np.asarray(corners, dtype=np.float32).reshape(-1, 2))
    across = board.columns - 1
    if min(len(np.unique(numbers % across)), len(np.unique(numbers // across))) < 2:
        return None  # on one line: no plane
    return View(picture, numbers, pixels)


def _refined(grey: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.float64]:
    """The corners (n, 2) to a tenth of a pixel.

    `CharucoDetector` refines only some, and until 2026 it was half a pixel off (OpenCV's issue 25539).
    """
    cv2 = import_opencv()
    between = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    nearest_px = float(np.median(np.min(between + 1e9 * np.eye(len(corners)), axis=1)))
    half = int(np.clip(_WINDOW * nearest_px, 2, 10))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.001)
    refined = cv2.cornerSubPix(grey, np.ascontiguousarray(corners - 0.5), (half, half), (-1, -1), stop)
    return np.asarray(refined, dtype=np.float64).reshape(-1, 2)


def _too_few(board: Board, views: list[View], without: list[Picture], least: int) -> str:
    """The error's text, with the reason why the first picture without a board is one."""
    count = len(views) + len(without)
    names = ", ".join(picture.name for picture in without[:5]) + (", …" if len(without) > 5 else "")
    found = f"the board ({board.words}) was found in {len(views)} of {count} pictures, but {least} are needed"
    if not without:
        return f"{found}; take more, about 15 to 20"
    return f"{found}; not in: {names}. {_reason(board, without[len(without) // 2])}"


def _reason(board: Board, picture: Picture) -> str:
    """Why the board is not found in a picture: the causes that can be tested, then those that a person can see."""
    cv2 = import_opencv()
    grey = _grey(picture.rgb)
    mirrored = _markers(cv2, grey[:, ::-1].copy(), board.dictionary)
    upright = _markers(cv2, grey, board.dictionary)
    if mirrored > max(2, upright):
        return f"{picture.name} is mirrored: turn off the flip in the camera's driver, or print the board unmirrored"
    if upright > 2:
        return (
            f"{picture.name} has {upright} markers of {board.dictionary}, but too few corners between them: check "
            "columns and rows in the board file, legacy_pattern if another program drew the board, and show more of it"
        )
    others = {name: _markers(cv2, grey, name) for name in dictionary_names() if name != board.dictionary}
    # A larger dictionary contains the smaller of its family; the first is the smallest with the most markers.
    best = max(others, key=lambda name: (others[name], -len(named_dictionary(name).bytesList)))
    if others[best] > 2:
        return (
            f"{picture.name} has {others[best]} markers of {best}, but the board file says {board.dictionary}: give "
            "the board file of the board that was printed"
        )
    return (
        f"No marker is visible in {picture.name}. Usual causes: the board is not in the picture or too far away (a "
        "marker needs about 20 pixels), motion blur, too dark or too bright, glare on the paper, or a cut white margin"
    )


def _markers(cv2: Any, grey: NDArray[np.uint8], dictionary: str) -> int:
    _, ids, _ = cv2.aruco.ArucoDetector(named_dictionary(dictionary)).detectMarkers(grey)
    return 0 if ids is None else len(ids)


def _grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = import_opencv().cvtColor(np.ascontiguousarray(rgb), import_opencv().COLOR_RGB2GRAY)
    return grey


def undistorted_pixels(camera: CameraModel, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a pinhole camera with the same matrix has these pixels (n, 2).

    Raises:
        DataError: the lens bends rays so far that the coefficients give no answer.
    """
    if not camera.distorts:
        return pixels
    cv2 = import_opencv()
    module = cv2.fisheye if camera.distortion_model in _FISHEYE else cv2
    k = camera.intrinsics.matrix()
    points = module.undistortPoints(pixels[:, None], k, np.array(camera.distortion), P=k)
    found = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(found).all():
        raise DataError(f"the distortion {camera.distortion} cannot be undone at the image's edge; check camera_info")
    return found


def board_pose(camera: CameraModel, board: Board, view: View) -> BoardPose:
    """The board's pose by its corners (OpenCV's IPPE for planes, refined by least squares).

    Raises:
        DataError: the corners fit no pose.
    """
    cv2 = import_opencv()
    points, k = board.corners_m()[view.ids], camera.intrinsics.matrix()
    pixels = undistorted_pixels(camera, view.pixels)
    count, rotations, translations, _ = cv2.solvePnPGeneric(points, pixels, k, None, flags=cv2.SOLVEPNP_IPPE)
    poses = []
    for rotation, translation in zip(rotations[:count], translations[:count], strict=True):
        turned, moved = cv2.solvePnPRefineLM(points, pixels, k, None, rotation, translation)
        pose = Pose(cv2.Rodrigues(turned)[0], np.asarray(moved).ravel())
        if pose.translation[2] > 0:
            poses.append(BoardPose(pose, pixels - pinhole_pixels(camera, pose.apply(points))))
    if not poses:
        raise DataError(f"the corners in {view.picture.name} fit no pose of the board; check the camera's calibration")
    return min(poses, key=lambda each: each.rms_px)


def pinhole_pixels(camera: CameraModel, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (..., 2) of optical-frame points (..., 3) in the undistorted image; points behind it are not caught."""
    k = camera.intrinsics
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x / z * k.fx + k.cx, y / z * k.fy + k.cy], axis=-1)


def check_size(camera: CameraModel, views: list[View]) -> None:
    """Check that the calibration is for pictures of this size.

    Raises:
        DataError: it is not.
    """
    expected = (camera.intrinsics.width, camera.intrinsics.height)
    if views[0].picture.size != expected:
        raise DataError(
            f"the pictures are {views[0].picture.size[0]} x {views[0].picture.size[1]}, but the camera_info is for "
            f"{expected[0]} x {expected[1]}; give the calibration of this resolution"
        )
