"""The interface through which the planner node's parts use the node, so that they need not import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.boundary import Boundary


class NodeView(Protocol):
    """An rclpy lifecycle node that knows whether it may act."""

    active: bool  # accepts tasks
    boundary: Boundary
    executor: Any

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is set."""

    @property
    def held(self) -> str:
        """Why the watchdog does not let this planner act; empty if it does."""

    @property
    def watchdog(self) -> str:
        """The watchdog's state, in words."""

    @property
    def stopping(self) -> bool:
        """Whether the robot may still move."""

    def create_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """See rclpy."""

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """See rclpy; publishes nothing while the node is inactive."""

    def destroy_lifecycle_publisher(self, publisher: Any) -> Any:
        """See rclpy."""

    def create_subscription(self, *args: Any, **kwargs: Any) -> Any:
        """See rclpy."""

    def create_service(self, *args: Any, **kwargs: Any) -> Any:
        """See rclpy."""

    def get_logger(self) -> Any:
        """See rclpy."""

    def get_fully_qualified_name(self) -> str:
        """See rclpy."""
