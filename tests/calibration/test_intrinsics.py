"""Intrinsics fitted to views with known answers, and what the pictures do not determine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rendered_boards import BOARD, LENS, PINHOLE, board_poses, projected_view

from si_embodied.calibration.camera_info import camera_yaml, read_camera
from si_embodied.calibration.intrinsics import check_intrinsics
from si_embodied.errors import ConfigError, DataError
from si_embodied.findings import Report


def views(count: int = 18, **poses):
    rng = np.random.default_rng(0)
    return [
        projected_view(LENS, pose, rng, name=f"{i}.png") for i, pose in enumerate(board_poses(LENS, count, **poses))
    ]


def verdicts(report: Report) -> dict[str, str]:
    return {each.what: each.verdict for each in report.findings}


def test_the_right_calibration_is_fine() -> None:
    report = check_intrinsics(views(), BOARD, LENS)
    assert set(verdicts(report).values()) == {"fine"}, report.lines()
    assert report.settings == ()
    for name in ("fx", "fy", "cx", "cy"):
        true, sigma = getattr(LENS.intrinsics, name), report.figures["sigmas"][name]
        assert abs(report.figures["fitted"][name] - true) < 3 * sigma
        assert sigma < 1.5
    assert report.figures["fitted"]["distortion"][0] == pytest.approx(LENS.distortion[0], abs=0.02)


def test_a_wrong_focal_length_is_off_by_its_error() -> None:
    wrong = replace(LENS, intrinsics=replace(LENS.intrinsics, fx=LENS.intrinsics.fx + 12))
    report = check_intrinsics(views(), BOARD, wrong)
    (fx,) = [each for each in report.findings if each.what == "fx"]
    assert fx.verdict == "off"
    by_px = float(fx.says.split()[2])
    assert by_px == pytest.approx(12, abs=2)
    assert fx.fix.startswith("set fx to 3")


def test_missing_distortion_shows_in_the_reprojection_error(tmp_path) -> None:
    report = check_intrinsics(views(), BOARD, replace(LENS, distortion=(0.0,) * 5))
    assert verdicts(report)["reprojection error"] == "off"
    (tmp_path / "camera.yaml").write_text("\n".join(report.settings))
    assert read_camera(tmp_path / "camera.yaml").distortion[0] == pytest.approx(LENS.distortion[0], abs=0.02)


def test_parallel_boards_do_not_determine_the_focal_length() -> None:
    report = check_intrinsics(views(tilt_deg=1.0, distances=(0.5,)), BOARD, LENS)
    assert verdicts(report)["angles"] == "unknown"
    assert verdicts(report)["distances"] == "unknown"
    assert verdicts(report)["fx"] == "unknown"


@pytest.mark.parametrize(
    ("poses", "why", "given"),
    [
        ({"count": 12, "tilt_deg": 1.0}, "angles", None),
        ({"count": 12, "tilt_deg": 1.0}, "angles", replace(LENS, distortion=(0.0,) * 5)),
        ({"count": 12, "tilt_deg": 12.0}, "precision", replace(LENS, distortion=(0.0,) * 5)),
        ({"count": 5}, "pictures", None),
    ],
)
def test_what_the_pictures_do_not_determine_is_not_there_to_set(poses, why: str, given) -> None:
    report = check_intrinsics(views(**poses), BOARD, given)
    assert verdicts(report)[why] == "unknown"
    assert report.settings == ()
    assert report.figures["fitted"] is None
    assert "set the" not in str(report.lines())
    assert "set fx to" not in str(report.lines())


def test_parallel_boards_that_a_wrong_fit_takes_for_tilted_determine_nothing() -> None:
    """The fit has a focal length of 7000 px instead of 330 px, ± 25 px by its covariance, and boards tilted by 30°."""
    rng, poses = np.random.default_rng(3), board_poses(PINHOLE, 12, tilt_deg=1.0)
    report = check_intrinsics([projected_view(PINHOLE, pose, rng) for pose in poses], BOARD, None)
    assert list(verdicts(report)) == ["focal length", "camera_info"]
    assert report.settings == ()


def test_few_pictures_in_a_corner_say_so() -> None:
    corner = [view for i, view in enumerate(views()) if i % 9 in (0, 1)]
    report = check_intrinsics(corner, BOARD, LENS)
    assert verdicts(report)["pictures"] == "unknown"
    (coverage,) = [each for each in report.findings if each.what == "coverage"]
    assert "x" in coverage.says
    assert "at every edge" in coverage.fix


def test_without_a_calibration_there_is_one_to_set() -> None:
    report = check_intrinsics(views(), BOARD, None)
    assert report.verdict == "unknown"
    assert report.settings[0] == "image_width: 400"


def test_a_calibration_of_another_resolution_is_refused() -> None:
    other = replace(PINHOLE, intrinsics=PINHOLE.intrinsics.scaled(800, 600))
    with pytest.raises(DataError, match="400 x 300, but the camera_info is for 800 x 600"):
        check_intrinsics(views(3), BOARD, other)


def test_a_calibration_survives_its_file(tmp_path) -> None:
    (tmp_path / "camera.yaml").write_text(camera_yaml(LENS))
    assert read_camera(tmp_path / "camera.yaml") == LENS
    (tmp_path / "camera.yaml").write_text("image_width: 640")
    with pytest.raises(ConfigError, match="camera_matrix"):
        read_camera(tmp_path / "camera.yaml")
