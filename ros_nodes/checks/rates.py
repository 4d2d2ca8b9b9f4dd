"""Listens to image topics for a few seconds: `si-embodied doctor --deploy --topic …`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from si_embodied.findings import Finding
from si_embodied.ros_nodes.checks.stamps import judge_stamps, stamps_of
from si_embodied.ros_nodes.sensing import bridge

LISTENS_S = 5.0


def check_rates(topics: Sequence[str], seconds: float = LISTENS_S) -> Iterator[Finding]:
    """Judge the rate, jitter and age of each topic; the time of discovery does not count."""
    context = Context()
    rclpy.init(context=context)
    node = Node("si_embodied_rates", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        heard = {topic: Arrivals(node, topic) for topic in topics}
        _spin(executor, seconds, lambda: all(each.stamps_s for each in heard.values()))
        for each in heard.values():
            each.clear()
        _spin(executor, seconds, lambda: False)
        for topic, each in heard.items():
            yield judge_stamps(topic, stamps_of(each.stamps_s, each.arrivals_s), seconds=seconds)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def _spin(executor: Any, seconds: float, done: Any) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and not done():
        executor.spin_once(timeout_sec=0.05)


class Arrivals:
    """When the images of a topic were exposed and when they arrived, by the node's clock."""

    def __init__(self, node: Any, topic: str) -> None:
        """Subscribe; a topic whose name ends in /compressed has compressed images."""
        self.stamps_s: list[float] = []
        self.arrivals_s: list[float] = []
        kind = CompressedImage if topic.endswith(("/compressed", "/compressedDepth")) else Image
        node.create_subscription(kind, topic, partial(self._add, node), qos_profile_sensor_data)

    def clear(self) -> None:
        """Forget what has arrived."""
        self.stamps_s.clear()
        self.arrivals_s.clear()

    def _add(self, node: Any, message: Any) -> None:
        self.stamps_s.append(bridge.seconds(message.header.stamp))
        self.arrivals_s.append(1e-9 * float(node.get_clock().now().nanoseconds))
