"""Our worlds under EmbodiedBench's rules: actions, limits, feedback, pictures, and the oracle's answers."""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from si_embodied.arm_actions import encode_discrete
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.benchmarking.embodied.house import ProtocolRearrange
from si_embodied.benchmarking.embodied.oracle import oracle_backend
from si_embodied.benchmarking.embodied.pictures import pixels
from si_embodied.benchmarking.embodied.policy import ProtocolPolicy
from si_embodied.benchmarking.embodied.prompts import load_prompter
from si_embodied.benchmarking.embodied.situation import INVALID, QUIT
from si_embodied.benchmarking.embodied.table import MAX_STEPS, ProtocolTabletop, levels_of
from si_embodied.benchmarking.embodied.worlds import ProtocolWorld
from si_embodied.envs.habitat.rearrange import MAX_INVALID
from si_embodied.errors import AnswerCutOff, BackendError, PromptTooLong, UnknownNameError
from si_embodied.evaluation.episode import EpisodeResult, run_episode
from si_embodied.evaluation.registry import observe
from si_embodied.types import Code, Prompt

ABOVE = [50, 50, 40, 120, 60, 60, 1]
PX = 64


@pytest.fixture
def table() -> Iterator[ProtocolTabletop]:
    world = ProtocolTabletop("base", image_size=PX)
    world.reset(seed=70_002)
    yield world
    world.close()


@pytest.fixture
def house() -> Iterator[ProtocolRearrange]:
    world = ProtocolRearrange("base", image_size=PX)
    world.reset(seed=70_000)
    yield world
    world.close()


def play(world: ProtocolWorld, *answers: Any, seed: int) -> EpisodeResult:
    """Play an episode with these answers, the last of which repeats."""
    texts = itertools.chain(answers, itertools.repeat(answers[-1]))
    backend = ScriptedBackend(
        lambda _: text if isinstance(text := next(texts), str) else json.dumps({"executable_plan": text})
    )
    prompter = load_prompter("manipulation" if world.kind == "manipulation" else "rearrangement")
    return run_episode(world, ProtocolPolicy(backend, world, prompter), seed, observe=observe)


# --- the Tabletop -----------------------------------------------------------------------------------------------------


def test_an_action_moves_the_tool_to_its_centimetres_and_degrees(table: ProtocolTabletop) -> None:
    table.step(np.array(ABOVE))
    tool = table.inner.world.controller.tool
    # The workspace's lowest corner is (0, -0.62, 0.60); 120, 60, 60 are 180, 0 and 0 degrees: straight down.
    assert tool.translation == pytest.approx([0.50, -0.12, 1.00], abs=0.006)
    assert tool.rotation[:, 2] == pytest.approx([0, 0, -1], abs=0.05)


def test_the_gripper_closes_after_the_tool_has_moved(table: ProtocolTabletop) -> None:
    """Closing on the way down would push the object aside."""
    step = table.inner.ground_truth.next_step()
    x, y, z = levels_of(step.position_m)
    yaw = round((step.yaw_rad + np.pi) / np.radians(3))
    table.step(np.array([x, y, z + 12, 120, 60, yaw, 1]))
    table.step(np.array([x, y, z, 120, 60, yaw, 0]))
    assert table.inner.world.fingers_on(step.object_name) == 2
    assert table.count.invalid == 0


@pytest.mark.parametrize("action", [[50, 50, 40, 120, 60, 60], [101, *ABOVE[1:]], [-1, *ABOVE[1:]], [50.5, *ABOVE[1:]]])
def test_an_action_that_is_not_seven_integers_in_range_is_invalid_and_moves_nothing(
    action: list[float], table: ProtocolTabletop
) -> None:
    before = table.inner.world.controller.tool.translation
    _, _, terminated, truncated, info = table.step(np.array(action))
    assert (info["invalid_actions"], info["environment_steps"], terminated, truncated) == (1, 1, False, False)
    assert table.inner.world.controller.tool.translation == pytest.approx(before, abs=1e-9)
    assert "the arm did not move" in table.count.past[-1].feedback


def test_a_pose_out_of_reach_is_invalid(table: ProtocolTabletop) -> None:
    table.step(np.array([100, 100, 100, 120, 60, 60, 1]))
    assert table.count.invalid == 1
    assert "did not reach" in table.count.past[-1].feedback


