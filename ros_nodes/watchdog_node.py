"""Stops the robot when the planner dies or hangs, keeps the emergency stop, and lets one planner act.

A process of its own, because a planner that has died cannot stop the robot.

ros2 run si_embodied watchdog_node
python -m si_embodied.ros_nodes.watchdog_node
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool

from si_embodied.config import settings_of
from si_embodied.errors import MessageError
from si_embodied.ros_nodes.motion.stop import ARM_CANCEL, BASE_CANCEL, CANCEL_SUFFIX, MotionStop
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.emergency_stop import LATCHED_TOPIC, TOPIC, subscribe_to_any
from si_embodied.ros_nodes.node.goal_cancels import GoalCancels
from si_embodied.ros_nodes.node.heartbeat import ACTIVE_TOPIC, HEARTBEAT_TOPIC
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.node.latch_file import LatchFile, latch_path
from si_embodied.ros_nodes.node.planner_watch import NOBODY, SAYS_S, Beat, PlannerWatch, StopsHeard
from si_embodied.ros_nodes.node.shared_memory import no_shared_memory
from si_embodied.ros_nodes.node.spinning import spin_while
from si_embodied.ros_nodes.node.watchdog_settings import WatchdogSettings
from si_embodied.ros_nodes.sensing.qos import LATCHED

TICK_S = 0.05
_REPORT_S, _LEAVES_S = 1.0, 3.0
_CANCELS_S, _CANCEL_EVERY_S = 5.0, 0.25
"""How long the robot is stopped and how often goals are cancelled: a server may accept one only after its client has
died, and a watchdog that has just started may not have found the drivers yet."""


class Watchdog:
    """The watchdog on one node. Used from the executor's thread only; nothing blocks, the disk has its own thread."""

    def __init__(self, node: Any) -> None:
        """Declare the parameters, which have the planner's names, and start watching."""
        self._node = node
        settings = self._settings()
        tilt = settings.robot.tilt_topic
        cancels = (BASE_CANCEL, ARM_CANCEL, *([f"{tilt}{CANCEL_SUFFIX}"] if tilt else []))
        self._stop = MotionStop(node, stamped=settings.navigation.cmd_vel_stamped, cancels=cancels)
        self._goals = GoalCancels(node, (*settings.watchdog_actions, settings.arm.gripper_action))
        self._watch = PlannerWatch(settings.heartbeat_timeout_s, time.monotonic())
        self._stops_heard = StopsHeard()
        self._emergency = False
        self._saying = NOBODY
        self._refused = 0  # malformed heartbeats
        self._cancel_until_s = self._cancel_at_s = self._report_at_s = float("-inf")
        self._told, self._say_at_s = "", float("inf")
        """Last published on `active_planner`, and when to repeat it; not "" at the start: a planner may act already."""
        self._latched = node.create_publisher(Bool, LATCHED_TOPIC, LATCHED)
        self._active = node.create_publisher(String, ACTIVE_TOPIC, LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._file = LatchFile(latch_path(node.get_namespace()))
        self._disk = ThreadPoolExecutor(1)  # a disk that hangs must not hold up the watch
        self._restore_emergency()
        node.create_subscription(Header, HEARTBEAT_TOPIC, self._on_heartbeat, 10)
        subscribe_to_any(node, Bool, TOPIC, self._on_emergency)
        node.create_service(SetBool, "~/emergency_stop", self._on_service)
        node.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _settings(self) -> WatchdogSettings:
        """The settings; a value that is refused keeps its default, because a watchdog must come up."""
        settings, refused = parameters.declare_leniently(self._node, WatchdogSettings)
        for reason in refused:
            self._node.get_logger().error(f"refused a parameter: {reason}")
        ours = {setting.name for setting in settings_of(WatchdogSettings)}

        def refuse(given: Sequence[Any]) -> SetParametersResult:
            fixed = ", ".join(each.name for each in given if each.name in ours)
            reason = f"{fixed} is read when the watchdog starts: set it in its parameter file and restart the watchdog"
            return SetParametersResult(successful=not fixed, reason=reason if fixed else "")

        self._node.add_on_set_parameters_callback(refuse)
        return settings

    def _restore_emergency(self) -> None:
        reason = self._file.reason()
        try:
            self._file.prepare()
        except OSError as error:
            self._node.get_logger().error(f"the emergency stop will be forgotten when the watchdog restarts: {error}")
        if reason:
            self._set_emergency(wanted=True)
            self._node.get_logger().error(f"the emergency stop is set: {reason}; release it with ~/emergency_stop")

    def stop(self, *, saying: str = NOBODY) -> None:
        """Stop the robot, and cancel every goal, now and for a while; `active_planner` says `saying` meanwhile."""
        self._saying = saying
        self._cancel_until_s = time.monotonic() + _CANCELS_S
        self._stop.apply()
        self._cancel_goals()

    @property
    def stopping(self) -> bool:
        """Whether a stop is being repeated."""
        return self._stop.applied

    def leave(self) -> None:
        """Stop the robot if a planner is still active: nobody watches it from now on."""
        if self._watch.chosen:
            self.stop()

    # --- what arrives -----------------------------------------------------------------------------------------------

    def _on_heartbeat(self, message: Header) -> None:
        try:
            beat = Beat.parsed(message.frame_id)
        except MessageError as error:
            self._refused += 1
            self._node.get_logger().warning(f"refused a heartbeat: {error}", throttle_duration_sec=5.0)
            return
        now_s = time.monotonic()
        self._watch.hear(beat, now_s)
        if self._stops_heard.hear(beat, now_s):
            self._set_emergency(wanted=True)

    def _on_emergency(self, message: Bool) -> None:
        if message.data:
            self._set_emergency(wanted=True)

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._set_emergency(wanted=bool(request.data))
        response.success, response.message = True, "stopped" if self._emergency else "released"
        return response

    def _set_emergency(self, *, wanted: bool) -> None:
        was_set, self._emergency = self._emergency, wanted
        if wanted != was_set:
            self._node.get_logger().error("emergency stop" if wanted else "the emergency stop was released")
        if not (wanted and was_set):  # a release is confirmed each time
            self._latched.publish(Bool(data=wanted))
        if wanted:
            self.stop()
        else:
            self._stops_heard.released(time.monotonic())
            if was_set and not self._watch.lost:  # the stop for a planner that died is no one's to release
                self._stop.release()
                self._cancel_until_s = float("-inf")
        if wanted != was_set:
            self._disk.submit(self._keep, latched=wanted)

    def _keep(self, *, latched: bool) -> None:
        """Keep the stop in a file, for the next watchdog. Called by the disk's thread."""
        try:
            self._file.write(latched=latched)
        except OSError as error:
            fate = "forget this stop" if latched else "start with this stop set again"
            self._node.get_logger().error(f"the next watchdog will {fate}: {error}")

    # --- what is done -----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_s = time.monotonic()
        reason = self._watch.check(now_s)
        if reason:
            self._node.get_logger().error(f"stopping the robot: {reason}")
            self.stop(saying=NOBODY if self._watch.lost else "")
        cancels = now_s < self._cancel_until_s and (self.stopping or not self._watch.chosen)
        if (self._emergency or cancels) and not self.stopping:  # whoever sends a goal, and a driver found only now
            self._stop.apply()
        self._stop.tick()
        if now_s >= self._cancel_at_s and (cancels or self._emergency):
            self._cancel_goals()
        self._say(self._saying if self.stopping and not self._emergency else self._watch.named(now_s), now_s)
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + _REPORT_S
            self._publish_diagnostics()

    def _say(self, chosen: str, now_s: float) -> None:
        """Say which planner may act when that changes, and again and again: planners notice when it hangs."""
        if chosen == self._told and now_s < self._say_at_s:
            return
        self._told, self._say_at_s = chosen, now_s + SAYS_S
        self._active.publish(String(data=chosen))

    def _cancel_goals(self) -> None:
        now_s = time.monotonic()
        self._cancel_at_s = now_s + _CANCEL_EVERY_S
        self._goals.send(now_s)

    def _publish_diagnostics(self) -> None:
        array = DiagnosticArray(status=[self.diagnosis()])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def diagnosis(self) -> DiagnosticStatus:
        """The state of the robot's planners and of the emergency stop."""
        watch = self._watch
        names = [f"{name} ({planner})" for planner, name in watch.names.items()]
        level, message = DiagnosticStatus.OK, f"{names[0]} is active" if names else "no planner is active"
        if len(names) > 1:
            level = DiagnosticStatus.WARN
            message = f"{len(names)} planners on one robot: {', '.join(names)}; {watch.chosen} acts"
        if watch.lost:
            level, message = DiagnosticStatus.ERROR, f"the heartbeat of {watch.lost} was lost: the robot was stopped"
        if self._emergency:
            level, message = DiagnosticStatus.ERROR, "emergency stop"
        watchdogs = self._node.count_publishers(ACTIVE_TOPIC)
        if watchdogs > 1:
            level = max(level, DiagnosticStatus.WARN)
            message += f"; {watchdogs} publishers of {ACTIVE_TOPIC}: run one watchdog (a killed one counts a while)"
        values = {
            "emergency_stop": self._emergency, "planners": len(names), "active_planner": watch.chosen,
            "lost": watch.lost, "losses": watch.losses, "refused heartbeats": self._refused, "watchdogs": watchdogs,
        }  # fmt: skip
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        name = f"{self._node.get_fully_qualified_name()}: watchdog"
        return DiagnosticStatus(name=name, hardware_id="si_embodied", level=level, message=message, values=pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Whatever a callback raises is logged, and the watch goes on."""
    with no_shared_memory():
        interrupted = init_until_interrupted(arguments)
        node, executor = Node("watchdog"), SingleThreadedExecutor()
    watchdog = Watchdog(node)
    executor.add_node(node)
    spin_while(node, executor, lambda: not interrupted())
    watchdog.leave()
    until_s = time.monotonic() + _LEAVES_S
    spin_while(node, executor, lambda: watchdog.stopping and time.monotonic() < until_s)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
