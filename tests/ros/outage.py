"""A robot whose planning server is killed in the middle of an episode and is back ten seconds later."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.msg import Plan, PlannerStatus
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from si_embodied.ros_nodes.node.bringup import Bringup
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.types import Code

LOG = logging.getLogger(__name__)
SERVER = str(Path(__file__).parent / "planning_server.py")
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
GONE_S = 10.0
RECOVERS_S = 5.0
"""From the server's return to the next goal, as docs/serving.md promises."""
STARTS_S, SOON_S, TASK_S = 90.0, 30.0, 600.0
SETTLES_S, STILL = 1.0, 0.005
"""A base at 0.5 m/s stands after half a second; what changes less than this, in metres and rotation, stands."""
FAST = 2.0
"""Times real time."""


@dataclass(frozen=True)
class World:
    """What is particular to a simulated world."""

    name: str
    goal_topic: str
    frame: str  # the one that moves
    most_goals: int  # of one subgoal: a look around turns in 7; a place moves up, above, down, opens, up and away


WORLDS = {
    "apartment": World("apartment", "goal_pose", "base_link", 7),
    "tabletop": World("tabletop", "arm/goal", "tool", 6),
}


@dataclass(frozen=True)
class Outage:
    """When the server died and was back, on the monotonic clock, and how the task ended."""

    dead_s: float
    back_s: float
    result: Any  # PlanTask.Result
    at_goal: bool


