"""Checks a camera's intrinsics with pictures of the board.

The intrinsics are fitted to the pictures by OpenCV's `calibrateCameraExtended` (Zhang, "A flexible new technique for
camera calibration", TPAMI 2000), which also gives their standard deviations, and compared with those that are set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.calibration.board import Board
from si_embodied.calibration.camera_info import camera_yaml
from si_embodied.calibration.detection import BoardPose, View, board_pose, check_size, rms
from si_embodied.errors import DataError
from si_embodied.findings import Finding, Report, judged
from si_embodied.geometry import Intrinsics
from si_embodied.ros_nodes.sensing.camera_models import CameraModel
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_VIEWS = 3
"""Zhang's method needs three views of a plane."""
_ENOUGH_VIEWS = 10
_TOLERANCE = 0.005
"""Of the focal length, and of the principal point in image widths: 0.5% moves a point at 3 m by 15 mm."""
_LEAST_SPREAD_RAD = np.radians(20.0)
"""Between the board's normals: of nearly parallel boards, focal length and distance cannot be told apart."""
_LEAST_DISTANCES = 1.3
_OTHER_FOCAL, _LEAST_RISE = 1.25, 1.2
"""Focal lengths so many times as long must fit the pictures at least so many times worse."""
_NAMES = ("fx", "fy", "cx", "cy")
_CELLS = 5
_LEAST_COVERED = 0.6