def test_an_answer_that_is_no_plan_takes_a_step_in_which_nothing_moves(table: ProtocolTabletop) -> None:
    before = table.inner.world.controller.tool.translation
    *_, info = table.step(INVALID)
    assert (info["invalid_actions"], info["environment_steps"]) == (1, 1)
    assert table.inner.world.controller.tool.translation == pytest.approx(before, abs=1e-9)


def test_fifteen_answers_that_are_no_plan_end_the_episode_without_a_motion(table: ProtocolTabletop) -> None:
    result = play(table, "I cannot do that", seed=70_002)
    assert (result.ended, result.success, result.steps) == ("truncated", False, MAX_STEPS)
    assert [plan.record.code for plan in result.plans] == [Code.PLAN_INVALID] * MAX_STEPS
    assert result.simulated_s == 0.0
    assert result.metrics["invalid_actions"] == result.metrics["actions"] == MAX_STEPS


def test_an_answer_that_does_not_end_is_no_plan_but_a_failing_model_is_nobodys_answer(table: ProtocolTabletop) -> None:
    def fail(error: BackendError) -> EpisodeResult:
        def complete(_: Prompt) -> str:
            raise error

        policy = ProtocolPolicy(ScriptedBackend(complete), table, load_prompter("manipulation"))
        return run_episode(table, policy, 70_002, observe=observe)

    result = fail(AnswerCutOff("cut off at max_tokens=9"))
    assert {plan.record.code for plan in result.plans} == {Code.PLAN_INVALID}
    with pytest.raises(BackendError, match="connection"):
        fail(BackendError("no connection"))


def test_a_past_that_does_not_fit_the_context_is_halved(table: ProtocolTabletop) -> None:
    def complete(prompt: Prompt) -> str:
        if "3. [" in prompt.text:
            raise PromptTooLong("three are too many")
        return json.dumps({"executable_plan": [ABOVE]})

    policy = ProtocolPolicy(ScriptedBackend(complete), table, load_prompter("manipulation"))
    result = run_episode(table, policy, 70_002, observe=observe)
    assert [plan.record.shortened for plan in result.plans[:7]] == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
    ]  # 5 leave 2; 6 leave 3, and then 1
    assert result.metrics["environment_steps"] == MAX_STEPS


def test_a_plan_is_carried_out_whole_before_the_next_answer(table: ProtocolTabletop) -> None:
    result = play(table, [ABOVE, [1, 2], [*ABOVE[:2], 41, *ABOVE[3:]]], seed=70_002)
    assert (len(result.plans), result.metrics["environment_steps"]) == (5, MAX_STEPS)
    assert result.metrics["invalid_actions"] == 5


def test_an_empty_plan_ends_the_episode(table: ProtocolTabletop) -> None:
    result = play(table, [], seed=70_002)
    assert (result.ended, result.metrics["empty_plan"], result.metrics["environment_steps"]) == ("truncated", 1, 0)


def test_objects_are_listed_by_rising_y_with_their_positions_and_boxes(table: ProtocolTabletop) -> None:
    listed = ast.literal_eval(table.situation().objects)
    assert list(listed) == [f"object {k}" for k in range(1, len(listed) + 1)]
    assert [y for _, y, _ in listed.values()] == sorted(y for _, y, _ in listed.values())
    scene = table.inner.world.scene
    expected = [table.inner.world.pose(item.name).translation for item in scene.objects]
    expected += [np.array([c.x_m, c.y_m, 0.7]) for c in scene.containers]
    assert sorted(tuple(xyz[:2]) for xyz in listed.values()) == sorted(
        (round(100 * x), round(100 * (y + 0.62))) for x, y, _ in expected
    )


def test_boxes_and_axes_are_drawn_where_the_objects_are(table: ProtocolTabletop) -> None:
    frame, drawn = table.inner.last_frames[0], table.situation().picture
    changed = np.argwhere((drawn != frame.rgb).any(axis=2))[:, ::-1]
    name = table.inner.world.scene.objects[0].name
    low, high = (pick(pixels(frame, table.inner.world.corners(name)), axis=0) for pick in (np.min, np.max))
    around = (
        (np.abs(changed - low) < 4).any(axis=1) & (changed > low - 4).all(axis=1) & (changed < high + 4).all(axis=1)
    )
    assert around.sum() > 8
    axes = pixels(frame, np.array([[0.85, -0.45, 0.70]]))[0]
    assert np.abs(changed - axes).max(axis=1).min() <= 2