class Robot:
    """A simulated robot, its planner and watchdog, and a planning server that can be killed.

    `goals`, `plans` and `poses` are what was heard of them in this episode: pairs of the monotonic time and the message
    or pose.
    """

    def __init__(self, ros: Any, world: World) -> None:
        self.ros, self.world, self.port = ros, world, free_port()
        self.goals: list[tuple[float, PoseStamped]] = []
        self.plans: list[tuple[float, Plan]] = []
        self.poses: list[tuple[float, np.ndarray]] = []
        self.statuses = ros.listen(PlannerStatus, "planner/status", LATCHED)
        self.instructions = ros.listen(String, "sim_node/instruction", LATCHED)
        self.truths = ros.listen(String, "sim_node/ground_truth")
        node = ros.node
        node.create_subscription(PoseStamped, world.goal_topic, lambda m: self.goals.append((now_s(), m)), 10)
        node.create_subscription(Plan, "planner/plan", lambda m: self.plans.append((now_s(), m)), LATCHED)
        node.create_subscription(TFMessage, "/tf", lambda m: self._on_tf(m, world.frame), 100)
        settings = {"backend": "remote", "url": f"ws://127.0.0.1:{self.port}", "publish_ground_truth": True}
        file = ros.folder / "settings.yaml"
        file.write_text(json.dumps({"/**": {"ros__parameters": settings}}))
        sim, *others = Bringup(sim=world.name, seed=0, speed=FAST, params_file=file).nodes()
        self.processes = [self._start(sim.command())]
        self.server, ready = self._serve(0.0)
        ros.wait(ready.exists, STARTS_S, "the planning server")
        self.processes += [self._start(each.command()) for each in others]
        ros.action(PlanTask, "plan_task")

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        log = self.ros.folder / f"{now_s()}.log"  # a pipe that nobody reads would fill up
        with log.open("w") as output:
            process = subprocess.Popen(
                command, env=self.ros.environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self.ros.processes.append(process)
        return process

    def _serve(self, not_before_s: float) -> tuple[subprocess.Popen[str], Path]:
        """Start a planning server; the file in which it notes when it serves."""
        ready = self.ros.folder / f"ready {not_before_s}"
        command = [sys.executable, SERVER, str(self.port), str(not_before_s), str(ready)]
        return self._start(command), ready

    def _on_tf(self, message: TFMessage, frame: str) -> None:
        for each in message.transforms:
            if each.child_frame_id == frame:
                pose = bridge.pose_of_transform(each.transform)
                self.poses.append((now_s(), np.append(pose.translation, pose.rotation)))

    def begin(self, seed: int) -> str:
        """Reset to the episode of a seed; its instruction."""
        request = SetParameters.Request(parameters=[Parameter("seed", value=seed).to_parameter_msg()])
        assert self.ros.call(SetParameters, "sim_node/set_parameters", request).results[0].successful
        instruction = str(self.ros.call(Trigger, "sim_node/reset", Trigger.Request()).message)
        self.truths.clear()
        self.ros.wait(lambda: len(self.truths) > 3, SOON_S, "images of the new episode")
        for heard in (self.goals, self.plans, self.poses, self.statuses):
            heard.clear()
        return instruction

    def task(self, instruction: str) -> Any:
        """The handle of an accepted task; the planner may still be activating."""
        client, until_s = self.ros.action(PlanTask, "plan_task"), now_s() + STARTS_S
        while now_s() < until_s:
            goal = PlanTask.Goal(instruction=instruction, timeout_s=TASK_S)
            handle = self.ros.result(client.send_goal_async(goal), SOON_S, "an answer to the task")
            if handle.accepted:
                return handle
            time.sleep(0.2)
        raise AssertionError("the planner accepts no task")

    def lose_server(self, seed: int) -> Outage:
        """Carry out the task of a seed, whose server dies during the first goal, or, for odd seeds, the next plan."""
        answer = self.task(self.begin(seed)).get_result_async()
        self.ros.wait(lambda: self.goals, SOON_S, "the first goal")
        if seed % 2:
            self.ros.wait(self._plans_again, STARTS_S, "the second plan")
        self.server.kill()
        self.server.wait()
        self.ros.processes.remove(self.server)
        dead_s = now_s()
        self.server, ready = self._serve(dead_s + GONE_S)
        self.ros.wait(ready.exists, STARTS_S, "the server's return")
        back_s = float(ready.read_text())
        result = self.ros.result(answer, TASK_S, "the task's end").result
        self.truths.clear()
        self.ros.wait(lambda: len(self.truths) > 1, SOON_S, "ground truth")
        return Outage(dead_s, back_s, result, bool(json.loads(self.truths[-1].data)["at_goal"]))

    def _plans_again(self) -> bool:
        return self.statuses[-1].state == PlannerStatus.PLANNING and self.statuses[-1].plans >= 1

    def holds(self, outage: Outage) -> list[tuple[float, Plan]]:
        """The holds while the server was gone."""
        return [(at_s, plan) for at_s, plan in self.plans if plan.code and outage.dead_s < at_s < outage.back_s]

    def moved(self, from_s: float, to_s: float) -> float:
        """The largest change of the pose's numbers."""
        poses = np.array([pose for at_s, pose in self.poses if from_s < at_s < to_s])
        assert len(poses) > 2, "the robot's pose is published all the time"
        return float(np.ptp(poses, axis=0).max())

    def recovery_s(self, outage: Outage) -> float:
        """From the server's return to the next goal, or to the plan that ended the task."""
        plans = [at_s for at_s, plan in self.plans if at_s > outage.back_s and plan.code == Code.OK and plan.done]
        return min([at_s for at_s, _ in self.goals if at_s > outage.back_s] + plans) - outage.back_s


def now_s() -> float:
    return time.monotonic()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def check_outage(robot: Robot, outage: Outage) -> None:
    """What must hold for every episode, successful or not."""
    holds = robot.holds(outage)
    assert holds, "the planner asked while the server was gone"
    assert {Code(plan.code) for _, plan in holds} == {Code.BACKEND_FAILED}, [plan.message for _, plan in holds]
    first_s = holds[0][0]
    assert not [at_s for at_s, _ in robot.goals if first_s < at_s < outage.back_s], "a goal without a plan"
    subgoals = sum(len(plan.subgoals) for at_s, plan in robot.plans if at_s < first_s and plan.code == Code.OK)
    goals = len([at_s for at_s, _ in robot.goals if at_s < first_s])
    assert goals <= subgoals * robot.world.most_goals, f"{goals} goals for {subgoals} subgoals"
    assert robot.moved(first_s + SETTLES_S, outage.back_s) < STILL, "it stands while it holds"
    assert robot.recovery_s(outage) <= RECOVERS_S
    assert all(process.poll() is None for process in robot.processes), "nothing was restarted"


def successes(ros: Any, world: str, seeds: int) -> int:
    """How many of the first episodes of a world succeed although the server is lost in each."""
    robot, found = Robot(ros, WORLDS[world]), 0
    for seed in range(seeds):
        outage = robot.lose_server(seed)
        check_outage(robot, outage)
        success = outage.result.code == Code.OK and outage.at_goal
        found += success
        LOG.info(
            "%s, seed %d: %s; the server was gone for %.1f s, %d holds, next goal %.1f s after its return",
            world, seed, "success" if success else f"no success, code {outage.result.code} {outage.result.message}",
            outage.back_s - outage.dead_s, len(robot.holds(outage)), robot.recovery_s(outage),
        )  # fmt: skip
    return found
