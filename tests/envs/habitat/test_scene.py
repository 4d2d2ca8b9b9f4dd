"""Habitat's PointNav in a building of one's own, without a data set of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("habitat") is None:
    pytest.skip("habitat-lab is not installed: pip install 'si-embodied[habitat]'", allow_module_level=True)

from rooms import write_room

from si_embodied.embodiment import BaseAction
from si_embodied.envs.habitat.navigation import HabitatObjectNavEnv, HabitatPointNavEnv
from si_embodied.errors import ConfigError, SceneError


def test_a_building_has_points_to_drive_to_and_habitats_measures(tmp_path: Path) -> None:
    env = HabitatPointNavEnv(scene=write_room(tmp_path / "room.glb"), image_size=32)
    observation, before = env.reset(seed=0)
    assert observation["depth"].max() > 1.0
    assert before["geodesic_distance"] == pytest.approx(before["distance_to_goal"])
    assert before["distance_to_goal"] >= 2.0
    _, _, _, _, after = env.step(int(BaseAction.STOP))
    env.close()
    assert not after["success"]


@pytest.mark.slow
def test_the_oracle_reaches_points_of_a_building_by_habitats_measures(tmp_path: Path) -> None:
    env = HabitatPointNavEnv(scene=write_room(tmp_path / "room.glb"), image_size=32)
    env.reset(seed=0)
    for _ in range(100):
        _, _, terminated, truncated, info = env.step(env.ground_truth.next_action())
        if terminated or truncated:
            break
    env.close()
    assert info["success"]
    assert info["spl"] > 0.8


def test_a_scene_has_no_objects_to_look_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PointNav alone"):
        HabitatObjectNavEnv(scene=tmp_path / "room.glb")


def test_a_scene_that_is_missing_is_named(tmp_path: Path) -> None:
    env = HabitatPointNavEnv(scene=tmp_path / "gone.glb")
    with pytest.raises(SceneError, match="gone.glb"):
        env.reset(seed=0)
