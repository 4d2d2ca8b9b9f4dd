"""Files of buildings as coloured triangles in the map: axes, units, textures and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from rooms import FLOOR_M, GREY, PINK, write_room

from si_embodied.envs.own.cloud import Cloud, find_floor
from si_embodied.envs.own.mesh import cloud_of, read_surfaces
from si_embodied.errors import SceneError

POINTS = b"""ply
format ascii 1.0
element vertex 1
property float x
property float y
property float z
end_header
0 0 0
"""


@pytest.mark.parametrize(
    ("name", "z_up", "scale"), [("a.glb", False, 1.0), ("a.ply", True, 1.0), ("a.glb", False, 0.01)]
)
def test_a_building_is_as_large_and_as_high_in_the_map_as_its_maker_meant(
    tmp_path: Path, name: str, z_up: bool, scale: float
) -> None:
    path = write_room(tmp_path / name, scale=1 / scale, z_up=z_up)
    surfaces = read_surfaces(path, scale=scale)
    corners = np.concatenate([surface.vertices for surface in surfaces])
    np.testing.assert_allclose(corners.min(axis=0), [-0.1, -0.1, FLOOR_M - 0.1], atol=1e-4)
    np.testing.assert_allclose(corners.max(axis=0), [6.1, 4.1, FLOOR_M + 2.5], atol=1e-4)
    assert find_floor(cloud_of(surfaces), "a") == pytest.approx(FLOOR_M, abs=0.005)


def test_points_have_the_colour_of_the_surface_that_they_lie_on(room_file: Path) -> None:
    cloud = cloud_of(read_surfaces(room_file))
    x, y, z = cloud.points.T
    pillar = (abs(x - 3) < 0.2) & (abs(y - 2) < 0.2) & (abs(z - FLOOR_M - 1.0) < 0.01)
    assert pillar.sum() > 50
    assert (cloud.rgb[pillar] == PINK).all()
    assert (cloud.rgb[(abs(z - FLOOR_M) < 1e-4) & cloud.level & (x > 4) & (x < 5)] == GREY).all()


def test_a_texture_is_the_right_way_up(tmp_path: Path) -> None:
    """A wall whose picture is red above and blue below."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4], picture[4:] = (255, 0, 0), (0, 0, 255)
    corners = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], float)  # y up, as in the file
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    wall = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
    wall.visual = trimesh.visual.TextureVisuals(
        uv, trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    )
    wall.export(tmp_path / "wall.glb")
    cloud = cloud_of(read_surfaces(tmp_path / "wall.glb"))
    assert (cloud.rgb[cloud.points[:, 2] > 1.1] == (255, 0, 0)).all()
    assert (cloud.rgb[cloud.points[:, 2] < 0.9] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.glb", None, "no such file"),
        ("a.fbx", b"x", "convert it to GLB"),
        ("a.glb", b"nothing", "cannot be read"),
        ("a.glb", b"", "is empty"),
        ("points.ply", POINTS, "no triangles"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=says) as error:
        read_surfaces(tmp_path / name)
    assert name in str(error.value)


def test_without_a_level_surface_there_is_no_floor() -> None:
    wall = np.random.default_rng(0).uniform(0, 2, (5000, 3)).astype(np.float32) * (1, 0, 1)
    cloud = Cloud(wall.astype(np.float32), np.zeros((5000, 3), np.uint8), np.ones(5000, bool))
    with pytest.raises(SceneError, match="no floor in 'a wall'"):
        find_floor(cloud, "a wall")


def test_the_floor_is_the_lowest_large_level_surface_and_not_the_ceiling_or_a_table() -> None:
    rng = np.random.default_rng(0)
    levels = [(6.0, 0.3), (6.0, 2.8), (1.5, 1.05)]  # side and height of floor, ceiling and table
    parts = [np.column_stack([rng.uniform(0, side, (9000, 2)), np.full(9000, z)]) for side, z in levels]
    points = np.concatenate(parts).astype(np.float32)
    cloud = Cloud(points, np.zeros((len(points), 3), np.uint8), np.ones(len(points), bool))
    assert find_floor(cloud, "a") == pytest.approx(0.3, abs=1e-6)