_WITHHELD = "take the pictures named above, then set what they give: these do not determine it"


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Intrinsics fitted to views."""

    camera: CameraModel
    sigmas: NDArray[np.float64]  # (4,), of fx, fy, cx, cy, pixels
    rms_px: float
    other_rms_px: float  # with focal lengths that are `_OTHER_FOCAL` times as long

    def tolerances_px(self) -> tuple[float, float, float, float]:
        """By how much fx, fy, cx and cy may be off."""
        k = self.camera.intrinsics
        return _TOLERANCE * k.fx, _TOLERANCE * k.fy, _TOLERANCE * k.width, _TOLERANCE * k.width

    def figures(self, *, determined: bool) -> dict[str, Any]:
        """For programs."""
        k = self.camera.intrinsics
        fitted = {"fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy, "distortion": self.camera.distortion}
        return {
            "determined": determined,
            "fitted": fitted if determined else None,
            "sigmas": dict(zip(_NAMES, map(float, self.sigmas), strict=True)),
            "rms_px": self.rms_px,
        }


def fit_intrinsics(views: list[View], board: Board, like: CameraModel | None) -> Fit:
    """Fit intrinsics to views.

    Args:
        views: at least three.
        board: the board.
        like: with this model's distortion: five coefficients or eight, and k3 only if it has it.

    Raises:
        DataError: the camera is a fisheye, or OpenCV finds no solution.
    """
    cv2 = import_opencv()
    model = like.distortion_model if like else "plumb_bob"
    if model in ("equidistant", "fisheye"):
        raise DataError(f"the distortion model {model!r} cannot be fitted here; use kalibr_calibrate_cameras")
    rational = model == "rational_polynomial"
    has_k3 = bool(like and len(like.distortion) > 4 and like.distortion[4])
    flags = cv2.CALIB_RATIONAL_MODEL if rational else 0 if has_k3 else cv2.CALIB_FIX_K3
    points = board.corners_m().astype(np.float32)
    objects, pixels = [points[view.ids] for view in views], [view.pixels.astype(np.float32) for view in views]
    size = views[0].picture.size
    try:
        error_px, k, d, _, _, sigmas, _, _ = cv2.calibrateCameraExtended(objects, pixels, size, None, None, flags=flags)
        other_px = _with_other_focal(objects, pixels, size, k, d, flags)
        coefficients = tuple(float(each) for each in np.ravel(d)[: 8 if rational else 5])
        name = "rational_polynomial" if rational else "plumb_bob"
        camera = CameraModel(Intrinsics.from_matrix(k, *size), name, coefficients)
    except (cv2.error, ValueError) as error:
        raise DataError(f"no intrinsics fit these {len(views)} views: {error}; take more, tilted views") from error
    return Fit(camera, np.ravel(sigmas)[:4], float(error_px), other_px)


def _with_other_focal(
    objects: list[Any], pixels: list[Any], size: tuple[int, int], k: Any, d: Any, flags: int
) -> float:
    """The root mean square error with focal lengths that are `_OTHER_FOCAL` times as long, pixels."""
    cv2 = import_opencv()
    flags |= cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_FOCAL_LENGTH
    start = k * ((_OTHER_FOCAL,), (_OTHER_FOCAL,), (1.0,))
    start[:2, 2] = np.clip(start[:2, 2], 1.0, np.array(size) - 2.0)  # OpenCV starts from no other
    return float(cv2.calibrateCamera(objects, pixels, size, start, d.copy(), flags=flags)[0])


def check_intrinsics(views: list[View], board: Board, given: CameraModel | None) -> Report:
    """Compare the intrinsics that are set with those fitted to views.

    Raises:
        DataError: as `fit_intrinsics` does, or the pictures have another size than the calibration.
    """
    if given is not None:
        check_size(given, views)
    fit = fit_intrinsics(views, board, given)
    poses, covered = [board_pose(fit.camera, board, view) for view in views], coverage(views)
    given_poses = poses if given is None else [board_pose(given, board, view) for view in views]
    lacking = _sufficiency(poses, covered, fit)
    determined = not lacking
    if given is None:
        fix = "set the one below" if determined else _WITHHELD
        compared = [Finding("camera_info", "unknown", "none is given to compare with", fix)]
    else:
        given_px = rms(np.vstack([pose.residuals_px for pose in given_poses]))
        tilted = not {"angles", "focal length"} & {each.what for each in lacking}
        compared = [_reprojection(given_px, fit.rms_px), *_parameters(given, fit, tilted=tilted)]
        if not determined:
            compared = [_withheld(each) for each in compared]
    off = given is None or any(each.verdict == "off" for each in compared)
    rows = [_row(*each) for each in zip(views, poses, given_poses, strict=True)]
    columns = dict.fromkeys(("picture", "corners", "distance, m", "tilt, °", "error as set, px", "fitted, px"), "right")
    settings = tuple(camera_yaml(fit.camera).splitlines()) if off and determined else ()
    figures = {**fit.figures(determined=determined), "coverage": float(covered.mean())}
    return Report((*lacking, *compared), columns, rows, settings, figures)


def _withheld(finding: Finding) -> Finding:
    """A finding without the value to set."""
    return replace(finding, fix=_WITHHELD) if finding.verdict == "off" else finding


def _row(view: View, pose: BoardPose, with_given: BoardPose) -> tuple[str, ...]:
    tilt = np.degrees(np.arccos(np.clip(pose.normal[2], -1, 1)))
    errors = (f"{with_given.rms_px:.2f}", f"{pose.rms_px:.2f}")
    return (view.picture.name, str(len(view.ids)), f"{pose.distance_m:.2f}", f"{tilt:.0f}", *errors)


def coverage(views: list[View]) -> NDArray[np.bool_]:
    """Which cells of the image, in 5 x 5, hold a corner in any view."""
    width, height = views[0].picture.size
    pixels = np.vstack([view.pixels for view in views])
    cells = np.clip((pixels / (width, height) * _CELLS).astype(int), 0, _CELLS - 1)
    covered = np.zeros((_CELLS, _CELLS), dtype=np.bool_)
    covered[cells[:, 1], cells[:, 0]] = True
    return covered


def spread_rad(poses: list[BoardPose]) -> float:
    """The largest angle between the board's normals in two views."""
    normals = np.array([pose.normal for pose in poses])
    return float(np.arccos(np.clip(normals @ normals.T, -1, 1)).max())


