"""Stops a robot in every situation and times it: shared by the tests and benchmarks/ros_stopping.py.

Robot, planner and watchdog each run in a process of their own. Times are of `time.monotonic`, in seconds.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseStamped, Twist
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from planner_process import MOST_S, Planner, change_of, node
from rclpy.logging import LoggingSeverity
from si_embodied_msgs.msg import PlannerStatus
from std_msgs.msg import Bool, Empty, Float64
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

TOPIC, SERVICE, CANCEL, DEACTIVATE = "stop topic", "stop service", "cancel", "deactivate"
SIGINT, SIGTERM, KILL = "SIGINT", "SIGTERM", "kill -9"
SIGNALS = {SIGINT: signal.SIGINT, SIGTERM: signal.SIGTERM, KILL: signal.SIGKILL}
"""The requests that end the planner's process."""
REQUESTS = (TOPIC, SERVICE, CANCEL, DEACTIVATE, *SIGNALS)
DRIVING, PLANNING = "driving", "planning"

HERE = Path(__file__).parent
PLANS_S = {DRIVING: 0.0, PLANNING: 15.0}
"""How long the model is busy; a plan may take 20 s."""
DEAD_S = 0.6
"""Transforms are dead after this long: a pose is too old after 0.3 s, and a goal ends by itself after 1.3 s."""
QUIET_S = 0.2
"""Without a stop for four of its periods, none is being repeated."""
STANDS_S, WATCHED_S, SLOWEST_S = 0.3, 0.6, 2.0
"""A robot stands once it has not moved for `STANDS_S`. It is watched for `WATCHED_S` after the stop, or until it
stands, but not for longer than `SLOWEST_S`."""


@dataclass(frozen=True, slots=True)
class Body:
    """One kind of robot, and a task that moves it for longer than any try."""

    file: str
    speed: float
    settings: dict[str, Any]
    goals: dict[str, type]  # topics that set it in motion
    stop: tuple[str, type]  # the topic that stops it; a message with every field zero counts
    pose: tuple[str, type, Callable[[Any], Any]]  # its motion, also without transforms


def script(**subgoal: Any) -> str:
    return json.dumps({"subgoals": [subgoal], "done": False})


