"""Passes a simulated robot's sensors on to the planner, with the faults that the runner asks for on `chaos/faults`.

The robot publishes under `sim/`; the planner, the watchdog and the rest hear what comes out here.
"""

from __future__ import annotations

import array
import json
import math
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, String
from tf2_msgs.msg import TFMessage

from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED

LATE_S, AHEAD_S, CLOCK_AHEAD_S = 3.0, 5.0, 3.0
_QOS = QoSProfile(depth=100)


class Relay(Node):
    """One node; `faults` are the names of those being injected."""

    def __init__(self, cameras: list[str]) -> None:
        super().__init__("relay")
        self.faults: set[str] = set()
        self.shift_s = 0.0  # of every stamp, grown by jumps of the clock
        self.now_s = 0.0  # simulated time, unshifted
        self.frozen: dict[str, Any] = {}  # the last data of an image topic
        self.late: deque[tuple[float, Any, Any]] = deque()  # due, publisher, message
        self.create_subscription(String, "chaos/faults", self.on_faults, LATCHED)
        self.relay(Clock, "/clock", self.clock, name="sim/clock")
        self.relay(TFMessage, "/tf", self.transforms, name="sim/tf")
        self.relay(TFMessage, "/tf_static", lambda message: message, LATCHED, name="sim/tf_static")
        self.relay(Odometry, "odom", self.odometry)
        self.relay(Float64, "gripper/opening", lambda message: None if "the opening stops" in self.faults else message)
        for outcome in ("navigation/outcome", "arm/outcome"):
            self.relay(String, outcome, lambda message: message, LATCHED)
        self.relay(String, "sim_node/ground_truth", self.truth)
        for camera in cameras:
            self.relay(Image, f"{camera}/image_raw", self.image)
            self.relay(Image, f"{camera}/depth", self.depth)
            self.relay(CameraInfo, f"{camera}/camera_info", self.calibration)

    def relay(self, kind: Any, topic: str, change: Callable[[Any], Any], qos: Any = _QOS, name: str = "") -> None:
        publisher = self.create_publisher(kind, topic, qos)

        def on_message(message: Any) -> None:
            changed = change(message)
            if changed is None:
                return
            if kind is Image and "images arrive 3 s late" in self.faults:
                self.late.append((self.now_s + LATE_S, publisher, changed))
            else:
                publisher.publish(changed)

        self.create_subscription(kind, name or f"sim/{topic}", on_message, qos)

    def on_faults(self, message: String) -> None:
        values = json.loads(message.data)
        self.faults, self.shift_s = set(values["faults"]), float(values["shift_s"])
        if "images are frozen" not in self.faults:
            self.frozen.clear()

    def shift(self, stamp: Any, by_s: float = 0.0) -> None:
        bridge.set_stamp(stamp, max(0.0, bridge.seconds(stamp) + self.shift_s + by_s))

    # --- one kind of message each -------------------------------------------------------------------------------------

    def clock(self, message: Clock) -> Clock | None:
        self.now_s = bridge.seconds(message.clock)
        while self.late and self.late[0][0] <= self.now_s:
            _, publisher, late = self.late.popleft()
            publisher.publish(late)
        self.shift(message.clock, CLOCK_AHEAD_S if "the clock is 3 s ahead" in self.faults else 0.0)
        return None if "the clock stops" in self.faults else message

    def transforms(self, message: TFMessage) -> TFMessage | None:
        if "transforms stop" in self.faults:
            return None
        ahead_s = AHEAD_S if "transforms are stamped 5 s ahead" in self.faults else 0.0
        for each in message.transforms:
            self.shift(each.header.stamp, ahead_s)
            if "transforms are NaN" in self.faults:
                each.transform.translation.x = math.nan
        return message

    def odometry(self, message: Odometry) -> Odometry | None:
        self.shift(message.header.stamp)
        if "odometry is NaN" in self.faults:
            message.twist.twist.linear.x = message.pose.pose.position.x = math.nan
        return None if "odometry stops" in self.faults else message

    def truth(self, message: String) -> String:
        values = json.loads(message.data)
        values["stamp_s"] += self.shift_s
        return String(data=json.dumps(values))

    def image(self, message: Image) -> Image | None:
        if self.faults & {"images stop", "cameras stop"}:
            return None
        if "images are larger than their data" in self.faults:
            message.width, message.height = 13_000, 13_000
        return self.stamped_image(message, "colour")

    def depth(self, message: Image) -> Image | None:
        if self.faults & {"depth stops", "cameras stop"}:
            return None
        if "depth is in the wrong unit" in self.faults:  # metres, said to be millimetres
            metres = array.array("f", message.data.tobytes())
            message.data = array.array("B", array.array("H", [int(min(each, 60.0)) for each in metres]).tobytes())
            message.encoding, message.step = "16UC1", 2 * message.width
        if "depth is empty" in self.faults:
            message.data = array.array("B", bytes(len(message.data)))
        return self.stamped_image(message, "depth")

    def stamped_image(self, message: Image, kind: str) -> Image:
        key = f"{message.header.frame_id} {kind}"
        if "images are frozen" in self.faults:
            message.data = self.frozen.setdefault(key, message.data)
        self.shift(message.header.stamp, AHEAD_S if "images are stamped 5 s ahead" in self.faults else 0.0)
        return message

    def calibration(self, message: CameraInfo) -> CameraInfo | None:
        if "cameras stop" in self.faults:
            return None
        if "calibration is NaN" in self.faults:
            message.k[0] = math.nan
        self.shift(message.header.stamp)
        return message


if __name__ == "__main__":
    rclpy.init()
    relay, executor = Relay(remove_ros_args(sys.argv)[1:]), EventsExecutor()  # a fast one: the planner is measured
    executor.add_node(relay)
    try:
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
