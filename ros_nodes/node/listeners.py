"""What hears of every decision while the node is configured. Each listener is one class, and one line below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from si_embodied.ros_nodes.node.annotated_image import AnnotatedImage
from si_embodied.ros_nodes.node.record_publisher import RecordPublisher

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation


class DecisionListener(Protocol):
    """Made when the node is configured, closed when it is cleaned up. Called from the executor's thread alone."""

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """A plan, or why there is none; without an observation where the robot could not see."""

    def tick(self) -> None:
        """Called often while the node is active; it returns at once."""

    def close(self) -> None:
        """Destroy what was made on the node."""


MakeListener: TypeAlias = "Callable[[NodeView, PlannerRuntime], DecisionListener]"

LISTENERS: tuple[MakeListener, ...] = (AnnotatedImage, RecordPublisher)
"""Made in this order. One that raises a `SiEmbodiedError` fails the configuration with its reason."""
