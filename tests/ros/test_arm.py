"""Pick and place over ROS: the Tabletop's robot in its process, planner and arm client in the test's."""

from __future__ import annotations

import dataclasses
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")

from si_embodied.backends.base import BackendInfo
from si_embodied.envs.manipulation import TabletopEnv
from si_embodied.errors import BackendError
from si_embodied.plan import plan_text
from si_embodied.planner import Planner
from si_embodied.policies.perfect_pixels import manipulation_answer
from si_embodied.ros_nodes.arm_client import ArmClient
from si_embodied.ros_nodes.sensors import Sensors
from si_embodied.ros_nodes.settings import NodeSettings
from si_embodied.ros_nodes.task import Phase, TaskRunner
from si_embodied.types import Code, Completion, Observation, Refusal, Task
from si_embodied.worker import PlannerWorker

STARTS_S, TASK_S = 90.0, 240.0


class Truth:
    """A backend that answers with what the simulator said of the very image; as much as manipulation asks for."""

    info = BackendInfo(model="perfect-pixels", kernel="none", dtype="none")

    def __init__(self) -> None:
        self.of: dict[int, dict[str, Any]] = {}  # by stamp, milliseconds
        self.looking_at_s = 0.0

    def on_message(self, message: String) -> None:
        values = json.loads(message.data)
        self.of[round(values["stamp_s"] * 1e3)] = values

    def generate(self, prompt: Any, *, deadline_s: float) -> Completion:
        until = time.monotonic() + 5.0  # nothing orders two topics: the truth of an image may come after it
        while (values := self.of.get(round(self.looking_at_s * 1e3))) is None and time.monotonic() < until:
            time.sleep(0.01)
        if values is None:
            raise BackendError(f"no ground truth of {self.looking_at_s:.3f} s")
        step = None if values["skill"] is None else SimpleNamespace(kind=values["skill"], object_name=values["name"])
        truth = SimpleNamespace(next_step=lambda: step, pixel_of=lambda _: values["visible"])
        return Completion(plan_text(manipulation_answer(truth, prompt)))


class ArmRobot:
    """The simulated arm, and everything that a planner node would have for it."""

    def __init__(self, ros: Any, task: str) -> None:
        self.ros = ros
        parameters = {"world": "tabletop", "task": task, "camera_rate_hz": 3.0, "publish_ground_truth": True}
        ros.start(["-m", "si_embodied.ros_nodes.sim_node"], parameters)
        body = TabletopEnv(task).embodiment
        self.truth = Truth()
        node = ros.node
        node.set_parameters([Parameter("use_sim_time", value=True)])
        node.create_subscription(String, "sim_node/ground_truth", self.truth.on_message, QoSProfile(depth=10))
        self.sensors = Sensors(node, NodeSettings(cameras=body.cameras))
        self.client = ArmClient(
            node, body, clock=lambda: self.clock_s, tool_now=lambda: self.sensors.transforms.latest("map", "tool")
        )
        planner = Planner(self.truth, body)
        self.runner = TaskRunner(
            worker=PlannerWorker(planner, lambda: self.clock_s),
            sight=self,
            client=self.client,
            clock=lambda: self.clock_s,
            info=lambda: self.truth.info,
            prompt_version=planner.config.manipulation_prompt,
            observation_timeout_s=10.0,
            on_decision=lambda *_: None,
        )

    @property
    def clock_s(self) -> float:
        return 1e-9 * float(self.ros.node.get_clock().now().nanoseconds)

    def observe(self, after_s: float) -> Observation | Refusal:
        seen = self.sensors.observe(after_s)
        if isinstance(seen, Refusal):
            return seen
        self.truth.looking_at_s = seen.stamp_s
        return dataclasses.replace(seen, arm=self.client.state())

    def base_now(self) -> None:
        """An arm's motions do not count from its base."""

    def begin(self, seed: int) -> str:
        """Start the episode of a seed; its instruction."""
        self.ros.wait(lambda: self.clock_s > 0, STARTS_S, "the simulator's clock")
        request = SetParameters.Request(parameters=[Parameter("seed", value=seed).to_parameter_msg()])
        assert self.ros.call(SetParameters, "sim_node/set_parameters", request).results[0].successful
        instruction = str(self.ros.call(Trigger, "sim_node/reset", Trigger.Request()).message)
        begun_s = self.clock_s
        self.ros.wait(lambda: self.clock_s > begun_s + 0.5, STARTS_S, "the new episode's images")
        self.client.reset()
        return instruction

    def carry_out(self, instruction: str) -> Any:
        """The report of a task."""
        self.runner.start(Task(instruction, "manipulation"), TASK_S)
        self.runner._after_s = self.clock_s - 0.3  # what was seen before belongs to another episode

        def ended() -> bool:
            self.runner.tick()
            return self.runner.phase is Phase.IDLE

        self.ros.wait(ended, TASK_S, "the task's end")
        return self.runner.report

    def succeeded(self) -> bool:
        """Whether the task's conditions hold in the physics, by now."""
        now_s = self.clock_s
        self.ros.wait(lambda: self.clock_s > now_s + 0.6, STARTS_S, "the end's images")
        return bool(self.truth.of[max(self.truth.of)]["at_goal"])


def test_a_thing_is_picked_and_placed_over_ros(ros: Any) -> None:
    robot = ArmRobot(ros, "base")
    report = robot.carry_out(robot.begin(seed=0))
    assert report.end.code is Code.OK, report.end
    assert report.subgoals >= 2, "a pick and a place"
    assert robot.succeeded()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_perfect_pixels_place_at_least_17_of_20_over_ros(ros: Any) -> None:
    robot = ArmRobot(ros, "base")
    failures = []
    for seed in range(20):
        instruction = robot.begin(seed)
        report = robot.carry_out(instruction)
        if not robot.succeeded():
            failures.append(f"{seed} ({instruction}): {report.end}")
    assert len(failures) <= 3, "\n".join(failures)
