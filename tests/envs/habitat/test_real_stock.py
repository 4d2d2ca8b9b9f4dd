"""habitat-lab's own PointNav config, episodes and simulator class, on a scene of ours in habitat-sim."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from si_embodied.envs.habitat.export import export_scene
from si_embodied.envs.habitat.lab import has_habitat_sim, load_habitat
from si_embodied.envs.habitat.machine import NO_DEVICE, has_cuda_device
from si_embodied.envs.habitat.navigation import HabitatPointNavEnv
from si_embodied.envs.scenes.generator import generate_apartment
from si_embodied.errors import DataError

pytestmark = [pytest.mark.habitat_sim, pytest.mark.timeout(1200)]
if not has_habitat_sim() or importlib.util.find_spec("habitat") is None:
    pytest.skip(
        "habitat-sim and habitat-lab are not both in this Python: docs/habitat.md says how to install them",
        allow_module_level=True,
    )

STOCK = "benchmark/nav/pointnav/pointnav_habitat_test.yaml"
NAME = "apartment-7-0"
EPISODES = 20
SOLID = "habitat.simulator.navmesh_include_static_objects=True"  # furniture is an obstacle, as in our worlds


def scene_overrides(folder: Path) -> list[str]:
    """Export an apartment; returns the overrides that point a habitat-lab config to it."""
    files = export_scene(generate_apartment((7, 0)), folder, NAME)
    return [
        f"habitat.simulator.scene={folder}/{NAME}.scene_instance.json",
        f"habitat.simulator.scene_dataset={files.dataset_config}",
        SOLID,
    ]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a scene, and episodes in it from habitat-lab's own generator."""
    load_habitat()
    from habitat import get_config
    from habitat.datasets.pointnav.pointnav_dataset import PointNavDatasetV1
    from habitat.datasets.pointnav.pointnav_generator import generate_pointnav_episode
    from habitat.sims import make_sim

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    no_light = {"enable_ibl": False, "ibl_blut_filename": "none.png", "ibl_envmap_filename": "none.hdr"}
    (tmp_path / "data" / "default.pbr_config.json").write_text(json.dumps(no_light))
    overrides = scene_overrides(tmp_path / "scenes")
    if not has_cuda_device():
        overrides.append(f"habitat.simulator.habitat_sim_v0.gpu_device_id={NO_DEVICE}")
    simulator = get_config(STOCK, overrides).habitat.simulator
    with make_sim(simulator.type, config=simulator) as sim:
        sim.seed(0)
        state = np.random.get_state()  # noqa: NPY002 - habitat-lab uses numpy's global generator
        np.random.seed(0)  # noqa: NPY002
        drawn = PointNavDatasetV1()
        drawn.episodes = list(generate_pointnav_episode(sim, EPISODES, is_gen_shortest_path=False))
        np.random.set_state(state)  # noqa: NPY002
    for episode in drawn.episodes:
        episode.scene_dataset_config = simulator.scene_dataset
    with gzip.open(tmp_path / "episodes.json.gz", "wt") as file:
        file.write(drawn.to_json())
    return tmp_path


def stock_env(data: Path, *overrides: str) -> HabitatPointNavEnv:
    where = [f"habitat.dataset.data_path={data}/episodes.json.gz", SOLID, *overrides]
    return HabitatPointNavEnv(simulator="habitat-sim", config=STOCK, overrides=where)


def test_the_oracle_in_the_stock_config_reaches_spl_of_095(
    data: Path, record_property: Callable[[str, object], None]
) -> None:
    env = stock_env(data)
    ended = []
    for seed in range(EPISODES):
        observation, info = env.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(env.ground_truth.next_action())
            over = terminated or truncated
        ended.append((info["success"], info["spl"]))
    env.close()
    assert observation["rgb"].shape == (1, 256, 256, 3)
    assert len({str(e.start_position) for e in env._source._episodes}) == EPISODES
    success, spl = np.mean(ended, axis=0)
    record_property("success", float(success))  # the figures are in pytest's --junitxml
    record_property("spl", float(spl))
    assert success == 1.0
    assert spl >= 0.95


def test_a_scene_dataset_that_is_not_there_is_named_before_habitat_sim_aborts(data: Path) -> None:
    (data / "scenes" / f"{NAME}.scene_dataset_config.json").unlink()
    env = stock_env(data)
    with pytest.raises(DataError, match="scene_dataset_config"):
        env.reset(seed=0)
