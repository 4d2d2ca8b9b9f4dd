"""An environment's dict becomes the core's observation, or the error says what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from si_embodied import Intrinsics, Pose
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.policies.observation import from_gymnasium


@pytest.fixture
def raw() -> dict[str, Any]:
    intrinsics = Intrinsics.from_vertical_fov(8, 6, math.radians(60))
    return {
        "rgb": np.zeros((2, 6, 8, 3), np.uint8),
        "depth": np.ones((2, 6, 8), np.float32),
        "intrinsics": np.stack([intrinsics.matrix()] * 2),
        "T_map_camera": np.stack([np.eye(4), Pose.planar(1.0, 2.0, 0.5).matrix()]),
        "T_map_base": np.eye(4),
        "stamp_s": np.array(3.5),
        "instruction": "find it",
    }


def test_every_camera_becomes_a_frame_with_its_own_pose(raw: dict[str, Any]) -> None:
    observation = from_gymnasium(raw, ("head", "wrist"))
    assert [frame.name for frame in observation.frames] == ["head", "wrist"]
    assert observation.stamp_s == 3.5
    np.testing.assert_allclose(observation.frames[1].T_map_camera.translation, [1, 2, 0])
    assert observation.arm is None


def test_an_arm_is_taken_along(raw: dict[str, Any]) -> None:
    raw |= {"T_map_tool": Pose.planar(0.5, 0.0, 0.0, 0.9).matrix(), "gripper_opening": np.array(0.04)}
    arm = from_gymnasium(raw, ("head", "wrist")).arm
    assert arm is not None
    assert arm.gripper_opening_m == pytest.approx(0.04)
    assert arm.T_map_tool.translation[2] == pytest.approx(0.9)


SKILLS = {
    "skills": "navigate to the green sofa\npick up the red mug",
    "skill_areas": np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], np.float32),
    "feedback": "you hold the blue can",
    "skill_done": np.array(1, np.uint8),
    "holding": "blue can",
}


def test_skills_are_read_as_what_they_do_and_where(raw: dict[str, Any]) -> None:
    skills = from_gymnasium(raw | SKILLS, ("head", "wrist")).skills
    assert skills is not None
    sofa, mug = skills.options
    assert (sofa.verb, sofa.target, mug.verb, mug.target) == ("navigate", "green sofa", "pick", "red mug")
    np.testing.assert_array_equal(sofa.area_m, [[1, 2], [3, 4]])  # type: ignore[arg-type]
    assert mug.area_m is None
    assert (skills.feedback, skills.succeeded, skills.holding) == ("you hold the blue can", True, "blue can")
    assert skills.describe() == SKILLS["skills"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"skills": "fly to the moon"}, "'navigate to the …'.*got: 'fly to the moon'"),
        ({"skill_areas": np.zeros((1, 2, 2))}, "at least 2 skills"),
        ({"skill_areas": np.zeros((2, 4))}, r"\(M, 2, 2\)"),
    ],
)
def test_skills_that_cannot_be_read_are_refused(raw: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        from_gymnasium(raw | SKILLS | changed, ("head", "wrist"))


def test_a_goal_picture_is_taken_along(raw: dict[str, Any]) -> None:
    assert from_gymnasium(raw, ("head", "wrist")).goal_image is None
    goal = np.full((6, 8, 3), 7, np.uint8)
    taken = from_gymnasium(raw | {"goal_image": goal}, ("head", "wrist")).goal_image
    np.testing.assert_array_equal(taken, goal)  # type: ignore[arg-type]


def test_a_missing_key_is_named(raw: dict[str, Any]) -> None:
    del raw["depth"]
    with pytest.raises(ObservationError, match=r"lacks \['depth'\]"):
        from_gymnasium(raw, ("head", "wrist"))


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("rgb", np.zeros((6, 8, 3), np.uint8), ObservationError, r"\(N, H, W, 3\)"),
        ("rgb", np.zeros((2, 6, 8, 4), np.uint8), ObservationError, "drop alpha"),
        ("rgb", np.zeros((2, 6, 8, 3), np.float32), ObservationError, "uint8"),
        ("depth", np.ones((2, 3, 4), np.float32), ObservationError, "register depth"),
        ("depth", np.ones((2, 6, 8), np.uint16), ObservationError, "millimetres"),
        ("stamp_s", np.array(np.nan), ObservationError, "finite stamp"),
        ("T_map_base", np.full((4, 4), np.nan), ConfigError, "finite"),
        ("intrinsics", np.zeros((2, 3, 3)), ConfigError, "focal"),
    ],
)
def test_what_does_not_fit_is_said(
    raw: dict[str, Any], key: str, value: object, error: type[Exception], message: str
) -> None:
    raw[key] = value
    with pytest.raises(error, match=message):
        from_gymnasium(raw, ("head", "wrist"))


def test_cameras_are_counted(raw: dict[str, Any]) -> None:
    with pytest.raises(ObservationError, match="3 cameras"):
        from_gymnasium(raw, ("head", "wrist", "side"))


def test_a_point_goal_is_placed_in_the_map(raw: dict[str, Any]) -> None:
    base = Pose.planar(1.0, 2.0, np.pi / 2)
    observation = from_gymnasium({**raw, "T_map_base": base.matrix(), "pointgoal": [2.0, np.pi / 2]}, ("head", "wrist"))
    assert observation.goal_point_m == pytest.approx([-1.0, 2.0, 0.0])
