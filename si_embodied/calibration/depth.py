"""Checks depth against the plane of the board, or against a wall at a known distance.

The board's pose in the colour image says what the depth of each of its pixels should be. Depth is then fitted as
`measured = scale * expected + offset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.board import Board
from si_embodied.calibration.detection import View, board_pose, check_size, pinhole_pixels
from si_embodied.errors import DataError
from si_embodied.findings import SIGMAS, Finding, Report, judged
from si_embodied.geometry import deproject, is_return
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.calibration.detection import BoardPose
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

LEAST_VIEWS = 1
_TOLERANCE, _TOLERANCE_M = 0.01, 0.01
"""Of the scale, and of the offset: what a planner's goals do not feel."""
_LEAST_DISTANCES = 1.4
"""Nearest to farthest view: closer together, scale and offset cannot be told apart."""
_LEAST_RETURNS, _LEAST_RETURNS_PX = 0.5, 20
_POSE_SIGMA = 0.005
"""Of the distance by the board's pose in a single view, by the distance."""
_MOST_DEVIATION = 0.05
"""Within a picture; of a sensor at a metre, 0.2% to 2%."""
_MM_AS_M, _LEAST_UNIT_M = (800.0, 1250.0), 2e-5
"""Depth so many times too long is in millimetres. No sensor's integers have a smaller unit: 16 bits reach 1.3 m."""
_INSIDE = 0.95
"""Part of the board's outline that is used: the pixels at its edge mix two surfaces."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The depth of a plane in one picture."""

    name: str
    expected_m: float  # median over the pixels with a return
    measured_m: float
    noise_m: float  # robust standard deviation about the plane
    returns: float  # share of the pixels with one
    tilt_rad: float  # of the plane against the image plane


def board_planes(views: list[View], board: Board, camera: CameraModel) -> list[Plane]:
    """The board's depth in each view that has depth.

    Raises:
        DataError: no view has depth, or the pictures have another size than the calibration.
    """
    check_size(camera, views)
    planes = [
        _board_plane(view, board, camera, board_pose(camera, board, view))
        for view in views
        if view.picture.depth_m is not None
    ]
    if not planes:
        raise DataError(
            "no picture of the board has depth; put NAME_depth.png beside NAME.png, or name the topic with --depth"
        )
    return planes


def expected_depth(camera: CameraModel, pose: BoardPose) -> NDArray[np.float64]:
    """Depth (H, W) along the optical axis of the board's plane, extended to the whole image; NaN behind the camera."""
    k = camera.intrinsics
    v, u = np.indices((k.height, k.width))
    rays = deproject(k, np.stack([u, v], axis=-1), np.ones((k.height, k.width)))
    facing = rays @ pose.normal
    with np.errstate(divide="ignore"):
        depth_m = (pose.normal @ pose.T_camera_board.translation) / facing
    return np.where(depth_m > 0, depth_m, np.nan)


def outline_mask(camera: CameraModel, board: Board, pose: BoardPose, grown: float) -> NDArray[np.bool_]:
    """The pixels (H, W) inside the pattern's outline, grown about its centre by a factor."""
    corners = board.outline_m()
    centre = corners.mean(axis=0)
    pixels = pinhole_pixels(camera, pose.T_camera_board.apply(centre + grown * (corners - centre)))
    mask = np.zeros((camera.intrinsics.height, camera.intrinsics.width), np.uint8)
    import_opencv().fillConvexPoly(mask, np.round(pixels).astype(np.int32), 1)
    return mask.astype(np.bool_)


def _board_plane(view: View, board: Board, camera: CameraModel, pose: BoardPose) -> Plane:
    assert view.picture.depth_m is not None
    depth_m = camera.undistorted(view.picture.depth_m)
    mask = outline_mask(camera, board, pose, _INSIDE)
    tilt_rad = float(np.arccos(np.clip(pose.normal[2], -1.0, 1.0)))
    return plane_of(view.picture.name, depth_m[mask], expected_depth(camera, pose)[mask], tilt_rad)