def _sufficiency(poses: list[BoardPose], covered: NDArray[np.bool_], fit: Fit) -> list[Finding]:
    """What the pictures do not determine. The board's angles are those of the fit, and as wrong as it may be."""
    found = []
    if len(poses) < _ENOUGH_VIEWS:
        found.append(Finding("pictures", "unknown", f"{len(poses)} show the board", "take 15 to 20"))
    if (spread := spread_rad(poses)) < _LEAST_SPREAD_RAD:
        found.append(Finding(
            "angles", "unknown",
            f"the board's tilt differs by {np.degrees(spread):.0f}° at most: focal length and distance cannot be "
            "told apart",
            "tilt the board by 30° to 45° in each direction",
        ))  # fmt: skip
    elif fit.other_rms_px < _LEAST_RISE * fit.rms_px:
        found.append(Finding(
            "focal length", "unknown",
            f"one a quarter longer fits as well ({fit.other_rms_px:.2f} px; the fitted one: {fit.rms_px:.2f} px)",
            "tilt the board by 30° to 45° in each direction",
        ))  # fmt: skip
    distances = [pose.distance_m for pose in poses]
    if max(distances) < _LEAST_DISTANCES * min(distances):
        found.append(Finding(
            "distances", "unknown", f"all views are {min(distances):.2f} to {max(distances):.2f} m away",
            "also take some from twice as far",
        ))  # fmt: skip
    if covered.mean() < _LEAST_COVERED:
        picture = "/".join("".join("x" if each else "." for each in row) for row in covered)
        found.append(Finding(
            "coverage", "unknown",
            f"the board was seen in {100 * covered.mean():.0f}% of the image ({picture}, by rows from the top): "
            "distortion elsewhere is a guess",
            "show the board at every edge and corner of the image",
        ))  # fmt: skip
    rough = [
        f"{name} to ± {sigma:.1f} px instead of {most:.1f} px"
        for name, sigma, most in zip(_NAMES, fit.sigmas, fit.tolerances_px(), strict=True)
        if not sigma <= most
    ]
    if rough and not found:
        says = f"the pictures determine {', '.join(rough)}"
        found.append(Finding("precision", "unknown", says, "take more views, tilted and at the image's edges"))
    return found


def _reprojection(given_px: float, fitted_px: float) -> Finding:
    verdict = judged(given_px - fitted_px, 0.1 * fitted_px, max(0.1, 0.5 * fitted_px))
    says = f"{given_px:.2f} px with the calibration that is set, {fitted_px:.2f} px with the fitted one"
    if verdict == "off":
        says += "; images that are rectified already look like this too"
    fix = "set the camera_info below, with its distortion, if the images are not rectified"
    return Finding("reprojection error", verdict, says, fix if verdict == "off" else "")


def _parameters(given: CameraModel, fit: Fit, *, tilted: bool) -> list[Finding]:
    """Compare one by one. Of parallel boards, standard deviations say nothing: the problem is not linear there."""
    was, now = given.intrinsics, fit.camera.intrinsics
    found = []
    for name, sigma, tolerance in zip(_NAMES, fit.sigmas, fit.tolerances_px(), strict=True):
        set_to, fitted = getattr(was, name), getattr(now, name)
        verdict = judged(set_to - fitted, float(sigma) if tilted else np.inf, tolerance)
        by = f"off by {set_to - fitted:+.1f} px: " if verdict == "off" else ""
        measured = f"fitted {fitted:.1f} ± {sigma:.1f} px" if tilted else "not determined by these pictures"
        says = f"{by}set to {set_to:.1f}, {measured}"
        fix = {"off": f"set {name} to {fitted:.1f}", "unknown": "take more tilted views", "fine": ""}[verdict]
        found.append(Finding(name, verdict, says, fix))
    return found
