"""Camera models from camera_info, and undistortion: expected pixels come from each model's formula, worked by hand."""

from __future__ import annotations

import builtins
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.errors import BrokenPackageError, MissingExtraError, ObservationError
from si_embodied.geometry import Intrinsics, deproject
from si_embodied.ros_nodes.sensing.bridge import camera_model_of
from si_embodied.ros_nodes.sensing.camera_models import CameraModel
from si_embodied.ros_nodes.sensing.opencv import import_opencv

F, CX, CY, WIDTH, HEIGHT = 500.0, 319.5, 239.5, 640, 480
K = [F, 0.0, CX, 0.0, F, CY, 0.0, 0.0, 1.0]
P = [450.0, 0.0, 300.0, 0.0, 0.0, 460.0, 250.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def info(d: list[float], model: str = "plumb_bob", **more: Any) -> Any:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    values = {"width": WIDTH, "height": HEIGHT, "binning_x": 0, "binning_y": 0, "roi": roi, "k": K, "p": P, **more}
    return SimpleNamespace(d=d, distortion_model=model, header=SimpleNamespace(frame_id="optical"), **values)


def source_of(model: CameraModel, u: float, v: float) -> tuple[float, float]:
    """The pixel (u, v) of the distorted image that an undistorted pixel was copied from."""
    rows, columns = np.indices((model.intrinsics.height, model.intrinsics.width), dtype=np.float32)
    row, column = round(v), round(u)
    return float(model.undistorted(columns)[row, column]), float(model.undistorted(rows)[row, column])


# The point (x, y, 1) = (0.4, 0.2, 1), which a pinhole camera shows at (519.5, 339.5); r² = 0.2.
X, Y = 0.4, 0.2
RADIAL = 1 - 0.3 * 0.2 + 0.1 * 0.04
TANGENTIAL_X = 2 * 0.002 * 0.08 + 0.003 * (0.2 + 2 * 0.16)  # 2 p1 x y + p2 (r² + 2 x²)
TANGENTIAL_Y = 0.002 * (0.2 + 2 * 0.04) + 2 * 0.003 * 0.08  # p1 (r² + 2 y²) + 2 p2 x y


@pytest.mark.parametrize(
    ("model", "coefficients", "x", "y"),
    [
        ("plumb_bob", [-0.3, 0.1, 0.0, 0.0], X * RADIAL, Y * RADIAL),
        ("plumb_bob", [-0.3, 0.1, 0.002, 0.003, 0.0], X * RADIAL + TANGENTIAL_X, Y * RADIAL + TANGENTIAL_Y),
        ("plumb_bob", [0.0, 0.0, 0.0, 0.0, 5.0], X * (1 + 5 * 0.008), Y * (1 + 5 * 0.008)),
        ("rational_polynomial", [-0.3, 0.1, 0, 0, 0, 0.5, 0.0, 0.0], X * RADIAL / 1.1, Y * RADIAL / 1.1),
        ("rational_polynomial", [0] * 8 + [0.1, 0.2, 0.3, 0.4], X + 0.1 * 0.2 + 0.2 * 0.04, Y + 0.3 * 0.2 + 0.4 * 0.04),
        ("rational_polynomial", [-0.3, 0.1] + [0] * 12, X * RADIAL, Y * RADIAL),
    ],
)
def test_a_point_is_copied_from_where_the_lens_shows_it(
    model: str, coefficients: list[float], x: float, y: float
) -> None:
    camera = camera_model_of(info(coefficients, model))
    assert camera.intrinsics == Intrinsics(WIDTH, HEIGHT, F, F, CX, CY)
    u, v = source_of(camera, F * X + CX, F * Y + CY)
    assert u == pytest.approx(F * x + CX, abs=1.1)  # rounding of both pixels
    assert v == pytest.approx(F * y + CY, abs=1.1)


@pytest.mark.parametrize("model", ["equidistant", "fisheye"])
@pytest.mark.parametrize("k1", [0.0, 0.05])
@pytest.mark.parametrize("degrees", [10, 30, 50, 70])
def test_a_fisheye_shows_a_point_at_its_angle(model: str, k1: float, degrees: int) -> None:
    """r = f theta (1 + k1 theta²): with zero coefficients too it is no pinhole camera, where r = f tan(theta)."""
    f, width, centre = 285.0, 2001, 1000.0
    k, theta = [f, 0.0, centre, 0.0, f, 100.0, 0.0, 0.0, 1.0], math.radians(degrees)
    camera = camera_model_of(info([k1, 0.0, 0.0, 0.0], model, k=k, width=width, height=201))
    u = centre + f * math.tan(theta)
    seen_u, seen_v = source_of(camera, u, 100.0)
    assert seen_u == pytest.approx(centre + f * theta * (1 + k1 * theta**2), abs=1.1)
    assert seen_v == 100.0
    # 5.49 m at 70 degrees; from the fisheye's own pixel a pinhole camera would make it 2.44 m.
    assert deproject(camera.intrinsics, (u, 100.0), 2.0)[0] == pytest.approx(2 * math.tan(theta))


def test_what_a_fisheye_sees_beyond_a_pinhole_is_cut_off() -> None:
    """Half of 800 pixels are atan(400 / 285) = 54.5 degrees of a pinhole and 80 degrees of an equidistant camera."""
    k = [285.0, 0.0, 399.5, 0.0, 285.0, 399.5, 0.0, 0.0, 1.0]
    camera = camera_model_of(info([0.0] * 4, "equidistant", k=k, width=800, height=800))
    columns = np.indices((800, 800), dtype=np.float32)[1]
    assert camera.undistorted(columns)[400].max() == pytest.approx(399.5 + 285 * math.atan(399.5 / 285), abs=1.1)


def test_undistorting_interpolates_nothing_and_leaves_zero_where_the_camera_saw_nothing() -> None:
    camera = camera_model_of(info([0.5, 0.0, 0.0, 0.0, 0.0]))  # pincushion: the corners were not seen
    depth = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    depth[:, WIDTH // 2 :] = 3.0
    straight = camera.undistorted(depth)
    assert straight.dtype == np.float32
    assert set(np.unique(straight)) == {0.0, 1.0, 3.0}
    assert straight[0, 0] == 0.0
    rgb = camera.undistorted(np.full((HEIGHT, WIDTH, 3), 9, np.uint8)[..., ::-1])
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(rgb[..., 0] == 0, straight == 0)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("", []), ("", [0.0] * 5), ("none", []), ("plumb_bob", []), ("plumb_bob", [0.0] * 5),
        ("rational_polynomial", [0.0] * 8),
    ],
)  # fmt: skip
def test_a_camera_without_distortion_leaves_the_image_alone(model: str, coefficients: list[float]) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert camera_model_of(info(coefficients, model)).undistorted(picture) is picture


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [0.1] * 8), ("rational_polynomial", [0.1] * 5), ("equidistant", []), ("fisheye", [0.1] * 5),
        ("", [0.1] * 5), ("none", [0.1]), ("double_sphere", [0.1] * 6), ("plumb_bob", [math.nan] * 5),
    ],
)  # fmt: skip
def test_an_unknown_model_or_wrong_coefficients_are_named(model: str, coefficients: list[float]) -> None:
    with pytest.raises(ObservationError) as error:
        camera_model_of(info(coefficients, model))
    assert repr(model) in str(error.value)
    assert str(tuple(coefficients)) in str(error.value)


