"""The ROS stack under test: simulator, relay, watchdog and planner, each in a process of its own; and its tasks."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from conftest import Ros
from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from referee import Referee
from rosgraph_msgs.msg import Clock
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.msg import Plan, PlannerStatus
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from si_embodied.ros_nodes.node.bringup import Bringup, NodeProcess
from si_embodied.ros_nodes.node.settings import ArmSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED

HERE = Path(__file__).parent
CAMERAS = {"apartment": ("head",), "tabletop": ("head", "side", "wrist")}
MOVES_M_S, MOVES_RAD_S = 0.03, 0.05
"""A tool settles slowly after a stop; a simulated base stands at once."""
_ENDS_S, _ANSWERS_S, _AGAIN_S, _TASK_S = 10.0, 10.0, 0.2, 120.0
_MOST_FAILURES = 5
_PUT_S = 0.5
"""For so long after a reset the robot may seem to move: it was put elsewhere."""
_QOS = QoSProfile(depth=100)


@dataclass(slots=True)
class Process:
    """A process that can be killed and started again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: IO[str]
    running: subprocess.Popen[str] | None = None
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        self.running = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log, text=True)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.running is not None
        self.running.kill()
        self.running.wait()
        self.running = None

    def stop(self) -> None:
        """SIGINT, and SIGKILL if that does not end it."""
        if self.running is None:
            return
        self.running.send_signal(signal.SIGINT)
        try:
            self.running.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None

    def died(self) -> int | None:
        """Exit code if the process ended by itself."""
        code = None if self.running is None else self.running.poll()
        if code is not None:
            self.running = None
        return code

    def resources(self) -> dict[str, int]:
        """Resident memory in kB, threads and file descriptors; empty if it does not run."""
        if self.running is None:
            return {}
        folder = Path(f"/proc/{self.running.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        return {
            "memory_kb": int(status["VmRSS"].split()[0]),
            "threads": int(status["Threads"]),
            "descriptors": len(list((folder / "fd").iterdir())),
        }


@dataclass(slots=True)
class Tasks:
    """Gives the planner one task after the other; a task that fails is given again, a few times."""

    client: ActionClient
    instruction: Callable[[], str]
    codes: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    over: bool = False  # the episode: its task has succeeded, or failed too often
    failures: int = 0  # of this episode's task
    handle: Any = None
    _future: Any = None  # of the goal's acceptance, then of its result
    _since_s: float = 0.0

    def drop(self) -> None:
        """Forget the task: the planner that had it is gone."""
        self.handle = self._future = None
        self._since_s = time.monotonic()

    def tick(self) -> None:
        now_s = time.monotonic()
        if self._future is None:
            instruction = self.instruction()
            due = instruction and now_s - self._since_s > _AGAIN_S
            if due and not self.over and self.client.server_is_ready():
                goal = PlanTask.Goal(instruction=instruction, timeout_s=_TASK_S)
                self._future, self._since_s = self.client.send_goal_async(goal), now_s
        elif not self._future.done():
            if self.handle is None and now_s - self._since_s > _ANSWERS_S:
                self.drop()
        elif self.handle is None:
            self._accepted(self._future.result())
        else:
            code = int(self._future.result().result.code)
            self.codes[code] += 1
            self.failures += code != 0
            self.over = code == 0 or self.failures >= _MOST_FAILURES
            self.drop()

    def _accepted(self, handle: Any) -> None:
        if handle.accepted:
            self.handle, self._future = handle, handle.get_result_async()
        else:
            self.refused += 1
            self.drop()


