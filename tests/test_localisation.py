"""Where a picture was taken, in rooms that are ray-cast here: the poses are known exactly."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs OpenCV (the extra bags, ros or habitat)")

from numpy.typing import NDArray

from si_embodied.geometry import Intrinsics, Pose, deproject
from si_embodied.localisation import camera_pose_of, localised_goal
from si_embodied.types import POINT_GOAL, CameraFrame, Observation
from tests.conftest import LOOKING_AHEAD

LOW, HIGH = np.array([-1.0, -3.0, 0.0]), np.array([5.0, 3.0, 2.5])
"""The room's corners, metres."""
TILE_M, HEIGHT_M = 0.3, 1.1


def room(seed: int, *, tiles: int = 64) -> NDArray[np.uint8]:
    """Colours of the walls, floor and ceiling (axis, side, tiles, tiles, 3); few tiles repeat."""
    return np.random.default_rng(seed).integers(0, 256, (3, 2, tiles, tiles, 3), dtype=np.uint8)


def seen_from(
    colours: NDArray[np.uint8], x: float, y: float, yaw: float, *, size: tuple[int, int] = (224, 224)
) -> CameraFrame:
    """The view of a camera in the room, 8 degrees down."""
    height, width = size
    camera = Intrinsics.from_vertical_fov(width, height, math.radians(75))
    pose = Pose.planar(x, y, yaw, HEIGHT_M) @ Pose.from_rpy(0.0, math.radians(8), 0.0)
    pose = pose @ Pose(LOOKING_AHEAD, np.zeros(3))
    v, u = np.indices(size)
    rays = deproject(camera, np.stack([u, v], axis=-1), np.ones(size)) @ pose.rotation.T
    ahead = np.where(rays > 0, HIGH, LOW) - pose.translation
    depths = ahead / np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    axis = np.argmin(depths, axis=-1)
    depth = np.min(depths, axis=-1)
    hit = pose.translation + rays * depth[..., None]
    side = (np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0] > 0).astype(int)
    across = np.stack([np.where(axis == 0, hit[..., 1], hit[..., 0]), np.where(axis == 2, hit[..., 1], hit[..., 2])])
    row, column = np.floor(across / TILE_M).astype(int) % colours.shape[2]
    return CameraFrame("head", 0.0, colours[axis, side, row, column], depth.astype(np.float32), camera, pose)


@pytest.mark.parametrize(
    ("x", "y", "yaw", "size"),
    [
        (1.0, 0.6, 0.3, (224, 224)),
        (2.0, -1.0, -0.4, (224, 224)),
        (0.3, 0.0, 0.5, (120, 160)),
        (1.0, 0.6, 0.3, (480, 640)),
    ],
)
def test_the_pose_of_a_picture_is_found(x: float, y: float, yaw: float, size: tuple[int, int]) -> None:
    colours = room(1)
    taken = seen_from(colours, x, y, yaw, size=size)
    found = camera_pose_of(taken.rgb, seen_from(colours, 0.0, 0.0, 0.0, size=size))
    assert found is not None
    assert math.dist(found.T_map_camera.translation, taken.T_map_camera.translation) < 0.1
    assert not found.T_map_camera.differs(taken.T_map_camera, by_m=0.1, by_rad=0.03)


def test_a_picture_of_another_room_is_not_found() -> None:
    for seed in range(5):
        picture = seen_from(room(seed), 1.0, 0.6, 0.3).rgb
        assert camera_pose_of(picture, seen_from(room(100 + seed), 0.0, 0.0, 0.0)) is None


def test_a_picture_of_what_is_behind_the_robot_is_not_found() -> None:
    colours = room(1)
    assert camera_pose_of(seen_from(colours, 1.0, 0.0, math.pi).rgb, seen_from(colours, 0.0, 0.0, 0.0)) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (16, 16), (400, 10)])
def test_pictures_without_features_are_not_found(size: tuple[int, int]) -> None:
    view = seen_from(room(1), 0.0, 0.0, 0.0)
    assert camera_pose_of(np.full((*size, 3), 90, np.uint8), view) is None
    blank = dataclasses.replace(view, rgb=np.full_like(view.rgb, 90))
    assert camera_pose_of(view.rgb, blank) is None


def test_a_view_without_depth_tells_nothing() -> None:
    view = seen_from(room(1), 0.0, 0.0, 0.0)
    assert camera_pose_of(view.rgb, dataclasses.replace(view, depth_m=None)) is None
    assert view.depth_m is not None
    assert camera_pose_of(view.rgb, dataclasses.replace(view, depth_m=view.depth_m * np.nan)) is None


def test_the_goal_is_where_the_base_stood_not_the_camera() -> None:
    """The camera is 0.2 m before the base's centre; the picture's base stood at (1, 0.6), heading 0.3."""
    colours, T_base_camera = room(1), Pose.planar(0.2, 0.0, 0.0)
    stood, now = Pose.planar(1.0, 0.6, 0.3), Pose.planar(-0.2, 0.0, 0.0)
    x, y, _ = (stood @ T_base_camera).translation
    view = seen_from(colours, 0.0, 0.0, 0.0)
    goal = localised_goal(Observation(0.0, (view,), now), seen_from(colours, x, y, 0.3).rgb)
    assert goal is not None
    assert goal.name == POINT_GOAL
    np.testing.assert_allclose(goal.position_m, stood.translation, atol=0.1)
