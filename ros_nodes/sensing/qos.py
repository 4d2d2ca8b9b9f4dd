"""Quality of service of latched topics, and with which every publisher is heard: latched or not, reliable or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""The newest message, also for those who subscribe after it was published."""
LATCHED_BY_ALL = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Hears what each of many latching publishers sent before, and no publisher that does not latch."""
WEAKEST = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Hears every publisher from now on."""


def incompatible_qos_events(callback: Callable[[Any], None] = lambda _: None) -> SubscriptionEventCallbacks:
    """Call back when there is a publisher that a subscription cannot hear, instead of warning of it."""
    return SubscriptionEventCallbacks(incompatible_qos=callback)


def unserved_qos_events() -> PublisherEventCallbacks:
    """Say nothing when a publisher does not serve a subscription: who listens in several ways hears it in another."""
    return PublisherEventCallbacks(incompatible_qos=lambda _: None)
