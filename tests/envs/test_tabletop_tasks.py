"""Tasks are unambiguous, and their conditions are read from the physics."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from si_embodied.envs.mujoco.tabletop import TabletopWorld
from si_embodied.envs.scenes.tabletop import TABLE_TOP_M, Container, TableObject, TabletopScene, within_reach
from si_embodied.envs.scenes.tabletop_tasks import TASKS, Beside, Condition, InHole, Inside, OnTop, draw_task
from si_embodied.envs.tabletop_truth import holds
from si_embodied.errors import UnknownNameError
from si_embodied.geometry import Pose

HALF = 0.023  # of a cube's side, and of everything's height


@pytest.fixture(scope="module")
def world() -> TabletopWorld:
    return TabletopWorld(
        TabletopScene(
            (
                TableObject("red cube", "cube", "red", 0.50, 0.20, 0.0),
                TableObject("green cube", "cube", "green", 0.50, 0.00, 0.0),
                TableObject("blue long block", "long block", "blue", 0.50, -0.20, 0.0),
            ),
            (
                Container("blue bowl", "bowl 0", "bowl", "blue", 0.68, 0.20),
                Container("red bin", "bin 1", "bin", "red", 0.68, -0.25),
                Container("shape sorter", "shape sorter 2", "shape sorter", "wood", 0.66, 0.0),
            ),
        )
    )


def put(world: TabletopWorld, name: str, x: float, y: float, z: float, *, yaw: float = 0.0) -> None:
    """Drop an object from just above its target, and wait until it rests."""
    world.place_object(name, Pose.from_rpy(0.0, 0.0, yaw, (x, y, TABLE_TOP_M + z)))
    world.rest(0.6)
    world.rest()


@pytest.mark.parametrize(
    ("condition", "spot", "expected"),
    [
        (Inside("red cube", "bowl 0"), (0.68, 0.20, 0.030), True),
        (Inside("red cube", "bowl 0"), (0.55, 0.20, 0.024), False),  # beside the bowl
        (Inside("red cube", "bin 1"), (0.70, -0.27, 0.030), True),
        (Inside("red cube", "bowl 0"), (0.70, -0.27, 0.030), False),  # in the bin
        (OnTop("red cube", "green cube"), (0.50, 0.00, 0.071), True),
        (OnTop("red cube", "green cube"), (0.51, 0.01, 0.071), True),  # 14 mm off its middle
        (OnTop("red cube", "green cube"), (0.50, 0.047, 0.024), False),  # touching, on the table
        (Beside("red cube", "green cube", "left"), (0.50, 0.10, 0.024), True),
        (Beside("red cube", "green cube", "right"), (0.50, 0.10, 0.024), False),
        (Beside("red cube", "green cube", "front"), (0.42, 0.00, 0.024), True),
        (Beside("red cube", "green cube", "left"), (0.50, 0.30, 0.024), False),  # 30 cm is not next to it
        (Beside("red cube", "green cube", "left"), (0.42, 0.06, 0.024), False),  # more in front than left
        (InHole("red cube", "shape sorter 2", 0), (0.66, 0.086, 0.024), True),
        (InHole("red cube", "shape sorter 2", 0), (0.62, 0.086, 0.034), False),  # on the board's edge
        (InHole("red cube", "shape sorter 2", 0), (0.66, -0.086, 0.024), False),  # in the long hole
    ],
)
def test_a_condition_is_read_from_where_things_rest(
    world: TabletopWorld, condition: Condition, spot: tuple[float, float, float], expected: bool
) -> None:
    put(world, "green cube", 0.50, 0.00, HALF + 0.001)
    put(world, "red cube", *spot)
    assert holds(condition, world) is expected


def test_a_long_block_fits_its_hole_and_no_other(world: TabletopWorld) -> None:
    put(world, "red cube", 0.45, 0.3, HALF + 0.001)
    put(world, "blue long block", 0.66, -0.086, 0.024)
    assert holds(InHole("blue long block", "shape sorter 2", 2), world)
    put(world, "blue long block", 0.66, 0.086, 0.036)
    assert not holds(InHole("blue long block", "shape sorter 2", 0), world)
    assert world.corners("blue long block")[:, 2].max() > TABLE_TOP_M + 0.05  # it lies on the board


def test_what_is_still_falling_does_not_count(world: TabletopWorld) -> None:
    world.place_object("red cube", Pose.from_rpy(0.0, 0.0, 0.0, (0.68, 0.20, TABLE_TOP_M + 0.06)))
    world.rest(0.02)
    assert not holds(Inside("red cube", "bowl 0"), world)


@pytest.mark.parametrize("task", TASKS)
def test_a_scene_has_three_to_six_distinct_things_within_reach(task: str) -> None:
    for seed in range(50):
        drawn = draw_task(task, np.random.default_rng(seed))
        things = drawn.scene.objects
        assert 3 <= len(things) <= 6
        assert len({(thing.shape, thing.colour) for thing in things}) == len(things)
        assert all(within_reach(thing.x_m, thing.y_m) for thing in things)
        gaps = [math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) for a in things for b in things if a is not b]
        assert min(gaps) > 0.045 + 2 * HALF  # a finger on either side


def test_a_place_next_to_an_anchor_is_named_from_the_robots_side() -> None:
    words = {"left": "left", "right": "right", "front": "in front", "behind": "far side"}
    for seed in range(60):
        drawn = draw_task("spatial", np.random.default_rng(seed))
        condition = drawn.conditions[0]
        if isinstance(condition, Beside):
            assert words[condition.direction] in drawn.instruction
            assert "you" in drawn.instruction


def test_the_farthest_bowl_is_the_farthest_by_a_margin() -> None:
    found = 0
    for seed in range(80):
        drawn = draw_task("spatial", np.random.default_rng(seed))
        if "farthest from you" not in drawn.instruction:
            continue
        found += 1
        condition = drawn.conditions[0]
        assert isinstance(condition, Inside)
        distances = {c.key: math.hypot(c.x_m, c.y_m) for c in drawn.scene.containers}
        target = distances.pop(condition.container)
        assert target >= max(distances.values()) + 0.06
    assert found > 3


def test_the_tallest_object_is_the_only_tall_one() -> None:
    for seed in range(40):
        drawn = draw_task("visual", np.random.default_rng(seed))
        if "tallest" in drawn.instruction:
            tall = [thing.name for thing in drawn.scene.objects if thing.height_m > 0.06]
            assert tall == [drawn.conditions[0].object]


def test_an_unknown_category_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="sort"):
        draw_task("sorting", np.random.default_rng(0))
