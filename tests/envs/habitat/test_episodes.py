"""Episodes in Habitat's format: habitat-lab's own dataset classes parse them; they are a function of their seeds."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from si_embodied.envs.habitat.episodes import DATASET_TYPES, HABITAT_TASKS, dataset, write_dataset
from si_embodied.envs.habitat.frames import to_map
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.envs.habitat.stage import apartment_of, load_stage
from si_embodied.envs.scenes.occupancy import Outlines
from si_embodied.errors import UnknownNameError

if importlib.util.find_spec("habitat") is None:
    pytest.skip("habitat-lab is not installed: pip install 'si-embodied[habitat]'", allow_module_level=True)


@pytest.mark.parametrize("task", HABITAT_TASKS)
def test_habitat_lab_reads_the_file(task: str, tmp_path: Path) -> None:
    load_habitat()
    from habitat.datasets import make_dataset

    path = write_dataset(tmp_path / "val" / "val.json.gz", task, range(2))
    config = SimpleNamespace(data_path=str(tmp_path / "{split}/{split}.json.gz"), split="val", scenes_dir="")
    config.content_scenes = ["*"]
    read = make_dataset(DATASET_TYPES[task], config=config)
    assert path.is_file()
    assert [episode.scene_id.split("-")[1] for episode in read.episodes] == ["0", "1"]
    assert all(episode.goals for episode in read.episodes)


def test_the_same_seeds_give_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from si_embodied.envs.habitat.episodes import write_dataset;"
        "write_dataset(sys.argv[1], 'objectnav', [3, 4])"
    )
    contents = []
    for hash_seed in ("1", "2"):
        path = tmp_path / f"{hash_seed}.json.gz"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True, timeout=120)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert len(json.loads(gzip.decompress(contents[0]))["episodes"]) == 2


def test_an_episode_does_not_depend_on_those_beside_it() -> None:
    assert dataset("pointnav", [5])["episodes"] == dataset("pointnav", [4, 5])["episodes"][1:]


def test_every_instance_of_the_category_is_a_goal_and_seen_from_near() -> None:
    content = dataset("objectnav", [0])
    episode = content["episodes"][0]
    apartment = apartment_of(episode["scene_id"])
    goals = content["goals_by_category"][f"{episode['scene_id']}_{episode['object_category']}"]
    named = {goal["object_name"] for goal in goals}
    pieces = [piece for piece in apartment.furniture if piece.category == episode["object_category"]]
    assert named <= {piece.name for piece in pieces}
    for goal in goals:
        outline = Outlines.of(apartment.piece(goal["object_name"]).world_parts, below_m=np.inf)
        for view in goal["view_points"]:
            x, y, z = to_map(view["agent_state"]["position"])
            assert outline.distance(x, y) <= 1.0
            assert z == pytest.approx(0.0)


@pytest.mark.parametrize("task", HABITAT_TASKS)
def test_an_episode_starts_where_the_robot_fits_and_at_least_two_metres_off(task: str) -> None:
    episode = dataset(task, [1])["episodes"][0]
    x, y, _ = to_map(episode["start_position"])
    stage = load_stage(episode["scene_id"])
    assert stage.obstacles.distance(x, y) >= 0.28
    assert episode["info"]["geodesic_distance"] >= 2.0


def test_a_scene_that_is_no_apartment_is_refused_with_an_example() -> None:
    with pytest.raises(UnknownNameError, match="apartment-7-0"):
        load_stage("van-gogh-room")
