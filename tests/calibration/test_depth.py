"""Depth's scale, offset, noise and registration from rendered boards with known errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rendered_boards import BOARD, PINHOLE, board_poses, depth_of, rendered

from si_embodied.calibration.depth import Plane, board_planes, check_depth
from si_embodied.calibration.detection import find_board
from si_embodied.calibration.pictures import Picture
from si_embodied.calibration.registration import check_registration
from si_embodied.calibration.wall import wall_planes
from si_embodied.errors import ConfigError, DataError
from si_embodied.findings import Report

DISTANCES = (0.38, 0.5, 0.7)
COLOURS = {}


def views(count: int = 9, **wrong):
    """Views with depth that is wrong in known ways."""
    rng, poses = np.random.default_rng(0), board_poses(PINHOLE, count, tilt_deg=20, distances=DISTANCES)
    for i, pose in enumerate(poses):
        if i not in COLOURS:
            COLOURS[i] = rendered(PINHOLE, pose, rng)
    pictures = [
        Picture(f"{i}.png", float("inf"), COLOURS[i], depth_of(PINHOLE, pose, rng, **wrong))
        for i, pose in enumerate(poses)
    ]
    return find_board(BOARD, pictures, least=1)[0]


def check(**wrong) -> Report:
    return check_depth(board_planes(views(**wrong), BOARD, PINHOLE), 0.001, BOARD)


def finding(report: Report, what: str):
    return next(each for each in report.findings if each.what == what)


def test_right_depth_is_fine() -> None:
    report = check(noise_m=0.003)
    assert report.verdict == "fine", report.lines()
    assert report.figures["scale"] == pytest.approx(1.0, abs=0.005)


def test_a_wrong_scale_is_off_by_its_error_and_says_what_to_set() -> None:
    report = check(scale=1.05, noise_m=0.003)
    scale = finding(report, "depth scale")
    assert scale.verdict == "off"
    assert report.figures["scale"] == pytest.approx(1.05, abs=0.006)
    assert "off by +5" in scale.says or "off by +4.9" in scale.says
    assert float(scale.fix.split()[3]) == pytest.approx(0.001 / 1.05, abs=6e-6)
    assert "measure a square with a ruler" in scale.fix
    assert "correct depth in metres (32FC1, .npy) in the camera's driver" in scale.fix  # depth_scale does not change it


def test_depth_of_something_else_gives_no_scale_to_set() -> None:
    """A depth image of 1 m everywhere would be "0.1% of what the board says": a thousandfold depth_scale."""
    flat = np.ones((300, 400), np.float32)
    seen = [replace(view, picture=replace(view.picture, depth_m=flat)) for view in views()]
    report = check_depth(board_planes(seen, BOARD, PINHOLE), 0.001, BOARD)
    scale = finding(report, "depth scale")
    assert scale.verdict == report.verdict == "unknown"
    assert "does not follow the board" in scale.says
    assert "set depth_scale" not in str(report.settings)
    assert np.isnan(report.figures["scale"])


def test_depth_that_is_the_same_from_near_and_far_gives_no_scale_to_set() -> None:
    planes = [Plane(f"{i}", 0.3 + 0.1 * i, 1.0, 0.002, 1.0, 0.0) for i in range(6)]
    report = check_depth(planes, 0.001, BOARD)
    assert finding(report, "depth scale").verdict == "unknown"
    assert not report.settings


def test_a_tenfold_scale_is_still_determined() -> None:
    """The driver's unit is 0.1 mm and the robot takes it for 1 mm."""
    assert check(scale=10.0).figures["scale"] == pytest.approx(10.0, rel=0.01)


def test_an_offset_is_told_from_the_scale() -> None:
    report = check(scale=1.02, offset_m=0.04, noise_m=0.003)
    assert report.figures["scale"] == pytest.approx(1.02, abs=0.015)
    assert report.figures["offset_m"] == pytest.approx(0.04, abs=0.008)
    assert finding(report, "depth offset").verdict == "off"


def test_floating_point_millimetres_are_no_scale_to_set() -> None:
    scale = finding(check(scale=1000.0, noise_m=3.0), "depth scale")
    assert scale.verdict == "off"
    assert scale.fix.startswith("these depths look like millimetres")
    assert "set depth_scale to" not in scale.fix
    planes = [Plane(f"{i}", z, 1000 * z, 1.0, 1.0, 0.0) for i, z in enumerate((0.4, 0.5, 0.7, 0.9))]
    integers = finding(check_depth(planes, 1.0, BOARD), "depth scale")  # read with depth_scale 1 instead of 0.001
    assert "set depth_scale to 0.001 (now 1)" in integers.fix


