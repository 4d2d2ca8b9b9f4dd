"""The Gymnasium policy and the planner node of an arm, shown the same table and answered the same, decide the same."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import conformance
import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the simulated table needs the extra sim")

import gymnasium
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64

import si_embodied.envs  # noqa: F401 - registers the environments
from si_embodied.arm_actions import decode_pose
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.evaluation.registry import observe
from si_embodied.geometry import Pose
from si_embodied.planner import Planner
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.simulator.outcomes import OutcomePublisher
from si_embodied.ros_nodes.simulator.publishing import CameraPublisher, TransformPublisher, optical_frame
from si_embodied.skills import Finish, GoHome, Grasp, Release
from si_embodied.types import Code, Execute, Hold, Observation, Outcome, Prompt, Task

SEED, IMAGE_PX = 3, 224
SAME_M = 1e-5
"""Of a support, a few points lie on grounding's thresholds, where the last bit of a pose decides whether they count."""
TICK_S, MOST_S, MOST_MOTIONS = 0.05, 180.0, 60


def answer(*subgoals: dict[str, Any]) -> Callable[[Prompt], str]:
    """What the model says: subgoals, which point at the head camera's present view."""

    def text(prompt: Prompt) -> str:
        (number,) = (number for number, view in prompt.views.items() if view == 0)
        pointing = [{**each, "view": number} if "point" in each else each for each in subgoals]
        return json.dumps({"subgoals": pointing, "done": False})

    return text


FIRST: list[Callable[[Prompt], str]] = [
    lambda _: "I think", lambda _: "still",  # twice no plan
    answer({"skill": "home"}),
    answer(),  # empty
    answer({"skill": "pick", "object": "cloud", "point": [500, 2]}),  # the room behind is too wide
    answer({"skill": "place", "object": "cloud", "point": [500, 2]}),  # and too far
]  # fmt: skip
REFUSED = [Code.PLAN_INVALID, Code.OK, Code.EMPTY_PLAN, Code.NO_GRASP, Code.OUT_OF_WORKSPACE]
CODES = [*REFUSED, *[Code.OK] * 3]  # and what perfect pixels say: pick, place, done


@dataclass
class Tape:
    """What a policy saw after each motion of its arm, the motions, and what was decided."""

    task: Task
    settings: NodeSettings
    seen: list[Observation]
    motions: list[tuple[Pose, float]] = field(default_factory=list)  # T_map_tool, metres between the pads
    decided: list[Any] = field(default_factory=list)

    @property
    def answers(self) -> list[str]:
        return [text for each in self.decided for text in each.decision.record.raw_text]


@pytest.fixture(scope="module", params=["manip/v1", "manip/v2"])
def tape(request: pytest.FixtureRequest) -> Iterator[Tape]:
    """An episode at the simulated table, which stands still while a decision is refused; manip/v2 shows the memory."""
    env = gymnasium.make("si_embodied/Tabletop-v0", image_size=IMAGE_PX, disable_env_checker=True)
    try:
        yield played(env, request.param)
    finally:
        env.close()


def played(env: gymnasium.Env[Any, Any], prompt: str) -> Tape:
    raw, _ = env.reset(seed=SEED)
    cameras = tuple(env.unwrapped.embodiment.cameras)
    config = PlannerConfig(prompts=Prompts(manipulation=prompt))
    settings = NodeSettings(kind="manipulation", cameras=cameras, planner=config)
    perfect, first = perfect_pixels_backend(env), list(FIRST)

    def complete(prompt: Prompt) -> str:
        return first.pop(0)(prompt) if first else perfect.generate(prompt, deadline_s=MOST_S).text

    spy = conformance.Spy(Planner(ScriptedBackend(complete), settings.embodiment, settings.planner))
    policy = SpatialPlannerPolicy(spy)
    tape = Tape(Task(str(raw["instruction"]), "manipulation"), settings, [seen(raw, cameras)])
    policy.reset(tape.task)
    stamp_s = tape.seen[0].stamp_s
    numbers: dict[float, int] = {}  # of the observation seen, by its stamp
    while len(tape.motions) < MOST_MOTIONS:
        known = len(policy.decisions)
        stamp_s += 1.0
        numbers[stamp_s] = len(tape.seen) - 1
        action = policy.act(restamped(tape.seen[-1], stamp_s))
        if any(isinstance(decision, Hold) for decision in policy.decisions[known:]):
            continue
        if any(isinstance(decision, Execute) and decision.plan.done for decision in policy.decisions[known:]):
            break
        tool, opening = decode_pose(action)
        tape.motions.append((tool, opening * settings.arm.max_opening_m))
        tape.seen.append(seen(env.step(action)[0], cameras))
    tape.decided = spy.decided(policy.decisions, lambda view: numbers[view.stamp_s])
    return tape


def seen(raw: dict[str, Any], cameras: tuple[str, ...]) -> Observation:
    """As over ROS, where a rotation is a quaternion and so orthonormal beyond the float32 of the environment."""
    observation = observe(raw, cameras)
    assert observation.arm is not None
    return dataclasses.replace(
        observation,
        frames=tuple(
            dataclasses.replace(frame, T_map_camera=rigid(frame.T_map_camera)) for frame in observation.frames
        ),
        T_map_base=rigid(observation.T_map_base),
        arm=dataclasses.replace(observation.arm, T_map_tool=rigid(observation.arm.T_map_tool)),
    )