def plane_of(name: str, depth_m: NDArray[np.float32], expected_m: NDArray[np.float64], tilt_rad: float) -> Plane:
    """Measured depth (n,) of a plane whose depth should be `expected_m` (n,)."""
    valid = is_return(depth_m)
    if valid.sum() < _LEAST_RETURNS_PX:
        return Plane(name, float(np.median(expected_m)), np.nan, np.nan, float(valid.mean()), tilt_rad)
    measured, expected = depth_m[valid].astype(np.float64), expected_m[valid]
    ratio = float(np.median(measured / expected))
    residuals = measured - ratio * expected
    noise_m = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    at_m = float(np.median(expected))
    return Plane(name, at_m, ratio * at_m, noise_m, float(valid.mean()), tilt_rad)


def check_depth(planes: list[Plane], scale_m: float, board: Board | None) -> Report:
    """Fit depth's scale, and with a board its offset: a wall is at one distance, which determines the scale alone.

    Args:
        planes: at any distances.
        scale_m: the metres per unit of integer depth with which the planes were read.
        board: that the planes are of; None for a wall.
    """
    usable = [plane for plane in planes if np.isfinite(plane.measured_m)]
    findings = _returns(planes)
    scale, offset_m, sigma, sigma_m = np.nan, np.nan, np.nan, np.nan
    if usable:
        scale, offset_m, sigma, sigma_m = fit_line(usable)
    if usable and (_deviation(usable) > _MOST_DEVIATION or scale <= SIGMAS * sigma):
        findings = [_other_depth(usable, board), *findings]
        scale, offset_m, sigma, sigma_m = np.nan, np.nan, np.nan, np.nan
    elif usable:
        # The offset is judged in metres, whatever the unit of depth is.
        offset = [] if board is None else _offset(offset_m, sigma_m, scale, usable)
        apart = all(each.verdict != "unknown" for each in offset)
        findings = [_scale(scale, sigma, scale_m, board, apart=apart), *offset, *findings]
    else:
        findings = [_no_depth(board), *findings]
    rows = [
        (
            plane.name, f"{plane.expected_m:.3f}", f"{np.degrees(plane.tilt_rad):.0f}", f"{100 * plane.returns:.0f}%",
            f"{1e3 * (plane.measured_m - plane.expected_m):+.1f}", f"{1e3 * plane.noise_m:.1f}",
        )
        for plane in sorted(planes, key=lambda each: each.expected_m)
    ]  # fmt: skip
    columns = dict.fromkeys(("distance, m", "tilt, °", "returns", "error, mm", "noise, mm"), "right")
    figures = {"scale": scale, "offset_m": offset_m, "sigma": sigma, "sigma_m": sigma_m}
    return Report(tuple(findings), {"picture": "left", **columns}, rows, (), figures)


def fit_line(planes: list[Plane]) -> tuple[float, float, float, float]:
    """Scale, offset in metres, and their standard deviations; the offset is NaN if the distances do not determine it.

    A plane counts as one measurement: its pixels share the errors of its pose. Its weight falls with the distance. An
    offset that may be chance is not taken out of the scale.
    """
    expected = np.array([plane.expected_m for plane in planes])
    ratios = np.array([plane.measured_m for plane in planes]) / expected
    scale, scale_sigma = _weighted(np.ones((len(planes), 1)), ratios)
    if len(planes) < 4 or expected.max() < _LEAST_DISTANCES * expected.min():
        return scale[0], np.nan, scale_sigma[0], np.nan
    both, sigmas = _weighted(np.column_stack([np.ones_like(expected), 1 / expected]), ratios)
    if abs(both[1]) <= SIGMAS * sigmas[1]:
        return scale[0], both[1], scale_sigma[0], sigmas[1]
    return both[0], both[1], sigmas[0], sigmas[1]


