"""Episodes that a person plays, without a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mujoco")

from si_embodied.data.records import read_conversations
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.steps import StepFolder
from si_embodied.plan import Plan
from si_embodied.play.player import Player
from si_embodied.play.settings import PlaySettings
from si_embodied.skills import Turn

TABLE, APARTMENT = "si_embodied/Tabletop-v0", "si_embodied/Apartment-v0"
MOST_STEPS = 200


def make(env: str, task: str, seed: int, out: Path) -> Player:
    config = EvaluationConfig(env=env, policy="perfect-pixels", task=task, seed=seed, episodes=1)
    return Player(PlaySettings(config, out))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    player = make(TABLE, "base", 3, tmp_path_factory.mktemp("play"))
    yield player
    player.close()


@pytest.fixture(scope="module")
def apartment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    player = make(APARTMENT, "objectnav", 7, tmp_path_factory.mktemp("play"))
    yield player
    player.close()


def play(player: Player) -> None:
    for _ in range(MOST_STEPS):
        if player.status != "acting":
            return
        player.step()


def test_an_instruction_is_carried_out_and_saved_in_the_formats_of_evaluation_and_training(table: Player) -> None:
    table.begin(3)
    own = table.state().instruction
    assert own in table.state().suggestions
    assert table.instruct(f"  {own.upper()}. ") == "the world will say if it succeeds"
    play(table)
    assert table.status == "succeeded"
    told = table.save(success=False)
    folder = Path(told.rpartition(" in ")[2])
    started = json.loads((folder / "records.jsonl").read_text().partition("\n")[0])
    saved = RecordFile(folder / "records.jsonl", started["config"]).episodes[3]
    assert (saved.success, saved.instruction) == (True, own)
    assert [entry.executed for entry in saved.plans] == [True] * len(saved.plans)
    (conversation, *others) = read_conversations(folder / "questions.jsonl")
    assert conversation.turns[-1][0] == "gpt"
    assert conversation.answer.startswith('{"subgoals":[{"skill":"pick"')
    assert own in conversation.question
    assert all((folder / name).is_file() for each in (conversation, *others) for name in each.images)
    kept = StepFolder(folder / "steps").get(3)
    assert kept is not None
    assert len(kept.steps) == len(kept.images["head"]) == saved.steps
    assert kept.steps[-1].success
    assert {step.subgoal.partition(" ")[0] for step in kept.steps} >= {"pick", "place"}


@pytest.mark.slow
def test_another_instruction_is_about_the_same_objects_where_they_lie_now(table: Player) -> None:
    table.begin(3)
    table.instruct(table.state().instruction)
    play(table)
    lying = {each.label: (each.x, each.y) for each in table.moment().outlines}
    other = next(each for each in table.state().suggestions if each.startswith("stack"))
    table.instruct(other)
    after = {each.label: (each.x, each.y) for each in table.moment().outlines}
    assert all(math.dist(lying[name], after[name]) < 0.005 for name in lying)
    play(table)
    assert table.status == "succeeded"


def test_any_other_words_are_played_but_not_measured(table: Player) -> None:
    table.begin(3)
    assert "say so when you save it" in table.instruct("make it look nice")
    assert not table.state().measured
    table.step()
    table.stop()
    assert table.status == "stopped"
    assert "did not succeed" in table.save(success=False)
    assert "that succeeded" in table.save(success=True)


def test_objects_are_moved_unless_something_is_in_the_way(table: Player) -> None:
    table.begin(3)
    things = {each.label: each for each in table.moment().outlines}
    name, other, *_ = (each for each in things if things[each].movable)
    with pytest.raises(ConfigError, match=f"would lie on the {other}"):
        table.move(name, things[other].x - things[name].x, things[other].y - things[name].y)
    with pytest.raises(ConfigError, match="could not reach"):
        table.move(name, 3.0, 0.0)
    with pytest.raises(ConfigError, match="no object called 'table'"):
        table.move("table", 0.1, 0.0)
    moved = _moved_somewhere(table, name)
    after = next(each for each in table.moment().outlines if each.label == name)
    assert after.x - things[name].x == pytest.approx(moved[0], abs=0.01)
    assert after.y - things[name].y == pytest.approx(moved[1], abs=0.01)


def _moved_somewhere(player: Player, name: str) -> tuple[float, float]:
    for x, y in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05), (0.03, 0.03)):
        try:
            player.move(name, x, y)
        except ConfigError:
            continue
        return x, y
    raise AssertionError("no free spot around it")


def test_nothing_moves_while_the_robot_acts_and_nothing_is_saved_before_it_has(table: Player) -> None:
    table.begin(3)
    with pytest.raises(ConfigError, match="no finished episode"):
        table.save(success=True)
    table.instruct(table.state().instruction)
    with pytest.raises(ConfigError, match="stop it before"):
        table.move("anything", 0.1, 0.0)
    table.stop()


def test_another_task_draws_another_table_and_an_unknown_one_changes_nothing(table: Player) -> None:
    table.begin(5, "stack")
    assert (table.state().task, table.state().seed) == ("stack", 5)
    with pytest.raises(LookupError, match="unknown task 'juggle'"):
        table.begin(5, "juggle")
    assert table.state().task == "stack"
    table.begin(3, "base")


@pytest.mark.slow
def test_the_robot_goes_on_from_where_it_is(apartment: Player) -> None:
    start = apartment.moment().observation.T_map_base
    apartment.act(Plan(subgoals=(Turn(degrees=90),), done=False))
    while apartment.status == "acting":
        apartment.step()
    apartment.stop()
    there = apartment.moment().observation.T_map_base
    assert there.yaw - start.yaw == pytest.approx(math.pi / 2, abs=0.01)
    other = next(each for each in apartment.state().suggestions if each != apartment.state().instruction)
    apartment.instruct(other)
    assert apartment.moment().observation.T_map_base.matrix() == pytest.approx(there.matrix())
    assert apartment.state().measured
    apartment.step()
    apartment.stop()


def test_driving_by_hand_begins_an_episode_and_is_a_demonstration(apartment: Player) -> None:
    before = apartment.moment().observation.T_map_base
    apartment.act(Plan(subgoals=(Turn(degrees=15),), done=False))
    for _ in range(5):
        apartment.step()
    assert apartment.status == "your turn"
    assert apartment.moment().observation.T_map_base.yaw - before.yaw == pytest.approx(math.radians(15), abs=1e-6)
    apartment.act(Plan(subgoals=(), done=True))
    play(apartment)
    assert apartment.status == "failed", "it is not where it was to go"
    folder = Path(apartment.save(success=True).rpartition(" in ")[2])
    answers = [each.answer for each in read_conversations(folder / "questions.jsonl")]
    assert answers == [
        '{"subgoals":[{"skill":"turn","degrees":15}],"done":false}',
        '{"subgoals":[],"done":true}',
    ]
    assert '"by_hand": true' in (folder / "records.jsonl").read_text()


@pytest.mark.slow
def test_furniture_is_moved_with_everything_that_depends_on_it(apartment: Player) -> None:
    before = {each.label: each for each in apartment.moment().outlines if each.movable}
    for name, thing in before.items():
        for x, y in ((0.25, 0.0), (-0.25, 0.0), (0.0, 0.25), (0.0, -0.25)):
            try:
                apartment.move(name, x, y)
            except ConfigError:
                continue
            after = next(each for each in apartment.moment().outlines if each.label == name)
            assert (after.x - thing.x, after.y - thing.y) == (pytest.approx(x, abs=2e-3), pytest.approx(y, abs=2e-3))
            return
    raise AssertionError("no furniture could be moved")


def test_furniture_stays_out_of_walls_other_furniture_and_the_robot(apartment: Player) -> None:
    apartment.begin(7)
    things = {each.label: each for each in apartment.moment().outlines if each.movable}
    first, second, *_ = things
    with pytest.raises(ConfigError, match=r"would stand in a wall|would stand in the"):
        apartment.move(first, 15.0, 15.0)
    with pytest.raises(ConfigError, match="would stand in the"):
        apartment.move(first, things[second].x - things[first].x, things[second].y - things[first].y)
    x, y, _ = apartment.moment().observation.T_map_base.translation
    with pytest.raises(ConfigError, match=r"where the robot is|would stand in"):
        apartment.move(first, x - things[first].x, y - things[first].y)
    with pytest.raises(ConfigError, match="no furniture called"):
        apartment.move("piano of gold", 0.1, 0.0)


def test_a_policy_that_takes_no_instructions_cannot_be_played(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--policy planner or perfect-pixels, got: 'random'"):
        Player(PlaySettings(EvaluationConfig(env=TABLE, policy="random"), tmp_path))
