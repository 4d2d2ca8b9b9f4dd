"""What a camera of known mount sees of a known room: a floor, and a wall 3 m ahead."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from si_embodied.geometry import Intrinsics, Pose
from si_embodied.ros_nodes.checks.view import check_view, judge_age, judge_bounds, judge_standing
from si_embodied.ros_nodes.node.settings import NodeSettings, RobotSettings
from si_embodied.types import CameraFrame

CAMERA = Intrinsics.from_vertical_fov(160, 120, math.radians(60))
AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical axes in the base's frame
WALL_M, EYE_M = 3.0, 1.0
BASE = Pose.planar(2.0, -1.0, 0.7)  # anywhere in the map


def mount(*, down_rad: float = 0.3, height_m: float = EYE_M, roll_rad: float = 0.0) -> Pose:
    """A camera above the base that looks ahead and down."""
    pitched = Pose.from_rpy(roll_rad, down_rad, 0.0)
    return Pose(pitched.rotation @ AHEAD, np.array([0.0, 0.0, height_m]))


def depth_from(true: Pose) -> np.ndarray:
    """Depth of floor and wall, by intersection of each pixel's ray with both planes, with 2 mm of noise."""
    v, u = np.indices((CAMERA.height, CAMERA.width))
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    x, _, z = np.moveaxis(rays @ true.rotation.T, -1, 0)
    floor = np.where(z < 0, -true.translation[2] / np.minimum(z, -1e-9), np.inf)
    wall = np.where(x > 0, WALL_M / np.maximum(x, 1e-9), np.inf)
    noise = np.random.default_rng(0).normal(0, 0.002, u.shape)
    return (np.minimum(floor, wall) + noise).astype(np.float32)


def findings(true: Pose, published: Pose | None = None, **changes: object) -> dict[str, str]:
    """Verdicts by name, for a camera mounted at `true` whose transforms say `published`."""
    frame = CameraFrame(
        "head", 0.0, np.zeros((120, 160, 3), np.uint8), depth_from(true), CAMERA, BASE @ (published or true)
    )
    found = check_view(replace(frame, **changes), BASE, NodeSettings())  # type: ignore[arg-type]
    return {each.what.removeprefix("head: "): each.verdict for each in found}


def test_a_camera_that_is_mounted_as_published_is_fine() -> None:
    assert set(findings(mount()).values()) == {"fine"}


@pytest.mark.parametrize("height_m", [0.9, 1.1])
def test_a_wrong_height_lifts_or_sinks_the_floor(height_m: float) -> None:
    assert findings(mount(), mount(height_m=height_m))["floor"] == "off"


def test_a_wrong_pitch_tilts_the_floor() -> None:
    """By 4 degrees, the floor 2 m ahead is 14 cm off."""
    assert findings(mount(), mount(down_rad=0.3 + math.radians(4)))["floor"] == "off"


def test_depth_in_a_wrong_scale_moves_the_floor() -> None:
    assert findings(mount(), depth_m=depth_from(mount()) * np.float32(0.8))["floor"] == "off"


def test_half_a_centimetre_and_half_a_degree_are_fine() -> None:
    assert findings(mount(), mount(height_m=1.005, down_rad=0.3 + math.radians(0.5)))["floor"] == "fine"


def test_a_camera_that_sees_no_floor_leaves_it_unknown() -> None:
    found = findings(mount(down_rad=-0.6))
    assert found["floor"] == "unknown"


def test_a_body_frame_in_place_of_an_optical_one_is_off() -> None:
    """The body's z axis points up: taken for the optical axis, the camera looks at the ceiling."""
    body = Pose(np.eye(3), np.array([0.0, 0.0, EYE_M]))
    assert findings(mount(), body)["mount"] == "off"


def test_a_rolled_camera_and_one_below_the_floor_are_off() -> None:
    assert findings(mount(), mount(roll_rad=math.radians(90)))["mount"] == "off"
    assert findings(mount(), mount(height_m=-0.1))["mount"] == "off"


def test_a_camera_without_depth_is_a_note_and_one_with_dead_depth_is_off() -> None:
    assert findings(mount(), depth_m=None)["depth"] == "note"
    assert findings(mount(), depth_m=np.zeros((120, 160), np.float32))["depth"] == "off"


def test_a_look_step_wider_than_the_view_is_off() -> None:
    """60 degrees high and 4:3 is 75 degrees or 1.31 rad wide."""
    frame = CameraFrame("head", 0.0, np.zeros((120, 160, 3), np.uint8), depth_from(mount()), CAMERA, BASE @ mount())
    for step_rad, verdict in ((1.2, "fine"), (1.4, "off")):
        settings = NodeSettings(robot=RobotSettings(look_step_rad=step_rad))
        (found,) = (each for each in check_view(frame, BASE, settings) if each.what == "bounds: look around")
        assert found.verdict == verdict


def test_images_older_than_half_the_guard_s_bound_are_off() -> None:
    assert judge_age(NodeSettings(), np.array([0.1, 0.3])).verdict == "fine"
    assert judge_age(NodeSettings(), np.array([0.1, 0.6])).verdict == "off"


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        (Pose.planar(2.02, -1.0, 0.71), "fine"),
        (Pose.planar(2.2, -1.0, 0.7), "off"),
        (Pose.planar(2.0, -1.0, 0.9), "off"),
    ],
)
def test_a_robot_that_moves_during_the_check_is_off(later: Pose, verdict: str) -> None:
    assert judge_standing(BASE, later).verdict == verdict


def test_the_bounds_are_told_to_the_pilot() -> None:
    assert "goals up to 12 m away" in judge_bounds(NodeSettings()).says
    arm = NodeSettings(kind="manipulation")
    assert judge_bounds(arm).verdict == "fine"
    empty = replace(arm, arm=replace(arm.arm, highest_m=arm.arm.lowest_m))
    assert judge_bounds(empty).verdict == "off"
