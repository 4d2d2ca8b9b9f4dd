"""Checks that depth lies on the colour image's pixels, by the board's edge in both.

In depth, the board ends where its plane ends. The shift that moves this outline onto the strongest edges of the colour
image is the error of the registration. The outline is closed, so that a depth edge that is drawn too wide or too narrow
cancels out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.board import Board
from si_embodied.calibration.depth import expected_depth, outline_mask
from si_embodied.calibration.detection import View, board_pose
from si_embodied.findings import Finding, judged
from si_embodied.geometry import is_return
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_SEARCH_PX = 15
_TOLERANCE_PX = 1.5
"""A planner looks depth up in a patch of two pixels around a point."""
_ON_BOARD = 0.05
"""A pixel is on the board if its depth is the plane's to this share; what is behind must be farther away."""
_GROWN = 1.6
"""The region around the board in which its edge is looked for."""
_LEAST_OUTLINE_PX = 100
_LEAST_PEAK = 1.25
"""The edges under the best shift are at least so much stronger than those of the 90th percentile of shifts."""


def check_registration(views: list[View], board: Board, camera: CameraModel, scale: float) -> Finding:
    """Measure the shift between depth and colour.

    Args:
        views: with depth; others are left out.
        board: the board, held in front of something that is farther away.
        camera: the calibration.
        scale: measured depth by expected depth.
    """
    shifts = [
        shift
        for view in views
        if view.picture.depth_m is not None and (shift := shift_px(view, board, camera, scale)) is not None
    ]
    if len(shifts) < 3:
        return Finding(
            "registration", "unknown",
            f"the board's edge is clear in depth and colour in {len(shifts)} views, but 3 are needed",
            "hold the board, whole in the picture, 10 cm or more in front of a darker background",
        )  # fmt: skip
    mean = np.mean(shifts, axis=0)
    sigma = float(np.linalg.norm(np.std(shifts, axis=0, ddof=1)) / np.sqrt(len(shifts)))
    by_px = float(np.linalg.norm(mean))
    verdict = judged(by_px, sigma, _TOLERANCE_PX)
    by = "off by " if verdict == "off" else ""
    says = (
        f"{by}{by_px:.1f} ± {sigma:.1f} px: colour edges lie {mean[0]:+.1f} px right "
        f"and {mean[1]:+.1f} px down of depth edges ({len(shifts)} views)"
    )
    angle = np.degrees(by_px / camera.intrinsics.fx)
    fix = (
        f"use depth that the driver registers to colour (align_depth), or correct the transform from the depth to the "
        f"colour camera by {angle:.2f}°; if the shift changes with the robot's motion, correct the stamps instead"
    )
    return Finding("registration", verdict, says, {"off": fix, "unknown": "take more views", "fine": ""}[verdict])


def shift_px(view: View, board: Board, camera: CameraModel, scale: float) -> NDArray[np.float64] | None:
    """The shift (right, down) in pixels from depth edges to colour edges; None if they are not clear."""
    assert view.picture.depth_m is not None
    pose = board_pose(camera, board, view)
    depth_m = camera.undistorted(view.picture.depth_m)
    with np.errstate(invalid="ignore"):
        ratio = depth_m / (scale * expected_depth(camera, pose))
    around = outline_mask(camera, board, pose, _GROWN)
    outline, normals = _outline(is_return(depth_m) & (np.abs(ratio - 1) < _ON_BOARD) & around, around)
    if min((np.abs(normals[:, axis]) > 0.7).sum() for axis in (0, 1)) < _LEAST_OUTLINE_PX / 2:
        return None
    cv2 = import_opencv()
    grey = cv2.GaussianBlur(cv2.cvtColor(camera.undistorted(view.picture.rgb), cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    gradient = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], axis=-1)
    return _best_shift(outline, normals, gradient)


def _outline(mask: NDArray[np.bool_], around: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The pixels (n, 2) on the outline of the mask's largest part, and its normals there (n, 2)."""
    cv2 = import_opencv()
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return np.zeros((0, 2), np.int64), np.zeros((0, 2))
    largest = (labels == 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    contours, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.asarray(max(contours, key=len)[:, 0], dtype=np.int64)
    smooth = cv2.GaussianBlur(largest.astype(np.float32), (0, 0), 3.0)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=-1)
    normals = slope[outline[:, 1], outline[:, 0]].astype(np.float64)
    length = np.linalg.norm(normals, axis=1)
    # Where the region ends, or the image, the mask is cut: that is no edge of the board.
    inner = cv2.erode(around.astype(np.uint8), np.ones((5, 5), np.uint8))
    margin = _SEARCH_PX + 1
    inner[:margin], inner[-margin:], inner[:, :margin], inner[:, -margin:] = 0, 0, 0, 0
    kept = (length > 0) & (inner[outline[:, 1], outline[:, 0]] > 0)
    return outline[kept], normals[kept] / length[kept, None]


def _best_shift(
    outline: NDArray[np.int64], normals: NDArray[np.float64], gradient: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    """The shift of the outline under which the edges across it are strongest, to a fraction of a pixel."""
    cv2 = import_opencv()
    edge = outline - 0.5 * normals  # the outline's pixels are the last ones inside
    shifts = range(-_SEARCH_PX, _SEARCH_PX + 1)
    scores = np.empty((len(shifts), len(shifts)))
    for row, dy in enumerate(shifts):
        for column, dx in enumerate(shifts):
            at = (edge + np.array([dx, dy])).astype(np.float32)
            found = cv2.remap(gradient, at[:, 0], at[:, 1], cv2.INTER_LINEAR)[:, 0]
            scores[row, column] = np.abs((found * normals).sum(axis=1)).mean()
    row, column = (int(each) for each in np.unravel_index(int(np.argmax(scores)), scores.shape))
    at_border = min(row, column) == 0 or max(row, column) == 2 * _SEARCH_PX
    if at_border or scores[row, column] < _LEAST_PEAK * np.percentile(scores, 90):
        return None
    right = peak(scores[row, column - 1], scores[row, column], scores[row, column + 1])
    down = peak(scores[row - 1, column], scores[row, column], scores[row + 1, column])
    return np.array([column + right - _SEARCH_PX, row + down - _SEARCH_PX], dtype=np.float64)


def peak(before: float, at: float, after: float) -> float:
    """Where a parabola through three equally spaced values has its extremum, from the middle one, in spacings."""
    bend = before - 2 * at + after
    return 0.0 if bend == 0 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