@pytest.mark.parametrize("k", [[0.0] * 9, [math.nan, *K[1:]], [*K[:2], math.nan, *K[3:]], [*K[:5], math.inf, *K[6:]]])
def test_a_camera_that_was_not_calibrated_is_refused(k: list[float]) -> None:
    with pytest.raises(ObservationError, match="not calibrated"):
        camera_model_of(info([], k=k))


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ObservationError, match=r"\(20, 64\) but its camera_info is for \(480, 640\)"):
        camera_model_of(info([])).undistorted(np.zeros((20, 64), np.float32))


def test_binning_and_the_offset_of_a_region_move_the_principal_point() -> None:
    """Pixel 10 of the binned image sums the pixels 20 and 21 of the full one: its centre is at 20.5 there."""
    roi = SimpleNamespace(x_offset=100, y_offset=0, width=WIDTH, height=HEIGHT)
    k = [F, 0.0, 120.5, 0.0, F, 20.5, 0.0, 0.0, 1.0]
    camera = camera_model_of(info([], width=WIDTH + 100, k=k, binning_x=2, binning_y=2, roi=roi)).intrinsics
    assert camera == Intrinsics(WIDTH // 2, HEIGHT // 2, F / 2, F / 2, 10.0, 10.0)


def test_a_rectified_image_is_described_by_p_and_left_alone() -> None:
    camera = camera_model_of(info([-0.35, 0.13, 0.0, 0.0, 0.0]), rectified=True)
    picture = np.zeros((HEIGHT, WIDTH), np.float32)
    assert camera.intrinsics == Intrinsics(WIDTH, HEIGHT, 450.0, 460.0, 300.0, 250.0)
    assert camera.undistorted(picture) is picture


@pytest.mark.parametrize("p", [[0.0] * 12, [*P[:6], math.nan, *P[7:]]])
def test_a_rectified_camera_without_p_is_refused(p: list[float]) -> None:
    with pytest.raises(ObservationError, match="not calibrated: 640 x 480, p ="):
        camera_model_of(info([], p=p), rectified=True)


# --- OpenCV itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), MissingExtraError, r"si-embodied\[bags\]"),
        (ImportError("libGL.so.1: cannot open shared object file"), BrokenPackageError, "libGL.*apt install libgl1"),
        (ImportError("libgthread-2.0.so.0: cannot open"), BrokenPackageError, "apt install libglib2.0-0"),
        (ImportError("numpy.core.multiarray failed to import"), BrokenPackageError, "pip install 'numpy<2'"),
        (ImportError("undefined symbol"), BrokenPackageError, "undefined symbol.*--force-reinstall"),
    ],
)
def test_an_opencv_that_cannot_be_imported_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, failure: ImportError, expected: type[ImportError], words: str
) -> None:
    imported = builtins.__import__

    def fails(name: str, *args: Any) -> Any:
        if name == "cv2":
            raise failure
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(expected, match=words):
        import_opencv()