class Stack:
    """A simulated robot with its planner, and the referee that hears all that moves it."""

    def __init__(self, ros: Ros, world: str, seed: int, folder: Path, **simulator: object) -> None:
        """Start every process; their output goes to `folder`."""
        self.ros, self.world, self.seed = ros, world, seed
        self.referee = Referee(*_bounds(world))
        self.simulated_s = self.shift_s = 0.0
        self.instructions: list[String] = ros.listen(String, "sim_node/instruction", LATCHED)
        self._logs = folder
        self._tool: tuple[float, Any] | None = None
        self._listen()
        self.processes = {each.name: each for each in self._make(simulator)}
        for process in self.processes.values():
            process.start()
        self.tasks = Tasks(ActionClient(ros.node, PlanTask, "plan_task"), self._instruction)
        self._parameters = ros.node.create_client(SetParameters, "sim_node/set_parameters")
        self._reset = ros.node.create_client(Trigger, "sim_node/reset")
        self._resetting = False
        self._placed_s = float("-inf")  # when a reset put the robot at its place
        self.acting: set[str] = set()  # planners that carry out a goal
        self.jobs: list[Iterator[None]] = []  # each goes on a little in every spin

    def _make(self, simulator: dict[str, object]) -> Iterator[Process]:
        nodes = Bringup(sim=self.world, seed=self.seed, backend="perfect_pixels").nodes()
        for node in nodes:
            if node.name == "sim_node":
                remapped = [("-r", f"{topic}:=sim/{topic.lstrip('/')}") for topic in _relayed(self.world)]
                changed = replace(node, parameters={**node.parameters, **simulator})
                yield self.make(changed, *(each for pair in remapped for each in pair))
            else:
                yield self.make(node)
        relay = [sys.executable, str(HERE / "relay.py"), *CAMERAS[self.world]]
        yield Process("relay", relay, self.ros.environment, self._log("relay"))

    def make(self, node: NodeProcess, *more: str, name: str = "") -> Process:
        """A process of a node with more ROS arguments."""
        name = name or node.name
        return Process(name, [*node.command(), *more], self.ros.environment, self._log(name))

    def _log(self, name: str) -> IO[str]:
        return (self._logs / f"{name}.log").open("a")

    def _instruction(self) -> str:
        return str(self.instructions[-1].data) if self.instructions else ""

    @property
    def stamp_s(self) -> float:
        """Now, by the planner's clock."""
        return self.simulated_s + self.shift_s

    def spin(self) -> None:
        """Take in what has been published, and go on with the task and the jobs."""
        self.ros.executor.spin_once(timeout_sec=0.01)
        self.tasks.tick()
        if self.tasks.over and not self._resetting:
            self.referee.drop_pending()
            self.jobs.append(self.new_episode())
        self.jobs = [job for job in self.jobs if next(job, "over") != "over"]

    def new_episode(self) -> Iterator[None]:
        """Reset the simulator to the next seed."""
        self._resetting = True
        self.seed += 1
        parameter = Parameter("seed", value=self.seed % 100_000).to_parameter_msg()
        yield from self.call(self._parameters, SetParameters.Request(parameters=[parameter]))
        yield from self.call(self._reset, Trigger.Request())
        self._placed_s = time.monotonic()
        self._resetting = self.tasks.over = False
        self.tasks.failures = 0

    def call(self, client: Any, request: Any, accepted: Callable[[Any], bool] = lambda _: True) -> Iterator[None]:
        """Call a service until it answers as wanted; done when the generator ends."""
        while True:
            while not client.service_is_ready():
                yield
            future = client.call_async(request)
            yield from wait_for(future, _ANSWERS_S)
            if future.done() and accepted(future.result()):
                return
            yield from pause(0.3)

    def close(self) -> None:
        """End every process, politely."""
        for process in self.processes.values():
            process.stop()
            process.log.close()

    # --- what the referee hears --------------------------------------------------------------------------------------

    def _listen(self) -> None:
        listen = self.ros.node.create_subscription
        listen(Clock, "sim/clock", self._on_clock, _QOS)
        listen(Plan, "planner/plan", self._on_plan, LATCHED)
        for name in ("planner", "second"):
            listen(PlannerStatus, f"{name}/status", partial(self._on_status, name), LATCHED)
        listen(Twist, "cmd_vel", self._on_velocity, _QOS)
        if self.world == "apartment":
            listen(Odometry, "sim/odom", self._on_odometry, _QOS)
            listen(PoseStamped, "goal_pose", self._on_goal, _QOS)
        else:
            listen(TFMessage, "sim/tf", self._on_transforms, _QOS)
            listen(PoseStamped, "arm/goal", self._on_goal, _QOS)

    def _on_clock(self, message: Clock) -> None:
        self.simulated_s = self.referee.robot_s = bridge.seconds(message.clock)

    def _on_plan(self, message: Plan) -> None:
        self.referee.plan(int(message.code), bridge.seconds(message.header.stamp), time.monotonic())

    def _on_status(self, name: str, message: PlannerStatus) -> None:
        acts = (
            message.state == PlannerStatus.EXECUTING and message.subgoal.skill
        )  # else its plan waits for the watchdog
        (self.acting.add if acts else self.acting.discard)(name)
        if len(self.acting) > 1:
            self.referee.violated("two planners carry out goals")

    def _on_velocity(self, message: Twist) -> None:
        self.referee.velocity((message.linear.x, message.linear.y, message.angular.z))

    def _on_goal(self, message: PoseStamped) -> None:
        position = message.pose.position
        self.referee.goal((position.x, position.y, position.z), time.monotonic())

    def _on_odometry(self, message: Odometry) -> None:
        pose, velocity = bridge.pose_of_message(message.pose.pose), message.twist.twist
        moving = abs(velocity.linear.x) > MOVES_M_S or abs(velocity.angular.z) > MOVES_RAD_S
        self._on_place((float(pose.translation[0]), float(pose.translation[1]), pose.yaw), moving=moving)

    def _on_transforms(self, message: TFMessage) -> None:
        for each in message.transforms:
            if each.child_frame_id != "tool":
                continue
            stamp_s, at = bridge.seconds(each.header.stamp), each.transform.translation
            place = (at.x, at.y, at.z)
            before_s, before = self._tool or (stamp_s, place)
            self._tool = (stamp_s, place)
            speed = math.dist(before, place) / max(stamp_s - before_s, 1e-3)
            self._on_place(place, moving=speed > MOVES_M_S)

    def _on_place(self, place: tuple[float, float, float], *, moving: bool) -> None:
        now_s = time.monotonic()
        put = self._resetting or now_s - self._placed_s < _PUT_S
        self.referee.place(place, moving=moving and not put, now_s=now_s)


def pause(seconds: float) -> Iterator[None]:
    """A generator that ends after a time."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        yield


def wait_for(future: Any, seconds: float) -> Iterator[None]:
    """A generator that ends when a future is done, or after a time."""
    until_s = time.monotonic() + seconds
    while not future.done() and time.monotonic() < until_s:
        yield


def _bounds(world: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if world == "apartment":
        return (-15.0, -15.0, -0.05), (15.0, 15.0, 0.05)
    arm = ArmSettings()
    return tuple(arm.lowest_m), tuple(arm.highest_m)  # type: ignore[return-value]


def _relayed(world: str) -> list[str]:
    topics = ["/clock", "/tf", "/tf_static", "odom", "gripper/opening", "navigation/outcome", "arm/outcome"]
    topics.append("sim_node/ground_truth")
    return topics + [f"{c}/{topic}" for c in CAMERAS[world] for topic in ("image_raw", "depth", "camera_info")]
