"""The pilot's checklist: looks at a standing robot through the planner's own sensors. Its node publishes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Bool, String

from si_embodied.config import settings_of
from si_embodied.findings import Finding, Report
from si_embodied.ros_nodes.checks.graph import PLANNER, Heard, check_graph
from si_embodied.ros_nodes.checks.rates import Arrivals
from si_embodied.ros_nodes.checks.stamps import judge_stamps, stamps_of
from si_embodied.ros_nodes.checks.view import check_view, judge_age, judge_bounds, judge_standing
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.emergency_stop import LATCHED_TOPIC, TOPIC
from si_embodied.ros_nodes.node.heartbeat import ACTIVE_TOPIC
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing.qos import LATCHED
from si_embodied.ros_nodes.sensing.sensors import Sensors
from si_embodied.types import Observation, Refusal

_ANSWERS_S = 10.0
_NAVIGATE_ACTION = "navigate_to_pose/_action/send_goal"
_MOVE_ACTION = "move_action/_action/send_goal"


@dataclass(frozen=True, slots=True)
class PilotOptions:
    """How to look."""

    seconds: float = 5.0  # how long to listen to each thing
    press_stop_s: float = 0.0  # how long the pilot has to press the emergency stop, and again to release it; 0: neither


class Pilot:
    """One look at a robot. Used from one thread; nothing is published and no goal is sent."""

    def __init__(self, arguments: list[str], say: Callable[[str], None]) -> None:
        """Join the graph.

        Args:
            arguments: for rclpy: "--ros-args", a parameter file, remappings.
            say: tells the pilot what happens.
        """
        self._context, self._say = Context(), say
        rclpy.init(args=arguments, context=self._context)
        self.node = Node("si_embodied_check", context=self._context)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)
        self._named: list[str] = []
        self._latched: list[bool] = []
        self._odometry = 0
        self.node.create_subscription(String, ACTIVE_TOPIC, lambda m: self._named.append(m.data), LATCHED)
        self.node.create_subscription(Bool, LATCHED_TOPIC, lambda m: self._latched.append(bool(m.data)), LATCHED)
        self.node.create_subscription(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _on_odometry(self, _: Any) -> None:
        self._odometry += 1

    def wait(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Take messages until something holds; whether it does."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            if done():
                return True
            self.executor.spin_once(timeout_sec=0.05)
        return done()

    # --- the check --------------------------------------------------------------------------------------------------

    def check(self, options: PilotOptions) -> Report:
        """Look at everything once.

        Raises:
            SiEmbodiedError: the parameters are invalid, or OpenCV is missing.
        """
        parameters.declare(self.node, NodeSettings)
        self._say("reading the planner's parameters")
        answers = self._read_planner()
        settings = parameters.read(self.node, NodeSettings)
        self._say(f"watching cameras and transforms for {options.seconds:.0f} s; the robot must stand")
        findings = list(self._look(settings, options.seconds))
        self._say(f"listening to watchdog and emergency stop for {options.seconds:.0f} s")
        findings += check_graph(self._listen(settings, options, answers=answers))
        return Report((*findings, judge_bounds(settings)))

    def _read_planner(self) -> bool:
        """Take over the running planner's parameters, whatever file it was started with; whether it answered."""
        client = self.node.create_client(GetParameters, f"{PLANNER}/get_parameters")
        try:
            if not self.wait(_ANSWERS_S, client.service_is_ready):
                return False
            names = [setting.name for setting in settings_of(NodeSettings)] + ["use_sim_time"]
            future = client.call_async(GetParameters.Request(names=names))
            if not self.wait(_ANSWERS_S, future.done) or len(future.result().values) != len(names):
                return False
            given = zip(names, future.result().values, strict=True)
            known = [Parameter(name, value=parameter_value_to_python(value)) for name, value in given]
            self.node.set_parameters([each for each in known if each.value is not None])
            return True
        finally:
            self.node.destroy_client(client)

    def _look(self, settings: NodeSettings, seconds: float) -> Iterator[Finding]:
        """Cameras, transforms, mounts, depth and floor."""
        image, depth = (
            "image_raw/compressed" if settings.compressed else "image_raw",
            "depth/compressedDepth" if settings.depth_compressed else "depth",
        )
        topics = [f"{name}/{topic}" for name in settings.cameras for topic in (image, depth)]
        heard = {topic: Arrivals(self.node, topic) for topic in topics}
        sensors = Sensors(self.node, settings)
        try:
            self.wait(seconds, lambda: all(each.stamps_s for each in heard.values()))
            for each in heard.values():
                each.clear()
            seen = self._observe(sensors, seconds)
        finally:
            sensors.close()
        most_s = settings.planner.guard.max_observation_age_s
        for topic, each in heard.items():
            found = stamps_of(each.stamps_s, each.arrivals_s)
            yield judge_stamps(topic, found, seconds=seconds, most_age_s=most_s)
        yield from self._judge_observations(seen, settings)
        for source, count in sensors.rejected.items():
            yield Finding(
                f"dropped: {source}", "off", f"{count} messages; the last: {sensors.last_rejection}", _DROPPED
            )

    def _observe(self, sensors: Sensors, seconds: float) -> list[tuple[Observation | Refusal, float]]:
        """What the planner would get to see, ten times a second, and each image's age then."""
        seen: list[tuple[Observation | Refusal, float]] = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.wait(0.1)
            found = sensors.problem() or sensors.observe(with_depth=True)
            now_s = 1e-9 * float(self.node.get_clock().now().nanoseconds)
            oldest_s = (
                min((f.stamp_s for f in found.frames), default=now_s) if isinstance(found, Observation) else now_s
            )
            seen.append((found, now_s - oldest_s))
        return seen

    def _judge_observations(
        self, seen: list[tuple[Observation | Refusal, float]], settings: NodeSettings
    ) -> Iterator[Finding]:
        good = [(found, age_s) for found, age_s in seen if isinstance(found, Observation)]
        refused = [found for found, _ in seen if isinstance(found, Refusal)]
        what = "sensors, transforms and registration"
        if not good:
            words = f"{refused[-1].code.name}: {refused[-1].message}" if refused else "nothing was looked at"
            yield Finding(what, "off", words, "docs/ros.md#when-it-holds explains each code")
            return
        says = f"{len(good)} of {len(seen)} looks could be planned on"
        if refused:
            says += f"; the others: {refused[-1].code.name}: {refused[-1].message}"
        if len(refused) > len(seen) / 10:
            yield Finding(what, "off", says, "docs/ros.md#when-it-holds explains each code")
        else:
            yield Finding(what, "fine", says)
        yield judge_age(settings, np.array([age_s for _, age_s in good]))
        first, observation = good[0][0], good[-1][0]
        yield judge_standing(first.T_map_base, observation.T_map_base)
        for frame in observation.frames:
            yield from check_view(frame, observation.T_map_base, settings)

    def _listen(self, settings: NodeSettings, options: PilotOptions, *, answers: bool) -> Heard:
        """Planner, watchdog, emergency stop and drivers."""
        pressed = self._await_press(options.press_stop_s) if options.press_stop_s > 0 else None
        self._named.clear()
        self._odometry = 0
        self.wait(options.seconds)
        names = self.node.get_publishers_info_by_topic(self._full(TOPIC))
        goal, drivers = self._drivers(settings)
        return Heard(
            seconds=options.seconds,
            planner_answers=answers,
            active_planner=tuple(self._named),
            watchdogs=self.node.count_publishers(ACTIVE_TOPIC),
            stop_latched=self._latched[-1] if self._latched else None,
            stop_listeners={each.node_name for each in self.node.get_subscriptions_info_by_topic(self._full(TOPIC))},
            stop_drivers={each.node_name for each in names} - {PLANNER},
            pressed=pressed,
            odometry=self._odometry,
            drivers=drivers,
            goal_name=goal,
        )

    def _await_press(self, seconds: float) -> bool | None:
        if self._latched and self._latched[-1]:
            self._say("the emergency stop is set already: release it first, then check again with --press-stop")
            return None
        self._say(f"press the emergency stop within {seconds:.0f} s")
        if not self.wait(seconds, lambda: bool(self._latched) and self._latched[-1]):
            return False
        self._say(f"heard; now {RELEASE}")
        self.wait(seconds, lambda: not self._latched[-1])
        return True

    def _drivers(self, settings: NodeSettings) -> tuple[str, set[str]]:
        """The name that goals go to, and the nodes that take them."""
        if settings.kind == "manipulation" and settings.arm.driver == "moveit":
            return "move_action", self._servers(_MOVE_ACTION)
        if settings.kind == "navigation" and settings.navigation.navigator != "topic":
            servers = self._servers(_NAVIGATE_ACTION)
            if servers or settings.navigation.navigator == "nav2":
                return "navigate_to_pose", servers
        topic = "arm/goal" if settings.kind == "manipulation" else "goal_pose"
        return topic, {each.node_name for each in self.node.get_subscriptions_info_by_topic(self._full(topic))}

    def _servers(self, service: str) -> set[str]:
        """The nodes that serve an action."""
        found = set()
        for name, namespace in self.node.get_node_names_and_namespaces():
            served = dict(self.node.get_service_names_and_types_by_node(name, namespace))
            if self._full(service) in served:
                found.add(name)
        return found

    def _full(self, name: str) -> str:
        resolved: str = self.node.resolve_topic_name(name)
        return resolved


RELEASE = "release it: ros2 service call /planner/emergency_stop std_srvs/srv/SetBool '{data: false}'"
_DROPPED = "docs/ros.md#sensors says why a message is refused"