def _weighted(design: NDArray[np.float64], ratios: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """A least-squares solution, and its standard deviations."""
    solution = np.linalg.lstsq(design, ratios, rcond=None)[0]
    free = len(ratios) - design.shape[1]
    spread = float(np.linalg.norm(ratios - design @ solution)) / np.sqrt(free) if free else _POSE_SIGMA
    sigmas = np.sqrt(np.diag(np.linalg.inv(design.T @ design))) * spread
    return solution.tolist(), sigmas.tolist()


def _scale(scale: float, sigma: float, scale_m: float, board: Board | None, *, apart: bool) -> Finding:
    """Judge the scale; `apart`: the distances tell it from an offset."""
    verdict = judged(scale - 1, sigma, _TOLERANCE)
    by = f"off by {100 * (scale - 1):+.1f}%: " if verdict == "off" else ""
    says = f"{by}depth is {scale:.4f} ± {sigma:.4f} of what the {'wall' if board is None else 'board'} says"
    if verdict != "off":
        return Finding("depth scale", verdict, says, "take more views" if verdict == "unknown" else "")
    if _MM_AS_M[0] < scale < _MM_AS_M[1] and scale_m / scale < _LEAST_UNIT_M:
        fix = (
            "these depths look like millimetres, but floating-point depth (32FC1, .npy) is in metres: divide it by "
            "1000, or store it as integers (16UC1, uint16), which depth_scale 0.001 turns into metres; then run this "
            "again"
        )
        return Finding("depth scale", verdict, says, fix)
    if not apart:
        fix = "these distances do not tell a scale from an offset; take the views named below before you set either"
        return Finding("depth scale", verdict, says, fix)
    fix = (
        f"set depth_scale to {scale_m / scale:.6g} (now {scale_m:g}); it applies to integer depth only: correct depth "
        "in metres (32FC1, .npy) in the camera's driver"
    )
    if board is None:
        fix += ". First measure a wall at another distance: at one alone, an offset looks the same"
    else:
        fix += (
            f". First measure a square with a ruler: a board printed at another size looks the same, and this one "
            f"would have squares of {1e3 * board.square_m * scale:.2f} mm instead of {1e3 * board.square_m:.2f} mm"
        )
    return Finding("depth scale", verdict, says, fix)


def _deviation(planes: list[Plane]) -> float:
    """By how much depth deviates from a plane within a picture, as a share of the depth, whatever its scale."""
    return float(np.median([plane.noise_m / plane.measured_m for plane in planes]))


def _other_depth(planes: list[Plane], board: Board | None) -> Finding:
    what = "wall" if board is None else "board"
    says = (
        f"depth does not follow the {what}: it deviates by {100 * _deviation(planes):.0f}% within a picture, or is the "
        "same from near and far"
    )
    fix = f"make sure that the depth images show the {what}, are registered to colour, and have its stamps"
    return Finding("depth scale", "unknown", says, fix)


def _no_depth(board: Board | None) -> Finding:
    says = f"no picture has {_LEAST_RETURNS_PX} pixels with depth on the {'wall' if board is None else 'board'}"
    return Finding("depth scale", "unknown", says, "move closer, within the sensor's range")


def _offset(offset_m: float, sigma_m: float, scale: float, planes: list[Plane]) -> list[Finding]:
    if not np.isfinite(offset_m):
        nearest, farthest = (choose(plane.expected_m for plane in planes) for choose in (min, max))
        says = f"{len(planes)} views from {nearest:.2f} to {farthest:.2f} m do not separate it from the scale"
        return [Finding("depth offset", "unknown", says, "also take views from half and twice as far, four or more")]
    verdict = judged(offset_m / scale, sigma_m / scale, _TOLERANCE_M)
    by = "off by " if verdict == "off" else ""
    fix = {
        "off": f"subtract {1e3 * offset_m:.0f} mm in the camera's driver",
        "unknown": "take more views, also from half and twice as far",
        "fine": "",
    }
    return [Finding("depth offset", verdict, f"{by}{1e3 * offset_m:+.1f} ± {1e3 * sigma_m:.1f} mm", fix[verdict])]


def _returns(planes: list[Plane]) -> list[Finding]:
    few = [plane.name for plane in planes if plane.returns < _LEAST_RETURNS]
    if not few:
        return []
    says = f"less than {100 * _LEAST_RETURNS:.0f}% of the plane has a return in {', '.join(few[:5])}"
    fix = "stay within the sensor's range, avoid glare, and tilt the board less"
    return [Finding("returns", "off" if len(few) == len(planes) else "unknown", says, fix)]
