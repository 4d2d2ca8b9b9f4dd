"""Listeners that receive every decision while the node is configured. Each is one class, and one entry below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from si_embodied.ros_nodes.node.annotated_image import AnnotatedImage
from si_embodied.ros_nodes.node.live_page import LivePage
from si_embodied.ros_nodes.node.record_publisher import RecordPublisher

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation


class DecisionListener(Protocol):
    """Created when the node is configured, closed when it is cleaned up. Called only from the executor's thread."""

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Handle a plan or a hold. `observation` is None if the robot had none."""

    def tick(self) -> None:
        """Called every 50 ms while the node is active; must return at once."""

    def close(self) -> None:
        """Destroy the publishers and subscriptions."""


MakeListener: TypeAlias = "Callable[[NodeView, PlannerRuntime], DecisionListener]"

LISTENERS: tuple[MakeListener, ...] = (AnnotatedImage, RecordPublisher, LivePage)
"""Created in this order. If one raises a `SiEmbodiedError`, configuring the node fails with that message."""
