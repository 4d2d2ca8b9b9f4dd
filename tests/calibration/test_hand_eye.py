"""The camera's mount from views with noisy robot poses, and motions that do not determine it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rendered_boards import BOARD, PINHOLE, board_poses, mount_poses, projected_view, shaken

from si_embodied.calibration.contradictions import why_contradictory
from si_embodied.calibration.detection import View
from si_embodied.calibration.hand_eye import HandEyeSettings, check_hand_eye, mount_lines
from si_embodied.calibration.mount_fit import Fit, Problem
from si_embodied.errors import ConfigError, DataError
from si_embodied.findings import Report
from si_embodied.geometry import Pose

MOUNT = Pose.from_rpy(-1.7, 0.05, -1.5, (0.1, 0.03, 1.1))
PLACE = Pose.from_rpy(0.3, -0.2, 2.0, (1.5, 0.4, 0.9))
FRAMES = ("base_link", "camera_optical_frame")
QUIET = (0.0003, 0.0003)  # metres and radians, an arm's


def views(count: int = 15, *, held: bool = False, noise=QUIET, square: float = 1.0):
    """Views of a board whose squares are larger than its file says by a factor."""
    rng, boards = np.random.default_rng(0), board_poses(PINHOLE, count)
    poses = [shaken(pose, rng, *noise) for pose in mount_poses(MOUNT, PLACE, boards, held=held)]
    apparent = [Pose(each.rotation, each.translation) for each in boards]
    if square != 1.0:  # what was taken for the board at a distance d was a larger one at d * square
        true = [Pose(each.rotation, each.translation * square) for each in boards]
        poses = mount_poses(MOUNT, PLACE, true, held=held)
    return [
        projected_view(PINHOLE, board, rng, name=f"{i}.png", T_fixed_mount=pose)
        for i, (board, pose) in enumerate(zip(apparent, poses, strict=True))
    ]


def check(taken, published: Pose | None = MOUNT, **settings) -> Report:
    return check_hand_eye(taken, BOARD, PINHOLE, HandEyeSettings(**settings), published, FRAMES)


def errors(report: Report) -> tuple[float, float]:
    found = Pose.from_quaternion(report.figures["quaternion_xyzw"], report.figures["position_m"])
    turned = (found.inverse() @ MOUNT).rotation
    return (
        float(np.linalg.norm(found.translation - MOUNT.translation)),
        math.degrees(math.acos(min(1.0, (np.trace(turned) - 1) / 2))),
    )


@pytest.mark.parametrize("held", [False, True])
def test_the_right_mount_is_fine(held: bool) -> None:
    report = check(views(held=held), board_held=held)
    assert report.verdict == "fine", report.lines()
    by_m, by_deg = errors(report)
    assert by_m < 0.002
    assert by_deg < 0.2


def test_a_wrong_mount_is_off_by_its_error() -> None:
    published = Pose.from_rpy(0.0, math.radians(2.0), 0.0) @ MOUNT
    published = Pose(published.rotation, MOUNT.translation + np.array([0.03, 0.0, 0.0]))
    (mount, *_) = check(views(), published).findings
    assert mount.verdict == "off"
    by_mm, by_deg = float(mount.says.split()[2]), float(mount.says.split("and ")[1].partition("°")[0])
    assert by_mm == pytest.approx(30, abs=2)
    assert by_deg == pytest.approx(2.0, abs=0.15)


def test_the_stated_uncertainty_covers_the_noise_of_the_robot_s_poses() -> None:
    report = check(views(noise=(0.002, 0.003)))
    by_m, _ = errors(report)
    assert by_m < 3 * report.figures["sigma_m"]
    assert report.figures["sigma_m"] > 0.001


def test_a_pose_of_another_moment_is_named() -> None:
    taken = views()
    object.__setattr__(taken[4].picture, "T_fixed_mount", taken[5].picture.T_fixed_mount)
    report = check(taken)
    (mount, residuals, _) = report.findings
    assert mount.verdict == "unknown"
    assert "1 of 15 pictures contradict the others" in mount.says
    assert residuals.verdict == "off"
    assert residuals.fix.startswith("check 4.png: ")
    assert report.settings == ()


def test_a_board_printed_at_another_size_shows_by_the_robot_s_motion() -> None:
    report = check(views(square=1.05))
    (mount, _, square) = report.findings
    assert mount.verdict == "unknown"
    assert report.settings == ()
    assert square.verdict == "off"
    assert "measure a square with a ruler; set square_m to 0.037" in square.fix  # 36 mm * 1.05 = 37.8 mm


@pytest.mark.parametrize("noise", [(0.0, 0.0), (0.0001, 0.0002)])
def test_a_head_whose_axes_meet_needs_no_square_size(noise: tuple[float, float]) -> None:
    """It turns about a fixed point: a larger board, and a camera farther from that point, look the same."""
    rng, taken = np.random.default_rng(0), []
    camera = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.06, 0.02, 0.05]))
    board = Pose(camera.rotation, np.array([0.6, 0.11, 1.28]))
    for i, (pan, tilt) in enumerate((p, t) for p in (-0.25, -0.1, 0.1, 0.25) for t in (-0.25, -0.1, 0.1, 0.25)):
        head = Pose.from_rpy(0.0, tilt, pan, (0.0, 0.0, 1.1))
        apparent = (head @ camera).inverse() @ board
        pose = shaken(head, rng, *noise)
        taken.append(projected_view(PINHOLE, apparent, rng, noise[0] and 0.1, name=f"{i}.png", T_fixed_mount=pose))
    report = check(taken, camera)
    assert report.verdict == "fine", report.lines()
    assert report.figures["position_m"] == pytest.approx(camera.translation, abs=0.003)
    (square,) = [each for each in report.findings if each.what == "square size"]
    assert (square.verdict, square.fix) == ("note", "measure a square with a ruler")


def test_a_difference_that_may_be_chance_is_not_called_an_upper_limit() -> None:
    published = Pose(MOUNT.rotation, MOUNT.translation + np.array([0.02, 0.0, 0.0]))
    report = check(views(8, noise=(0.003, 0.004)), published)
    assert report.findings[0].verdict == "unknown"
    assert report.findings[0].says.startswith("differs by ")
    assert report.settings == ()


def driven(rng: np.random.Generator):
    """Views from a base that drives and turns on the floor before a board on the wall."""
    camera = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.1, 0.02, 0.9]))
    board = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.2, 0.1, 1.0]))
    taken = []
    for i in range(16):
        y = (-0.5, -0.25, 0.2, 0.5)[i % 4]
        base = Pose.planar((0.0, 0.25, 0.4, 0.1)[i // 4], y, -0.5 * y + 0.12 * (-1) ** i)
        apparent = (base @ camera).inverse() @ board
        taken.append(projected_view(PINHOLE, apparent, rng, name=f"{i}.png", T_fixed_mount=base))
    return camera, taken


def test_turns_about_one_axis_alone_are_refused_with_the_ways_out() -> None:
    _, taken = driven(np.random.default_rng(0))
    with pytest.raises(DataError, match=r"about one axis alone, \(0.00, 0.00, 1.00\).*--board-height.*--board-held"):
        check(taken)


def test_a_base_that_only_drives_is_determined_by_the_board_s_height() -> None:
    camera, taken = driven(np.random.default_rng(0))
    published = Pose(camera.rotation, camera.translation + np.array([0.02, 0.0, 0.0]))
    report = check(taken, published, board_height=1.0)
    assert report.figures["position_m"] == pytest.approx(camera.translation, abs=0.004)
    with pytest.raises(ConfigError, match="--published"):
        check(taken, None, board_height=1.0)


def test_a_mount_that_does_not_turn_is_refused() -> None:
    still = [
        projected_view(PINHOLE, board_poses(PINHOLE, 1)[0], np.random.default_rng(i), T_fixed_mount=PLACE)
        for i in range(5)
    ]
    with pytest.raises(DataError, match=r"turned by 0.0° at most"):
        check(still)


def posed(taken: list[View], poses: list[Pose]) -> list[View]:
    """The views with other poses."""
    pairs = zip(taken, poses, strict=True)
    return [replace(view, picture=replace(view.picture, T_fixed_mount=pose)) for view, pose in pairs]


def wxyz(pose: Pose) -> Pose:
    """A pose whose quaternion is written w x y z, and read as x y z w."""
    x, y, z, w = pose.quaternion()
    return Pose.from_quaternion((w, x, y, z), pose.translation)


MISTAKES = {
    "inverted": (lambda poses: [each.inverse() for each in poses], "invert the poses"),
    "wxyz": (lambda poses: [wxyz(each) for each in poses], "order w x y z; write x y z w"),
    "later": (lambda poses: poses[1:] + poses[:1], "each picture has the next one's pose"),
    "earlier": (lambda poses: poses[-1:] + poses[:-1], "each picture has the pose of the one before"),
    "shuffled": (lambda poses: poses[::2] + poses[1::2], "that each pose belongs to its picture"),
}


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_poses_that_no_mount_explains_are_told_by_their_mistake(mistake: str, held: bool) -> None:
    wrong, words = MISTAKES[mistake]
    taken = views(held=held)
    taken = posed(taken, wrong([view.picture.T_fixed_mount for view in taken]))
    problem = Problem(PINHOLE, BOARD, taken, held=held, board_height_m=None)
    fit = Fit(*problem.start(None), 1.0, np.zeros((12, 12)), 0.0, settled=True)  # not refined: no better, but slower
    says, fix = why_contradictory(problem, fit)
    assert "no mount explains" in says
    assert words in fix
    assert "--board-held" in fix or mistake not in ("inverted", "shuffled")


def test_a_board_that_was_not_held_gives_no_mount_to_set() -> None:
    report = check(views(5), board_held=True)
    assert report.findings[0].verdict == "unknown"
    assert "leave --board-held out" in report.findings[0].fix
    assert report.settings == ()
    assert report.figures["position_m"] is None
    assert "set square_m" not in str(report.lines())


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("unit", "factor"), [("millimetres", 1000), ("centimetres", 100)])
def test_poses_that_are_not_in_metres_are_refused_with_their_values_and_unit(
    unit: str, factor: float, held: bool
) -> None:
    taken = views(4, held=held)
    poses = [Pose(p.rotation, factor * p.translation) for view in taken if (p := view.picture.T_fixed_mount)]
    x = poses[0].translation[0]
    with pytest.raises(
        DataError, match=rf"moved \d+ m between .* position \({x:g}, .*{unit}: divide x, y and z by {factor:g}"
    ):
        check(posed(taken, poses), board_held=held)


def test_a_mount_that_is_not_in_metres_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a camera 1105 m from its link.*by 1000 if they are millimetres, by 100"):
        HandEyeSettings(published="100 30 1100 0 0 0 1").mount()
    with pytest.raises(ConfigError, match="--board-height in metres, got: 1200"):
        HandEyeSettings(board_height=1200.0)


def test_a_mount_that_is_not_precise_is_not_there_to_set() -> None:
    assert check(views(8), None).settings
    report = check(views(6, noise=(0.002, 0.003)), None)
    assert "not precise enough to set" in report.findings[0].fix
    assert report.settings == ()


def test_a_view_without_a_pose_is_named() -> None:
    taken = views(5)
    object.__setattr__(taken[2].picture, "T_fixed_mount", None)
    with pytest.raises(DataError, match=r"2.png has no pose; add it to poses.txt"):
        check(taken)


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="--board-held"):
        HandEyeSettings(board_held=True, board_height=1.0)
    with pytest.raises(ConfigError, match=r"'x y z qx qy qz qw', got: '1 2 3'"):
        HandEyeSettings(published="1 2 3").mount()


def test_the_lines_to_set_are_the_same_transform() -> None:
    command, origin = mount_lines(MOUNT, *FRAMES)
    values = dict(zip(command.split()[4::2], command.split()[5::2], strict=True))
    read = Pose.from_quaternion(
        [float(values[f"--q{axis}"]) for axis in "xyzw"], [float(values[f"--{axis}"]) for axis in "xyz"]
    )
    assert read.matrix() == pytest.approx(MOUNT.matrix(), abs=1e-4)
    rpy = [float(each) for each in origin.split('rpy="')[1].split('"')[0].split()]
    assert Pose.from_rpy(*rpy).rotation == pytest.approx(MOUNT.rotation, abs=1e-4)
