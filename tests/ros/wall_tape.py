"""What a policy saw and decided before the wall, and a robot that shows the same to the planner node."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import conformance
import numpy as np
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
from si_embodied.types import CameraFrame, Execute, Observation, Prompt, Task

TICK_S = 0.05


@dataclass
class Tape:
    """The poses that a robot was seen from, in order, and what was decided."""

    start: Pose = field(default_factory=Pose.identity)
    poses: list[Pose] = field(default_factory=list)  # after each motion
    decided: list[conformance.Decided] = field(default_factory=list)

    @property
    def answers(self) -> list[str]:
        """What the model said, in order."""
        return [text for each in self.decided for text in each.decision.record.raw_text]


def played(
    settings: NodeSettings, instruction: str, answer: Callable[[Prompt], str], count: int, tape: Tape | None = None
) -> Tape:
    """What the policy sees, and its first decisions; `tape` may say where it starts."""
    tape = tape or Tape()
    spy = conformance.Spy(Planner(ScriptedBackend(answer), settings.embodiment, settings.planner))
    policy = SpatialPlannerPolicy(spy)
    policy.reset(Task(instruction, "navigation"))
    pose, stamp_s = tape.start, 1.0
    motions: list[Goal] = []
    seen: dict[float, Pose] = {}
    while len(policy.decisions) < count:
        known = len(policy.decisions)
        seen[stamp_s] = pose
        policy.act(seen_from(pose, stamp_s))
        for decision in policy.decisions[known:]:
            goals = decision.goals if isinstance(decision, Execute) else ()
            motions += [part for goal in goals for part in parts(goal, settings.robot.look_step_rad)]
        if motions:
            pose = reached(pose, motions.pop(0))
            tape.poses.append(pose)
        stamp_s += 1.0
    tape.decided = spy.decided(policy.decisions, lambda view: seen[view.stamp_s])[:count]
    return tape


def seen_from(T_map_base: Pose, stamp_s: float) -> Observation:
    """The wall from there."""
    T_map_camera = T_map_base @ wall.T_base_camera
    depth = wall.depth_seen(T_map_camera)
    rgb = np.repeat((depth[..., None] * 20).astype(np.uint8), 3, axis=2)
    return Observation(
        stamp_s, (CameraFrame("head", stamp_s, rgb, depth, wall.CAMERA, T_map_camera),), T_map_base
    )  # fmt: skip


def parts(goal: Goal, look_step_rad: float) -> list[Goal]:
    """The motions between two looks at the robot: several, of a turn of more than half a circle."""
    if not isinstance(goal, Rotate) or abs(goal.angle_rad) <= math.pi:
        return [goal]
    count = math.ceil(abs(goal.angle_rad) / look_step_rad)
    return [Rotate(goal.angle_rad / count)] * count


def reached(T_map_base: Pose, goal: Goal) -> Pose:
    """Where a robot without faults is after a goal."""
    if isinstance(goal, NavigateTo):
        return goal.T_map_base
    if isinstance(goal, Rotate):
        return T_map_base @ Pose.planar(0.0, 0.0, goal.angle_rad)
    return T_map_base @ Pose.planar(goal.distance_m, 0.0, 0.0) if isinstance(goal, Drive) else T_map_base


class Recorded:
    """The robot of the tape over ROS: it shows what was seen, and is where the tape says once it was sent there."""

    def __init__(self, ros: Any, tape: Tape, *, waits_s: float = 0.0) -> None:
        """It stays for `waits_s` after a goal has come, so that the node looks, unless it is there already."""
        node = ros.node
        self.pose, self.now_s, self.waits_s = tape.start, 1.0, waits_s
        self.left = list(tape.poses)
        self.asked: list[Pose] = []
        self.seen: dict[float, Pose] = {}  # by the stamp of the image
        self.next: tuple[float, Pose] | None = None  # from when on, and where
        self.clock = node.create_publisher(Clock, "/clock", 10)
        self.camera, self.transforms = CameraPublisher(node, "head"), TransformPublisher(node)
        node.create_subscription(PoseStamped, "goal_pose", self.on_goal, 10)
        node.create_timer(0.02, self.step)
        self.transforms.publish_static(self.now_s, ("base_link", "head_optical_frame", wall.T_base_camera))

    def on_goal(self, message: PoseStamped) -> None:
        self.asked.append(bridge.pose_of_message(message.pose))
        pose = self.left.pop(0) if self.left else self.asked[-1]
        there = np.allclose(pose.matrix(), self.pose.matrix(), rtol=0, atol=0.25)  # the navigator's tolerance, and more
        self.next = (self.now_s + (0.0 if there else self.waits_s), pose)

    def step(self) -> None:
        self.now_s += TICK_S
        if self.next is not None and self.now_s >= self.next[0]:
            self.pose, self.next = self.next[1], None
        message = Clock()
        bridge.set_stamp(message.clock, self.now_s)
        self.clock.publish(message)
        self.transforms.publish(self.now_s, ("map", "base_link", self.pose))
        self.seen[bridge.seconds(message.clock)] = self.pose
        self.camera.publish(seen_from(self.pose, self.now_s).frames[0], "32FC1")