def test_a_scale_that_may_be_an_offset_is_not_there_to_set() -> None:
    planes = [Plane(f"{i}", 0.5 + 0.01 * i, 1.06 * (0.5 + 0.01 * i), 0.001, 1.0, 0.0) for i in range(6)]
    scale = finding(check_depth(planes, 0.001, BOARD), "depth scale")
    assert scale.verdict == "off"
    assert "do not tell a scale from an offset" in scale.fix


def test_noise_is_measured_in_each_picture() -> None:
    report = check(noise_m=0.006)
    assert np.median([float(row[-1]) for row in report.rows]) == pytest.approx(6.0, abs=0.5)


def test_one_distance_does_not_tell_an_offset() -> None:
    planes = board_planes(views(2), BOARD, PINHOLE)[:1]
    assert finding(check_depth(planes, 0.001, BOARD), "depth offset").verdict == "unknown"


def test_pictures_without_depth_are_refused() -> None:
    picture = Picture("0.png", float("inf"), views(1)[0].picture.rgb)
    taken, _ = find_board(BOARD, [picture], least=1)
    with pytest.raises(DataError, match="NAME_depth.png"):
        board_planes(taken, BOARD, PINHOLE)


@pytest.mark.parametrize(("shift", "verdict"), [((0, 0), "fine"), ((5, -3), "off")])
def test_a_shift_between_depth_and_colour_is_measured(shift: tuple[int, int], verdict: str) -> None:
    taken = views(6, noise_m=0.002, shift=shift)
    found = check_registration(taken, BOARD, PINHOLE, 1.0)
    assert found.verdict == verdict, found
    right, down = (float(found.says.split(mark)[0].split()[-1]) for mark in (" px right", " px down"))
    assert (right, down) == pytest.approx((-shift[0], -shift[1]), abs=0.6)


def test_a_board_on_the_wall_has_no_edge_in_depth() -> None:
    rng, pose = np.random.default_rng(0), board_poses(PINHOLE, 5, tilt_deg=0.0, distances=(0.6,))[4]
    flat = np.full((300, 400), pose.translation[2], np.float32)
    pictures = [Picture(f"{i}.png", float("inf"), rendered(PINHOLE, pose, rng), flat) for i in range(3)]
    found = check_registration(find_board(BOARD, pictures, least=1)[0], BOARD, PINHOLE, 1.0)
    assert found.verdict == "unknown"
    assert "in front of" in found.fix


def test_a_wall_at_a_known_distance_gives_the_scale() -> None:
    slope = np.linspace(-0.1, 0.1, 400, dtype=np.float32)
    depth = 1.03 * np.broadcast_to(1.5 / (1 - 0.5 * slope), (300, 400))
    picture = Picture("wall.png", float("inf"), np.zeros((300, 400, 3), np.uint8), depth.astype(np.float32))
    across = 1.5 / np.sqrt(1 + (0.5 * 0.2 / 400 * 330) ** 2)  # a tilted plane is nearer than it is along the axis
    (plane,) = wall_planes([picture], PINHOLE, across)
    assert plane.measured_m / plane.expected_m == pytest.approx(1.03, abs=0.003)


@pytest.mark.parametrize("distance_m", [0.0, -1.5, 1500.0, float("nan"), float("inf")])
def test_a_wall_at_an_impossible_distance_is_refused(distance_m: float) -> None:
    with pytest.raises(ConfigError, match=f"--wall .* above 0 and below 50, got: {distance_m:g}"):
        wall_planes([], PINHOLE, distance_m)


@pytest.mark.parametrize("board", [BOARD, None])
def test_too_few_returns_leave_the_scale_unknown(board) -> None:
    planes = [Plane(f"{i}.png", 3.0, np.nan, np.nan, 0.8, 0.0) for i in range(3)]  # of a few pixels, far away
    report = check_depth(planes, 0.001, board)
    assert report.verdict == "unknown"
    assert finding(report, "depth scale").says.endswith("on the wall" if board is None else "on the board")
