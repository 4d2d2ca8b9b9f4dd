from __future__ import annotations

import contextlib

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco")

import si_embodied.envs
from si_embodied.data.household_views import HouseholdStage
from si_embodied.data.views import ApartmentStage, LabelledView, TabletopStage
from si_embodied.envs.ground_truth import inner_pixel
from si_embodied.geometry import deproject, project

SIZE = 96


def room_views(seed: int, count: int) -> list[LabelledView]:
    with ApartmentStage(seed, image_size=SIZE) as stage:
        poses = stage.poses(np.random.default_rng(seed))
        return [stage.view(*pose) for _, pose in zip(range(count), poses, strict=False)]


@pytest.fixture(scope="module")
def table() -> LabelledView:
    with TabletopStage(3, image_size=SIZE) as stage:
        return stage.view()


@pytest.fixture(scope="module")
def household() -> LabelledView:
    with contextlib.closing(HouseholdStage(3, image_size=SIZE)) as stage:
        return next(stage.views(np.random.default_rng(0)))


@pytest.fixture(scope="module")
def room() -> LabelledView:
    return max(room_views(0, 8), key=lambda view: len(view.objects))


def test_a_seed_gives_the_same_scene_as_the_environment(table: LabelledView) -> None:
    env = gymnasium.make(si_embodied.envs.TABLETOP_ID, task="base", image_size=SIZE)
    observation, _ = env.reset(seed=3)
    env.close()
    assert np.array_equal(observation["rgb"][0], table.frame.rgb)


@pytest.mark.parametrize("which", ["table", "room", "household"])
def test_labels_agree_with_the_instance_image(which: str, request: pytest.FixtureRequest) -> None:
    view: LabelledView = request.getfixturevalue(which)
    assert view.objects
    assert {o.id for o in view.objects} == set(np.unique(view.instances)) - {-1}
    for thing in view.objects:
        rows, columns = np.nonzero(view.instances == thing.id)
        assert thing.pixels == len(rows)
        assert thing.box_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        u, v = thing.point_px
        assert view.instances[int(v), int(u)] == thing.id


def test_an_objects_pose_agrees_with_its_pixel_and_depth(table: LabelledView) -> None:
    for thing in table.objects:
        if thing.category in ("bowl", "bin", "shape sorter") or thing.pixels < 12:
            continue
        u, v = thing.point_px
        assert table.frame.depth_m is not None
        depth = table.frame.depth_m[int(v), int(u)]
        seen = table.frame.T_map_camera.apply(deproject(table.frame.intrinsics, (u, v), depth))
        # The pixel is on the surface and the pose at the centre: at most half the diagonal apart.
        assert np.linalg.norm(seen - thing.T_map_object.translation) < np.linalg.norm(thing.size_m) / 2 + 0.01


def test_furniture_projects_onto_its_visible_box() -> None:
    inside = 0
    for view in room_views(0, 6):
        for thing in view.objects:
            signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
            corners = view.frame.T_map_camera.inverse().apply(thing.T_map_object.apply(signs * thing.size_m / 2))
            uv = project(view.frame.intrinsics, corners)
            if not np.isfinite(uv).all():
                continue
            x0, y0, x1, y1 = thing.box_px
            assert x0 >= uv[:, 0].min() - 2
            assert y0 >= uv[:, 1].min() - 2
            assert x1 - 1 <= uv[:, 0].max() + 2
            assert y1 - 1 <= uv[:, 1].max() + 2
            inside += 1
    assert inside >= 5


def test_the_robot_looks_at_furniture_with_household_objects() -> None:
    with contextlib.closing(HouseholdStage(4, image_size=SIZE)) as stage:
        views = [view for _, view in zip(range(6), stage.views(np.random.default_rng(0)), strict=False)]
        assert len(stage.items) == len(set(stage.items)) == 7, "one of each category"
        for view in views:
            assert any(one.name in stage.items and one.pixels >= 5 for one in view.objects)
    with contextlib.closing(HouseholdStage(4, image_size=SIZE)) as again:
        assert np.array_equal(views[0].frame.rgb, next(again.views(np.random.default_rng(0))).frame.rgb)


def test_views_are_a_function_of_the_seed() -> None:
    (one,), (other,) = (room_views(7, 1) for _ in range(2))
    assert np.array_equal(one.frame.rgb, other.frame.rgb)
    assert one.room == other.room is not None


def test_the_point_is_in_the_largest_part() -> None:
    mask = np.zeros((9, 12), bool)
    mask[1:3, 1:3] = True
    mask[3:8, 5:10] = True  # 5 x 5, centred at (7, 5)
    assert inner_pixel(mask) == (7.0, 5.0)
