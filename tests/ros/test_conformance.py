"""The Gymnasium policy and the planner node, shown the same and answered the same, decide the same.

The prompt shows the present view alone, as Image-1: `test_conformance_memory` is about the earlier ones.
"""

from __future__ import annotations

import json
from typing import Any

import conformance
import pytest
from wall_tape import Recorded, Tape, played

from si_embodied.config import MemoryConfig, PlannerConfig
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.types import Code

INSTRUCTION = "go to the wall, and look about"
MOST_S = 120.0


def answer(*subgoals: dict[str, Any]) -> str:
    return json.dumps({"subgoals": list(subgoals), "done": False})


def goto(u: int, v: int) -> dict[str, Any]:
    return {"skill": "goto", "object": "wall", "view": 1, "point": [u, v]}


TURN_LEFT, TURN_RIGHT = {"skill": "turn", "degrees": 90}, {"skill": "turn", "degrees": -90}
FORWARD = {"skill": "forward", "centimetres": 50}
SHORT = {"skill": "forward", "centimetres": 25}  # there is no room for more beside the wall
SKY = (100, 100)  # above the horizon, where there is no wall

SCRIPT = [
    answer(goto(420, 480)),
    answer(TURN_LEFT, FORWARD),  # the second counts from where the first ends
    answer(goto(*SKY)),  # no depth
    answer(SHORT, goto(*SKY)),  # what comes before the refused stands
    "I think I should turn.", answer(TURN_RIGHT),  # mended
    "I think", "still",  # twice no plan
    answer(),  # empty
    *[answer(goto(500, 500))] * 4,  # again and again, from the same place
    answer(TURN_RIGHT, TURN_RIGHT),
    answer({"skill": "explore"}),
]  # fmt: skip
CODES = [
    Code.OK, Code.OK, Code.DEPTH_INVALID, Code.OK, Code.OK, Code.PLAN_INVALID, Code.EMPTY_PLAN,
    Code.OK, Code.OK, Code.OK, Code.REPETITION, Code.OK, Code.OK,
]  # fmt: skip


@pytest.fixture(scope="module")
def tape() -> Tape:
    """What the policy sees and decides."""
    left = list(SCRIPT)
    settings = NodeSettings(planner=PlannerConfig(memory=MemoryConfig(keyframes=0)))
    return played(settings, INSTRUCTION, lambda _: left.pop(0) if len(left) > 1 else left[0], len(CODES))


@pytest.fixture(scope="module")
def node_decided(shared_ros: Any, tape: Tape) -> list[Any]:
    """What the planner node decides, in a process of its own."""
    robot = Recorded(shared_ros, tape)
    parameters = {"script": "\n".join(SCRIPT), "navigation.navigator": "topic", "planner.memory.keyframes": 0}
    return conformance.node_follows(shared_ros, robot, tape.poses, INSTRUCTION, parameters, len(CODES), MOST_S)


def test_the_tape_holds_what_it_is_meant_to_hold(tape: Tape) -> None:
    assert [each.decision.record.code for each in tape.decided] == CODES


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_decides_what_the_policy_decides(tape: Tape, node_decided: list[Any], index: int) -> None:
    conformance.assert_same(tape.decided[index].decision, node_decided[index].decision)


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_tells_the_model_what_the_policy_tells_it(
    tape: Tape, node_decided: list[Any], index: int
) -> None:  # fmt: skip
    conformance.assert_same_memory(tape.decided[index], node_decided[index])