BODIES = {
    "base": Body(
        "wall_robot.py", 0.2, {"script": script(skill="turn", degrees=170)},
        {"goal_pose": PoseStamped}, ("cmd_vel", Twist), ("odom", Odometry, lambda message: message.pose.pose),
    ),
    "arm": Body(
        "reaching_robot.py", 0.05, {"script": script(skill="home"), "kind": "manipulation"},
        {"arm/goal": PoseStamped, "gripper/goal": Float64}, ("arm/cancel", Empty),
        ("tool_pose", PoseStamped, lambda message: message.pose),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Situation:
    """A request to stop, and the state of the robot at that moment."""

    request: str
    phase: str = DRIVING
    transforms: str = "alive"  # or dead


@dataclass(frozen=True, slots=True)
class Stopped:
    """What came of a request."""

    zero_s: float  # until zero velocity
    stood_s: float  # until the robot was seen to move for the last time, or zero velocity if that is later
    violations: tuple[str, ...]


@dataclass
class Rig:
    """A robot, its watchdog, the planner that acts, and a planner started ahead, which takes over."""

    ros: Any
    body: Body
    phase: str = DRIVING
    goals: list[float] = field(default_factory=list)  # when each was heard
    stops: list[float] = field(default_factory=list)
    poses: list[tuple[float, Any]] = field(default_factory=list)
    posed_s: float = 0.0  # when the last transform was heard

    def __post_init__(self) -> None:
        ros, (stop, stop_kind), (pose, pose_kind, pose_of) = self.ros, self.body.stop, self.body.pose
        for topic, kind in self.body.goals.items():
            self._listen(topic, kind, lambda _, now_s: self.goals.append(now_s))
        self._listen(stop, stop_kind, lambda heard, now_s: heard == stop_kind() and self.stops.append(now_s))
        self._listen(pose, pose_kind, lambda heard, now_s: self.poses.append((now_s, pose_of(heard))))
        self._listen("/tf", TFMessage, lambda _, now_s: setattr(self, "posed_s", now_s))
        ros.node.get_logger().set_level(LoggingSeverity.ERROR)  # each planner warns of a volatile button
        self.button = ros.node.create_publisher(Bool, "emergency_stop", 1)
        self.transforms = ros.node.create_publisher(Bool, "publish_transforms", 1)
        ros.start([str(HERE / self.body.file)], {"speed": self.body.speed})
        ros.start(node("watchdog_node"))
        self.planner, self.spare = self._start(), self._start()
        self.planner.started()
        self.planner.activate(PLANS_S[self.phase])

    def _listen(self, topic: str, kind: type, heard: Callable[[Any, float], object]) -> None:
        self.ros.node.create_subscription(kind, topic, lambda message: heard(message, time.monotonic()), 50)

    def _start(self) -> Planner:
        return Planner(self.ros, {"backend": "scripted", "planner.guard.max_repeats": 100_000, **self.body.settings})

    def stop(self, situation: Situation) -> Stopped:
        """Bring the robot into a situation, stop it, and watch it; everything is as before afterwards."""
        if situation.phase != self.phase:
            self.phase = situation.phase
            self.planner.change(Transition.TRANSITION_DEACTIVATE)
            self.planner.change(Transition.TRANSITION_CLEANUP)
            self.planner.activate(PLANS_S[self.phase])
        handle = self._bring_into(situation)
        self.goals.clear()
        asked_s = time.monotonic()
        self._ask(situation.request, handle)
        self.ros.wait(lambda: self.stops, MOST_S, "zero velocity")
        stopped_s = self.stops[0]
        violations = [] if self._stands_after(stopped_s) else ["the robot did not stand"]
        stood_s = max(stopped_s, self._moved_s())
        violations += self._recover(situation.request, handle)
        if self.goals:
            violations.append("a goal after the request")
        return Stopped(stopped_s - asked_s, stood_s - asked_s, tuple(violations))

    # --- before, at and after the request ---------------------------------------------------------------------------

    def _bring_into(self, situation: Situation) -> Any:
        """The handle of a task in this situation."""
        self.spare.started()  # loading disturbs what is timed
        while True:
            handle = self.planner.task()
            self.goals.clear()
            wanted = PlannerStatus.PLANNING if self.phase == PLANNING else PlannerStatus.EXECUTING
            ended = handle.get_result_async()
            self.ros.wait(lambda: self.planner.state == wanted or ended.done(), MOST_S, self.phase)  # noqa: B023
            if ended.done():  # on a busy machine a planner may see too little for too long
                continue
            self.poses.clear()
            if self.phase == DRIVING:
                self.ros.wait(self._moves, MOST_S, "a robot that moves")
                self.stops.clear()
            else:  # a stop from before the task may still be under way
                self.stops.append(time.monotonic())
                self.ros.wait(lambda: time.monotonic() - self.stops[-1] > QUIET_S, MOST_S, "quiet")
                self.stops.clear()
            if situation.transforms == "dead":
                self._publish_transforms(wanted=False)
            if not self.stops:
                return handle
            self._publish_transforms(wanted=True)  # the planner was faster and ended the goal by itself
            self.ros.result(handle.cancel_goal_async(), MOST_S, "the cancellation")

    def _moves(self) -> bool:
        return len(self.poses) > 3 and all(a[1] != b[1] for a, b in itertools.pairwise(self.poses[-3:]))

    def _publish_transforms(self, *, wanted: bool) -> None:
        def obeyed() -> bool:
            self.transforms.publish(Bool(data=wanted))  # again and again: a busy machine may lose one
            return (time.monotonic() - self.posed_s < DEAD_S / 2) == wanted

        self.ros.wait(obeyed, MOST_S, "the robot's obedience")
        if not wanted:
            self.ros.wait(lambda: time.monotonic() - self.posed_s >= DEAD_S, MOST_S, "dead transforms")

    def _ask(self, request: str, handle: Any) -> None:
        match request:
            case "stop topic":
                self.button.publish(Bool(data=True))
            case "stop service":
                self.planner.stops.call_async(SetBool.Request(data=True))
            case "cancel":
                handle.cancel_goal_async()
            case "deactivate":
                self.planner.changes.call_async(change_of(Transition.TRANSITION_DEACTIVATE))
            case _:
                self.planner.signal(SIGNALS[request])

    def _moved_s(self) -> float:
        """When the robot was last seen before its final pose."""
        return max((stamp for stamp, pose in self.poses if pose != self.poses[-1][1]), default=0.0)

    def _stands_after(self, stopped_s: float) -> bool:
        """Watch the robot; whether it came to stand."""
        while time.monotonic() < stopped_s + SLOWEST_S:
            self.ros.executor.spin_once(timeout_sec=0.02)
            seen_s = self.poses[-1][0] if self.poses else 0.0
            if seen_s > stopped_s + WATCHED_S and seen_s - self._moved_s() >= STANDS_S:
                return True
        return False

    def _recover(self, request: str, handle: Any) -> list[str]:
        """Prepare for the next situation. Returns what should not have been."""
        self._publish_transforms(wanted=True)
        if request in SIGNALS:
            ended = self._replace_planner()
            expected = -signal.SIGKILL if request == KILL else 0
            return [] if ended == expected else [f"the planner ended with {ended}"]
        self.ros.result(handle.get_result_async(), MOST_S, "the task's end")
        if request == DEACTIVATE:
            self.planner.change(Transition.TRANSITION_ACTIVATE)
        elif request != CANCEL:
            self.planner.release()
        return []

    def _replace_planner(self) -> int:
        """Wait for the end of the planner's process and let the spare one take over; the exit status."""
        self.spare.started()
        ending, self.planner, self.spare = self.planner, self.spare, self._start()
        ended = ending.end()
        self.planner.activate(PLANS_S[self.phase])
        return ended