def test_feedback_reaches_the_next_prompt(table: ProtocolTabletop) -> None:
    table.step(np.array([1, 2]))
    table.step(INVALID)
    first, second = table.situation().past
    assert first.action == "[1, 2]"
    assert first.feedback.endswith("Step 1 of 15")
    assert "not a plan" in second.feedback


def test_common_sense_names_neither_the_object_nor_the_container() -> None:
    world = ProtocolTabletop("common_sense", image_size=PX)
    raw, _ = world.reset(seed=70_001)
    item, container = world.inner.episode.conditions[0].object, world.inner.world.scene.containers[0]
    assert item == "green cube"
    assert raw["instruction"] == (
        "put the thing that is shaped like a die and has the colour of grass into what waste paper is thrown into"
    )
    assert container.kind == "bin"
    world.close()


def test_the_seed_chooses_among_a_subsets_tasks() -> None:
    world = ProtocolTabletop("base", image_size=PX)
    tasks = []
    for seed in (3, 4, 5):
        world.reset(seed=seed)
        tasks.append(world.task)
    world.close()
    assert tasks == ["base", "stack", "sort"]


def test_an_unknown_subset_is_rejected() -> None:
    with pytest.raises(UnknownNameError, match="spatial"):
        ProtocolTabletop("spacial")
    with pytest.raises(UnknownNameError, match="long_horizon"):
        ProtocolRearrange("spatial")


@pytest.mark.parametrize("subset", ["base", "common_sense", "complex", "visual", "spatial"])
def test_the_oracles_answers_in_the_format_fulfil_the_task(subset: str) -> None:
    """Decodes actions, listing and limits in one: the answers go through prompt, parser and world."""
    world = ProtocolTabletop(subset, image_size=PX)
    policy = ProtocolPolicy(oracle_backend(world), world, load_prompter("manipulation"))
    result = run_episode(world, policy, 70_001, observe=observe)
    world.close()
    assert result.success
    assert result.metrics["invalid_actions"] == 0


def test_encoding_and_listing_agree(table: ProtocolTabletop) -> None:
    tool = table.inner.world.controller.tool
    assert levels_of(tool.translation) == encode_discrete(tool, 1.0, table.inner.embodiment)[:3].tolist()


# --- the Rearrange world ----------------------------------------------------------------------------------------------


def ids(*numbers: int) -> list[dict[str, int]]:
    return [{"action_id": number} for number in numbers]


def test_a_failed_skill_takes_a_step_and_ends_the_plan(house: ProtocolRearrange) -> None:
    verbs = [skill.verb for skill in house.inner.skills]
    place, navigate = verbs.index("place"), verbs.index("navigate")
    result = play(house, ids(place, navigate), ids(navigate), seed=70_000)
    assert result.metrics["invalid_actions"] == 1
    assert result.metrics["environment_steps"] == 30
    assert len(result.plans) == 30  # one for the failed plan, then one for each navigation


def test_answers_that_are_no_plan_take_no_step_and_ten_of_them_end_the_episode(house: ProtocolRearrange) -> None:
    result = play(house, "no", seed=70_000)
    assert len(result.plans) == MAX_INVALID
    assert result.metrics["environment_steps"] == 0
    assert result.metrics["invalid_actions"] == result.metrics["actions"] == MAX_INVALID


def test_an_unknown_action_id_counts_as_invalid_but_not_as_an_output_error(house: ProtocolRearrange) -> None:
    result = play(house, ids(99), seed=70_000)
    assert result.metrics["invalid_actions"] == MAX_INVALID
    assert {plan.record.code for plan in result.plans} == {Code.OK}


def test_the_oracles_answers_put_things_where_they_belong(house: ProtocolRearrange) -> None:
    policy = ProtocolPolicy(oracle_backend(house), house, load_prompter("rearrangement"))
    result = run_episode(house, policy, 70_001, observe=observe)
    assert (result.task, result.success, result.metrics["progress"]) == ("store", True, 1.0)


def test_quitting_ends_the_episode(house: ProtocolRearrange) -> None:
    *_, truncated, info = house.step(QUIT)
    assert truncated
    assert info["empty_plan"] == 1
