"""The emergency stop: heard from every kind of publisher, latched here and by the watchdog, released by service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from si_embodied.ros_nodes.node.planner_watch import DISCOVERY_S
from si_embodied.ros_nodes.node.stop_latch import StopLatch
from si_embodied.ros_nodes.sensing.qos import LATCHED

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

TOPIC, LATCHED_TOPIC, WATCHDOG_SERVICE = "emergency_stop", "emergency_stop_latched", "watchdog/emergency_stop"
_QOS = (QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), QoSProfile(depth=1), LATCHED)
"""Best effort hears every live publisher but may lose a message; latched hears only latched publishers."""
_CHECK_S = 0.1
"""How often a release that was not answered is looked for."""


def subscribe_to_any(node: Any, kind: type, topic: str, callback: Callable[[Any], None]) -> list[Any]:
    """Subscribe to best-effort, reliable and latched publishers; a message may arrive up to three times."""
    silent = SubscriptionEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
    return [node.create_subscription(kind, topic, callback, qos, event_callbacks=silent) for qos in _QOS]


class EmergencyStop:
    """The planner's side. The robot is stopped while either this node or the watchdog has latched a stop."""

    def __init__(self, node: Any, on_stop: Callable[[], None]) -> None:
        """Listen, and serve `~/emergency_stop`; `on_stop` is called at every request to stop."""
        self._node, self._on_stop = node, on_stop
        self._latch = StopLatch()
        self._asked: Any = None  # the future of the release asked for last
        self._started_s = time.monotonic()
        subscribe_to_any(node, Bool, TOPIC, self._on_topic)
        node.create_subscription(Bool, LATCHED_TOPIC, self._on_watchdog, LATCHED)
        node.create_service(SetBool, "~/emergency_stop", self._on_service)
        # The latched subscriptions do not match this one, and need not: the others do.
        silent = PublisherEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
        self._requests = node.create_publisher(Bool, TOPIC, 1, event_callbacks=silent)
        self._watchdog = node.create_client(SetBool, WATCHDOG_SERVICE)
        node.create_timer(_CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def set(self) -> bool:
        """Whether the robot must stand."""
        return self._latch.set

    def _on_topic(self, message: Bool) -> None:
        """True sets the stop. False is ignored: only the services release a stop, so that it is deliberate."""
        if message.data:
            self._set_ours()

    def _on_watchdog(self, message: Bool) -> None:
        if self._latch.hear(latched=bool(message.data)):
            self._on_stop()

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self._set_ours()
            self._requests.publish(Bool(data=True))  # the watchdog keeps the stop if this process dies
        elif self._may_find_watchdog():
            response.success = False
            response.message = "still looking for a watchdog, which may keep a stop; release again in a few seconds"
            return response
        else:
            self._latch.ours = False
            if self._watchdog.service_is_ready():
                self._release_watchdog()
        response.success, response.message = self.set == request.data, "stopped" if self.set else "released"
        if not response.success:
            response.message = "the watchdog keeps the stop and was not found; release again once it runs"
        return response

    def _may_find_watchdog(self) -> bool:
        """Whether this process is so new that there may be a watchdog that it has not found yet."""
        return not self._watchdog.service_is_ready() and time.monotonic() - self._started_s < DISCOVERY_S

    def _release_watchdog(self) -> None:
        self._forget_request()
        self._latch.release(time.monotonic())
        self._asked = self._watchdog.call_async(SetBool.Request(data=False))
        self._asked.add_done_callback(self._on_released)

    def _on_released(self, future: Any) -> None:
        if future is self._asked and self._latch.answered():
            self._on_stop()

    def _check(self) -> None:
        releasing = self._latch.releasing
        if self._latch.check(time.monotonic()):
            self._node.get_logger().error("the watchdog did not release its stop in time; release again")
            self._on_stop()
        if releasing and not self._latch.releasing:
            self._forget_request()

    def _forget_request(self) -> None:
        """Drop a request that was not answered: rclpy would remember it for ever."""
        if self._asked is not None and not self._asked.done():
            self._watchdog.remove_pending_request(self._asked)
        self._asked = None

    def _set_ours(self) -> None:
        self._latch.ours = True
        self._on_stop()
