"""The Gymnasium policy and the planner node, shown the same and answered the same, decide the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import conformance
import numpy as np
import pytest
import wall_robot as wall
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock

from si_embodied.backends import ScriptedBackend
from si_embodied.geometry import Pose
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.simulator.publishing import CameraPublisher, TransformPublisher
from si_embodied.skills import Drive, Goal, NavigateTo, Rotate
from si_embodied.types import CameraFrame, Code, Execute, Observation, Task

INSTRUCTION = "go to the wall, and look about"
TICK_S, MOST_S = 0.05, 120.0


def answer(*subgoals: dict[str, Any]) -> str:
    return json.dumps({"subgoals": list(subgoals), "done": False})


def goto(u: int, v: int) -> dict[str, Any]:
    return {"skill": "goto", "object": "wall", "view": 0, "point": [u, v]}


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


@dataclass
class Tape:
    """The poses that a robot was seen from, in order, and what was decided."""

    poses: list[Pose] = field(default_factory=list)
    decided: list[Any] = field(default_factory=list)


def seen_from(T_map_base: Pose, stamp_s: float) -> Observation:
    T_map_camera = T_map_base @ wall.T_base_camera
    depth = wall.depth_seen(T_map_camera)
    rgb = np.repeat((depth[..., None] * 20).astype(np.uint8), 3, axis=2)
    return Observation(
        stamp_s, (CameraFrame("head", stamp_s, rgb, depth, wall.CAMERA, T_map_camera),), T_map_base
    )  # fmt: skip


def reached(T_map_base: Pose, goal: Goal) -> Pose:
    """Where a robot without faults is after a goal."""
    if isinstance(goal, NavigateTo):
        return goal.T_map_base
    if isinstance(goal, Rotate):
        return T_map_base @ Pose.planar(0.0, 0.0, goal.angle_rad)
    return T_map_base @ Pose.planar(goal.distance_m, 0.0, 0.0) if isinstance(goal, Drive) else T_map_base


@pytest.fixture(scope="module")
def tape() -> Tape:
    """What the policy sees and decides."""
    settings = NodeSettings()
    spy = conformance.Spy(Planner(ScriptedBackend(SCRIPT), settings.embodiment, settings.planner))
    policy = SpatialPlannerPolicy(spy)
    policy.reset(Task(INSTRUCTION, "navigation"))
    tape, pose, stamp_s, goals = Tape(), Pose.identity(), 1.0, []
    while len(policy.decisions) < len(CODES):
        known = len(policy.decisions)
        policy.act(seen_from(pose, stamp_s))
        for decision in policy.decisions[known:]:
            goals += decision.goals if isinstance(decision, Execute) else ()
        if goals:
            pose = reached(pose, goals.pop(0))
            tape.poses.append(pose)
        stamp_s += 1.0
    tape.decided = [conformance.Decided(*each) for each in zip(policy.decisions, spy.memories, strict=True)][
        : len(CODES)
    ]
    return tape


class Recorded:
    """The robot of the tape over ROS: it shows what was seen, and is where the tape says once it was sent there."""

    def __init__(self, ros: Any, poses: list[Pose]) -> None:
        node = ros.node
        self.pose, self.now_s = Pose.identity(), 1.0
        self.left = list(poses)
        self.asked: list[Pose] = []
        self.clock = node.create_publisher(Clock, "/clock", 10)
        self.camera, self.transforms = CameraPublisher(node, "head"), TransformPublisher(node)
        node.create_subscription(PoseStamped, "goal_pose", self.on_goal, 10)
        node.create_timer(0.02, self.step)
        self.transforms.publish_static(self.now_s, ("base_link", "head_optical_frame", wall.T_base_camera))

    def on_goal(self, message: PoseStamped) -> None:
        self.asked.append(bridge.pose_of_message(message.pose))
        self.pose = self.left.pop(0) if self.left else self.asked[-1]

    def step(self) -> None:
        self.now_s += TICK_S
        message = Clock()
        bridge.set_stamp(message.clock, self.now_s)
        self.clock.publish(message)
        self.transforms.publish(self.now_s, ("map", "base_link", self.pose))
        self.camera.publish(seen_from(self.pose, self.now_s).frames[0], "32FC1")


@pytest.fixture(scope="module")
def node_decided(shared_ros: Any, tape: Tape) -> list[Any]:
    """What the planner node decides, in a process of its own."""
    robot = Recorded(shared_ros, tape.poses)
    parameters = {"script": "\n".join(SCRIPT), "navigation.navigator": "topic"}
    decided = conformance.node_decides(shared_ros, INSTRUCTION, parameters, len(CODES), MOST_S)
    for asked, shown in zip(robot.asked, tape.poses, strict=False):
        assert np.allclose(asked.translation, shown.translation, atol=conformance.SAME_M), "not where the policy went"
    return decided


def test_the_tape_holds_what_it_is_meant_to_hold(tape: Tape) -> None:
    assert [each.decision.record.code for each in tape.decided] == CODES


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_decides_what_the_policy_decides(tape: Tape, node_decided: list[Any], index: int) -> None:
    conformance.assert_same(tape.decided[index].decision, node_decided[index].decision)


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_tells_the_model_what_the_policy_tells_it(
    tape: Tape, node_decided: list[Any], index: int
) -> None:  # fmt: skip
    assert node_decided[index].memory == tape.decided[index].memory