def rigid(pose: Pose) -> Pose:
    return Pose.from_quaternion(pose.quaternion(), pose.translation)


def restamped(observation: Observation, stamp_s: float) -> Observation:
    frames = tuple(dataclasses.replace(frame, stamp_s=stamp_s) for frame in observation.frames)
    return dataclasses.replace(observation, stamp_s=stamp_s, frames=frames)


class Recorded:
    """The arm of the tape over ROS: it shows what was seen, and after each motion what was seen after that one."""

    def __init__(self, ros: Any, tape: Tape) -> None:
        node = ros.node
        self.tape, self.now_s = tape, 1.0
        self.numbers: dict[float, int] = {}  # of the observation shown, by its stamp
        self.asked: list[tuple[Pose, float]] = []
        self.opening_m = math.nan
        self.ticks = 0  # since the motion under way began
        self.clock = node.create_publisher(Clock, "/clock", 10)
        self.cameras = {frame.name: CameraPublisher(node, frame.name) for frame in tape.seen[0].frames}
        self.transforms = TransformPublisher(node)
        self.gripper = node.create_publisher(Float64, "gripper/opening", 10)
        self.outcomes = OutcomePublisher(node, "arm/outcome")
        node.create_subscription(Float64, "gripper/goal", self.on_opening, 10)
        node.create_subscription(PoseStamped, "arm/goal", self.on_goal, 10)
        self.transforms.publish_static(
            self.now_s,
            ("map", "base_link", tape.seen[0].T_map_base),
            *(("map", optical_frame(frame.name), frame.T_map_camera) for frame in tape.seen[0].frames),
        )
        node.create_timer(0.02, self.step)

    def on_opening(self, message: Float64) -> None:
        self.opening_m = message.data

    def on_goal(self, message: PoseStamped) -> None:
        self.asked.append((bridge.pose_of_message(message.pose), self.opening_m))
        self.outcomes.begin(message.header.stamp)
        self.ticks = 0

    def step(self) -> None:
        self.now_s += TICK_S
        message = Clock()
        bridge.set_stamp(message.clock, self.now_s)
        self.clock.publish(message)
        number = min(len(self.asked), len(self.tape.seen) - 1)
        self.numbers[bridge.seconds(message.clock)] = number
        now = restamped(self.tape.seen[number], self.now_s)
        assert now.arm is not None
        self.transforms.publish(self.now_s, ("map", "tool", now.arm.T_map_tool))
        self.gripper.publish(Float64(data=now.arm.gripper_opening_m))
        for frame in now.frames:
            self.cameras[frame.name].publish(frame, "32FC1")
        self.ticks += 1
        if self.ticks == 10:  # what is seen after the motion has been shown for a while
            self.outcomes.ended(Outcome(Code.OK))


@pytest.fixture(scope="module")
def node_decided(new_ros: Any, tape: Tape) -> list[Any]:
    """What the planner node decides, in a process of its own."""
    parameters = {
        "kind": "manipulation", "cameras": list(tape.settings.cameras), "script": "\n".join(tape.answers),
        "planner.prompts.manipulation": tape.settings.planner.prompts.manipulation,
    }  # fmt: skip
    with new_ros() as ros:
        robot = Recorded(ros, tape)
        shows = lambda view: robot.numbers[view.stamp_s]  # noqa: E731
        decided = conformance.node_decides(ros, tape.task.instruction, parameters, len(CODES), MOST_S, shows)
    assert len(robot.asked) == len(tape.motions)
    for (tool, opening_m), (wanted, wanted_m) in zip(robot.asked, tape.motions, strict=True):
        assert np.allclose(tool.matrix(), wanted.matrix(), rtol=0, atol=SAME_M)
        assert opening_m == pytest.approx(wanted_m, abs=SAME_M)
    return decided


def test_the_tape_holds_what_it_is_meant_to_hold(tape: Tape) -> None:
    assert [each.decision.record.code for each in tape.decided] == CODES
    goals = [each.decision.goals for each in tape.decided if isinstance(each.decision, Execute)]
    assert [type(goal) for each in goals for goal in each] == [GoHome, Grasp, Release, Finish]
    remembering = tape.settings.planner.prompts.manipulation == "manip/v2"
    assert (len(tape.decided[-1].views), len(tape.decided[-1].objects)) == ((2, 1) if remembering else (0, 0))


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_decides_what_the_policy_decides(tape: Tape, node_decided: list[Any], index: int) -> None:
    conformance.assert_same(tape.decided[index].decision, node_decided[index].decision, within_m=SAME_M)


@pytest.mark.parametrize("index", range(len(CODES)))
def test_the_node_tells_the_model_what_the_policy_tells_it(tape: Tape, node_decided: list[Any], index: int) -> None:
    conformance.assert_same_memory(tape.decided[index], node_decided[index], within_m=SAME_M)
