"""Stops the robot when the planner dies or hangs, keeps the emergency stop, and lets one planner act.

A process of its own, because a planner that has died cannot stop the robot.

ros2 run si_embodied watchdog_node
python -m si_embodied.ros_nodes.watchdog_node
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool

from si_embodied.errors import MessageError
from si_embodied.ros_nodes.motion.stop import ARM_CANCEL, BASE_CANCEL, CANCEL_SUFFIX, MotionStop
from si_embodied.ros_nodes.node.emergency_stop import LATCHED_TOPIC, TOPIC, subscribe_to_any
from si_embodied.ros_nodes.node.heartbeat import ACTIVE_TOPIC, HEARTBEAT_TOPIC
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.node.planner_watch import NOBODY, Beat, PlannerWatch
from si_embodied.ros_nodes.node.shared_memory import no_shared_memory
from si_embodied.ros_nodes.sensing.qos import LATCHED

ACTIONS = (
    "navigate_to_pose", "navigate_through_poses", "follow_path", "move_action", "execute_trajectory",
    "gripper_controller/gripper_cmd",
)  # fmt: skip
"""Actions of Nav2 and MoveIt whose goals are cancelled."""
TICK_S = 0.05
_REPORT_S, _LEAVES_S = 1.0, 3.0
_CANCELS_S, _CANCEL_EVERY_S = 5.0, 0.25
"""How long the robot is stopped and how often goals are cancelled: a server may accept one only after its client has
died, and a watchdog that has just started may not have found the drivers yet."""


class Watchdog:
    """The watchdog on one node. Used from the executor's thread only; nothing blocks."""

    def __init__(self, node: Any) -> None:
        """Declare the parameters, which have the planner's names, and start watching."""
        self._node = node
        timeout_s = float(node.declare_parameter("heartbeat_timeout_s", 0.5).value)
        actions = [*node.declare_parameter("watchdog_actions", list(ACTIONS)).value]
        actions.append(node.declare_parameter("arm.gripper_action", ACTIONS[-1]).value)
        stamped = bool(node.declare_parameter("navigation.cmd_vel_stamped", False).value)
        tilt = node.declare_parameter("robot.tilt_topic", "").value
        cancels = (BASE_CANCEL, ARM_CANCEL, *([f"{tilt}{CANCEL_SUFFIX}"] if tilt else []))
        self._stop = MotionStop(node, stamped=stamped, cancels=cancels)
        self._watch = PlannerWatch(timeout_s, time.monotonic())
        self._emergency = False
        self._saying = NOBODY
        self._refused = 0  # malformed heartbeats
        self._cancel_until_s = self._cancel_at_s = self._report_at_s = float("-inf")
        self._told = ""  # last published on `active_planner`; not the empty one of the start: a planner may act already
        names = [f"{action}/_action/cancel_goal" for action in dict.fromkeys(actions)]
        self._actions = [node.create_client(CancelGoal, name) for name in names]
        self._latched = node.create_publisher(Bool, LATCHED_TOPIC, LATCHED)
        self._active = node.create_publisher(String, ACTIVE_TOPIC, LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        node.create_subscription(Header, HEARTBEAT_TOPIC, self._on_heartbeat, 10)
        subscribe_to_any(node, Bool, TOPIC, self._on_emergency)
        node.create_service(SetBool, "~/emergency_stop", self._on_service)
        node.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

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
        self._watch.hear(beat, time.monotonic())

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
        elif was_set and not self._watch.lost:  # the stop for a planner that died is no one's to release
            self._stop.release()
            self._cancel_until_s = float("-inf")

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
        chosen = self._saying if self.stopping and not self._emergency else self._watch.chosen
        if chosen != self._told:
            self._told = chosen
            self._active.publish(String(data=chosen))
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + _REPORT_S
            self._publish_diagnostics()

    def _cancel_goals(self) -> None:
        """Cancel all goals of every action that is there: a request without id and stamp means all of them."""
        self._cancel_at_s = time.monotonic() + _CANCEL_EVERY_S
        for client in self._actions:
            if client.service_is_ready():
                client.call_async(CancelGoal.Request())

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
        values = {
            "emergency_stop": self._emergency, "planners": len(names), "active_planner": watch.chosen,
            "lost": watch.lost, "losses": watch.losses, "refused heartbeats": self._refused,
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
    _spin(node, executor, lambda: not interrupted())
    watchdog.leave()
    until_s = time.monotonic() + _LEAVES_S
    _spin(node, executor, lambda: watchdog.stopping and time.monotonic() < until_s)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _spin(node: Node, executor: Any, wanted: Callable[[], bool]) -> None:
    while rclpy.ok() and wanted():
        try:
            executor.spin_once(timeout_sec=TICK_S)
        except Exception as error:  # noqa: BLE001 - nothing that arrives may end the watch
            node.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=1.0)


if __name__ == "__main__":
    sys.exit(main())
