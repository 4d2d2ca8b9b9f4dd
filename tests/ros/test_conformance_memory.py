"""The policy and the planner node remember the same views and objects, and decide the same from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import conformance
import pytest
from wall_tape import Recorded, Tape, played

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.types import Code, Prompt

INSTRUCTION = "go back to the wall that you have seen"
MOST_S = 200.0
WAITS_S = 3.0
"""The node looks once a second while a goal is carried out, and a busy machine less often."""
WALL, SKY, FLOOR, MIDDLE = (420, 480), (100, 100), (500, 900), (500, 500)
START = Pose.planar(0.13, 0.21, 0.1)
"""Nowhere special: which of two views shows more must not depend on the last bit of a pose."""
OLDEST, THIRD, NEWEST = 1, 3, -1  # of the remembered views, as they follow the present one

Answer = Callable[[Prompt], str]


def answer(*subgoals: dict[str, Any]) -> Answer:
    return lambda _: json.dumps({"subgoals": list(subgoals), "done": False})


def goto(which: int, point: tuple[int, int], name: str = "wall") -> Answer:
    """Point at a remembered view."""

    def at(prompt: Prompt) -> str:
        number = {view: number for number, view in prompt.views.items()}
        view = number[which if which >= 0 else len(number) - 1]
        return answer({"skill": "goto", "object": name, "view": view, "point": list(point)})(prompt)

    return at


LOOK_AROUND, TURN = answer({"skill": "look_around"}), answer({"skill": "turn", "degrees": 120})
SCRIPT: list[tuple[Answer, Code]] = [  # each goal moves the base: a policy plans again on the same image if it does not
    (LOOK_AROUND, Code.OK),
    (TURN, Code.OK),
    (goto(OLDEST, WALL), Code.OK),  # behind the robot by now
    (TURN, Code.OK),
    (goto(NEWEST, MIDDLE), Code.OK),  # the same wall, seen once more
    (goto(THIRD, SKY), Code.DEPTH_INVALID),  # that view is away from the wall
    (TURN, Code.OK),
    (answer({"skill": "navigate", "object": "wall"}), Code.OK),
    (answer({"skill": "navigate", "object": "sofa"}), Code.PLAN_INVALID),
    (LOOK_AROUND, Code.OK),  # there are more views than are remembered
    (TURN, Code.OK),
    (goto(NEWEST, FLOOR, "floor"), Code.OK),
    (TURN, Code.OK),
]
CODES = [code for _, code in SCRIPT]
SETTINGS = NodeSettings()


@pytest.fixture(scope="module")
def tape() -> Tape:
    """What the policy sees, decides and remembers."""
    left = [each for each, _ in SCRIPT]

    def say(prompt: Prompt) -> str:
        return (left.pop(0) if len(left) > 1 else left[0])(prompt)  # the policy may ask once more than it is looked at

    return played(SETTINGS, INSTRUCTION, say, len(CODES), Tape(START))


@pytest.fixture(scope="module")
def node_decided(shared_ros: Any, tape: Tape) -> list[conformance.Decided]:
    """What the planner node decides and remembers, in a process of its own."""
    robot = Recorded(shared_ros, tape, waits_s=WAITS_S)
    parameters = {
        "script": "\n".join(tape.answers), "navigation.navigator": "topic",
        "frozen_travel_m": 0.0,  # looking away from the wall, every view is the same
        "navigation.stuck_s": 60.0, "planner.guard.max_observation_age_s": 5.0,  # however busy the machine is
    }  # fmt: skip
    return conformance.node_follows(shared_ros, robot, tape.poses, INSTRUCTION, parameters, len(CODES), MOST_S)


def test_the_tape_holds_what_it_is_meant_to_hold(tape: Tape) -> None:
    assert [each.decision.record.code for each in tape.decided] == CODES
    assert max(len(each.views) for each in tape.decided) > SETTINGS.planner.memory.keyframes, "and the latest plan's"
    known = {(seen.name, seen.sightings) for each in tape.decided for seen in each.objects}
    assert known == {("wall", 1), ("wall", 2), ("floor", 1)}


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_decides_what_the_policy_decides(
    tape: Tape, node_decided: list[conformance.Decided], index: int
) -> None:
    conformance.assert_same(tape.decided[index].decision, node_decided[index].decision)


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_remembers_what_the_policy_remembers(
    tape: Tape, node_decided: list[conformance.Decided], index: int
) -> None:
    conformance.assert_same_memory(tape.decided[index], node_decided[index])
