"""A planning server in a process of its own, whose model is perfect pixels: `PORT NOT_BEFORE_S READY_FILE`.

It serves once it hears ground truth, but not before NOT_BEFORE_S on the monotonic clock, which all processes share.
Then it writes the time to READY_FILE.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels
from si_embodied.serving.messages import PlanRequest
from si_embodied.serving.options import Limits, ServeOptions
from si_embodied.serving.run import serve
from si_embodied.serving.service import PlanningService
from si_embodied.types import Decision

THINKS_S = 0.5
"""What a small model takes for a plan, so that there is a time to die in."""


class SlowService(PlanningService):
    """Thinks for a while before it decides."""

    def decide(self, request: PlanRequest, waited_s: float) -> Decision:
        time.sleep(THINKS_S)
        return super().decide(request, waited_s)


def main(port: int, not_before_s: float, ready: Path) -> None:
    rclpy.init()
    node, backend, heard = Node("planning_server"), PerfectPixels(), threading.Event()

    def on_truth(message: String) -> None:
        backend.on_truth(message)
        heard.set()

    node.create_subscription(String, "sim_node/ground_truth", on_truth, QoSProfile(depth=50))
    threading.Thread(target=spin, args=(node,), daemon=True).start()
    heard.wait()
    time.sleep(max(0.0, not_before_s - time.monotonic()))
    options = ServeOptions(port=port, limits=Limits(per_s=1000.0, burst=1000))
    serve(SlowService(backend), options, ready=lambda _: note(ready))


def spin(node: Node) -> None:
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        pass


def note(file: Path) -> None:
    """Write the time in one step, so that nobody reads half of it."""
    half = file.with_suffix(".half")
    half.write_text(str(time.monotonic()))
    half.rename(file)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
