"""What the pieces of the planner node see of it: less than the node, so that none of them imports it."""

from __future__ import annotations

from typing import Any, Protocol


class NodeView(Protocol):
    """The planner node: an rclpy lifecycle node that says whether it may act."""

    active: bool  # takes tasks
    stopped: bool  # by the emergency stop, until it is released
    executor: Any

    def create_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's: silent while the node is inactive."""

    def destroy_lifecycle_publisher(self, publisher: Any) -> Any:
        """As rclpy's."""

    def create_subscription(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""

    def create_service(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""

    def get_logger(self) -> Any:
        """As rclpy's."""

    def get_fully_qualified_name(self) -> str:
        """As rclpy's."""
