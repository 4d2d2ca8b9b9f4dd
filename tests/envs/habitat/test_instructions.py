"""Habitat's goals as instructions, and the messages about missing data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from si_embodied.envs.habitat.data import check_episodes, check_scene
from si_embodied.envs.habitat.frames import agent_rotation, to_habitat
from si_embodied.envs.habitat.instructions import CHARSET, MAX_INSTRUCTION_LENGTH, instruction_of
from si_embodied.errors import DataError


@pytest.mark.parametrize(
    ("category", "instruction"),
    [
        ("chair", "find a chair"),
        ("tv_monitor", "find a tv"),
        ("chest_of_drawers", "find a chest of drawers"),
        ("armchair", "find an armchair"),
        ("clothes", "find clothes"),
    ],
)
def test_a_category_becomes_what_a_person_would_say(category: str, instruction: str) -> None:
    assert instruction_of("objectnav", SimpleNamespace(object_category=category)) == instruction


@pytest.mark.parametrize(
    ("yaw", "goal", "words"),
    [
        (0.0, (2.0, 1.0), "2.0 m ahead and 1.0 m to the left"),
        (0.0, (-2.0, -1.5), "2.0 m behind and 1.5 m to the right"),
        (1.5707963, (0.0, 3.0), "3.0 m ahead of"),
    ],
)
def test_a_point_is_told_as_seen_from_the_start(yaw: float, goal: tuple[float, float], words: str) -> None:
    episode = SimpleNamespace(
        start_position=to_habitat([0.0, 0.0, 0.0]),
        start_rotation=agent_rotation(yaw),
        goals=[SimpleNamespace(position=to_habitat([*goal, 0.0]))],
    )
    assert words in instruction_of("pointnav", episode)


def test_an_instruction_of_vlns_is_passed_on_as_one_plain_line() -> None:
    text = "Walk past the “red” sofa.\r\n Turn left – then\tstop. \u0107" + 3000 * "x"
    episode = SimpleNamespace(instruction=SimpleNamespace(instruction_text=text))
    line = instruction_of("instructionnav", episode)
    assert line.startswith('Walk past the "red" sofa. Turn left - then stop. x')
    assert len(line) == MAX_INSTRUCTION_LENGTH
    assert set(line) <= set(CHARSET)


def test_unknown_data_say_where_they_were_looked_for() -> None:
    dataset = SimpleNamespace(data_path="mine/{split}.json.gz", split="val")
    with pytest.raises(DataError, match=r"val'.*mine/val\.json\.gz.*habitat\.dataset\.data_path"):
        check_episodes(dataset)


def of_scene(scene_id: str, scene_dataset: str = "default") -> SimpleNamespace:
    return SimpleNamespace(scene_id=scene_id, scene_dataset_config=scene_dataset)


def test_a_missing_scene_says_how_to_get_it() -> None:
    with pytest.raises(DataError, match="hm3d_val_v0.2"):
        check_scene(of_scene("data/scene_datasets/hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb"))


def test_a_missing_scene_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "scene.glb").touch()
    config = "./data/scene_datasets/hm3d/hm3d_annotated_basis.scene_dataset_config.json"
    with pytest.raises(DataError, match="hm3d_val_v0.2"):
        check_scene(of_scene(str(tmp_path / "scene.glb"), config))


def test_data_that_are_there_are_not_complained_of(tmp_path: Path) -> None:
    (tmp_path / "val.json.gz").touch()
    check_episodes(SimpleNamespace(data_path=f"{tmp_path}/{{split}}.json.gz", split="val"))
    check_scene(of_scene(str(tmp_path / "val.json.gz"), str(tmp_path / "val.json.gz")))
