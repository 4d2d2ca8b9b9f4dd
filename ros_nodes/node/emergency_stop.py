"""The emergency stop: heard from every kind of publisher, latched here and by the watchdog, released by service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from si_embodied.ros_nodes.sensing.qos import LATCHED

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

TOPIC, LATCHED_TOPIC, WATCHDOG_SERVICE = "emergency_stop", "emergency_stop_latched", "watchdog/emergency_stop"
_QOS = (QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), QoSProfile(depth=1), LATCHED)
"""Best effort hears every live publisher but may lose a message; latched hears only latched publishers."""

_RELEASE_S = 1.0
"""Time for the watchdog to release its stop."""


def subscribe_to_any(node: Any, kind: type, topic: str, callback: Callable[[Any], None]) -> list[Any]:
    """Subscribe to best-effort, reliable and latched publishers; a message may arrive up to three times."""
    silent = SubscriptionEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
    return [node.create_subscription(kind, topic, callback, qos, event_callbacks=silent) for qos in _QOS]


class EmergencyStop:
    """The planner's side. The robot is stopped while either this node or the watchdog has latched a stop."""

    def __init__(self, node: Any, on_stop: Callable[[], None]) -> None:
        """Listen, and serve `~/emergency_stop`; `on_stop` is called at every request to stop."""
        self._node, self._on_stop = node, on_stop
        self._ours = self._watchdogs = False
        self._releasing_until_s = 0.0  # time.monotonic; what the watchdog said before is ignored
        subscribe_to_any(node, Bool, TOPIC, self._on_topic)
        node.create_subscription(Bool, LATCHED_TOPIC, self._on_watchdog, LATCHED)
        node.create_service(SetBool, "~/emergency_stop", self._on_service)
        # The latched subscriptions do not match this one, and need not: the others do.
        silent = PublisherEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
        self._requests = node.create_publisher(Bool, TOPIC, 1, event_callbacks=silent)
        self._watchdog = node.create_client(SetBool, WATCHDOG_SERVICE)

    @property
    def set(self) -> bool:
        """Whether the robot must stand."""
        return self._ours or self._watchdogs

    def _on_topic(self, message: Bool) -> None:
        """True sets the stop. False is ignored: only the services release a stop, so that it is deliberate."""
        if message.data:
            self._latch()

    def _on_watchdog(self, message: Bool) -> None:
        if message.data and time.monotonic() < self._releasing_until_s:
            return  # sent before it heard of the release; a new stop is also heard on the topic itself
        self._watchdogs, self._releasing_until_s = bool(message.data), 0.0
        if self._watchdogs:
            self._on_stop()

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self._latch()
            self._requests.publish(Bool(data=True))  # the watchdog keeps the stop if this process dies
        else:
            self._ours = False
            if self._watchdog.service_is_ready():
                self._watchdogs, self._releasing_until_s = False, time.monotonic() + _RELEASE_S
                self._watchdog.call_async(SetBool.Request(data=False)).add_done_callback(self._on_released)
        response.success, response.message = self.set == request.data, "stopped" if self.set else "released"
        if not response.success:
            response.message = "the watchdog keeps the stop and was not found; release again once it runs"
        return response

    def _on_released(self, _: Any) -> None:
        self._releasing_until_s = 0.0

    def _latch(self) -> None:
        self._ours = True
        self._on_stop()
