"""A node that only keeps the callbacks of its subscriptions, and a robot that calls them with messages at will."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.sensors import Sensors

WIDTH, HEIGHT = 64, 48
K = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
P = [40.0, 0.0, 31.5, 0.0, 0.0, 40.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
PIXELS = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
RAMP = np.tile(np.linspace(1.0, 3.0, WIDTH, dtype=np.float32), (HEIGHT, 1))  # a wall at an angle


class Node:
    """What `Sensors` needs of an rclpy node, without ROS running."""

    def __init__(self, *, use_sim_time: bool = False) -> None:
        self.now_s = 1000.0
        self.use_sim_time = use_sim_time
        self.callbacks: dict[str, list[Callable[[Any], None]]] = defaultdict(list)
        self.timers: list[Callable[[], None]] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: Any, event_callbacks: Any = None
    ) -> Any:
        self.callbacks[topic].append(callback)
        return SimpleNamespace(topic_name=topic)

    def destroy_subscription(self, subscription: Any) -> None:
        self.callbacks.pop(subscription.topic_name, None)

    def create_timer(self, period_s: float, callback: Callable[[], None], clock: Any = None) -> Any:
        self.timers.append(callback)
        return callback

    def destroy_timer(self, timer: Any) -> None:
        self.timers.remove(timer)

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=round(self.now_s * 1e9)))

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=getattr(self, name))

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=self.warnings.append, error=self.errors.append)

    def send(self, topic: str, message: Any) -> None:
        """What the executor does with a message; a latched topic has two subscriptions, one of which hears it."""
        self.callbacks[topic][0](message)


def stamped(message: Any, stamp_s: float, frame: str = "optical") -> Any:
    """A message with its header filled in."""
    message.header.frame_id = frame
    bridge.set_stamp(message.header.stamp, stamp_s)
    return message


def info(**changes: Any) -> CameraInfo:
    values = {"k": K, "p": P, "d": [0.0] * 5, "distortion_model": "plumb_bob", "width": WIDTH, "height": HEIGHT}
    return CameraInfo(**{**values, **changes})


def colour(pixels: np.ndarray = PIXELS) -> Image:
    height, width, channels = pixels.shape
    return Image(width=width, height=height, step=width * channels, encoding="rgb8", data=pixels.tobytes())


def depth(metres: np.ndarray = RAMP, encoding: str = "32FC1") -> Image:
    data = metres.astype({"32FC1": "<f4", "16UC1": "<u2"}[encoding])
    return Image(
        width=data.shape[1], height=data.shape[0], step=data.strides[0], encoding=encoding, data=data.tobytes()
    )


def transform(parent: str, child: str, pose: Pose, stamp_s: float) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    bridge.set_transform(message.transform, pose)
    return stamped(message, stamp_s, parent)


class Robot:
    """A base with one or more cameras, whose messages are as good as a test lets them be."""

    def __init__(self, *, node: Node | None = None, cameras: tuple[str, ...] = ("head",), **settings: Any) -> None:
        self.node = node or Node()
        self.sensors = Sensors(self.node, NodeSettings(cameras=cameras, **settings))
        self.cameras = cameras
        self.x = 0.0
        self.seed = 0  # of the noise in colour and depth; None: the images stay the same
        static = [transform("base_link", frame, Pose.identity(), 0.0) for frame in ("optical", *cameras)]
        self.node.send("/tf_static", TFMessage(transforms=static))
        for camera in cameras:
            self.node.send(f"{camera}/camera_info", info())

    def send_transforms(self, stamp_s: float | None = None, parent: str = "map", child: str = "base_link") -> None:
        stamp_s = self.node.now_s if stamp_s is None else stamp_s
        self.node.send("/tf", TFMessage(transforms=[transform(parent, child, Pose.planar(self.x, 0, 0), stamp_s)]))

    def send_images(self, camera: str = "head", stamp_s: float | None = None, **changes: Any) -> None:
        """An image and its depth; `image` and `depth` replace the messages, None leaves one out."""
        stamp_s = self.node.now_s if stamp_s is None else stamp_s
        noise = np.random.default_rng(self.seed)
        messages = {
            "image_raw": changes.get("image", colour(noise.integers(0, 256, PIXELS.shape, np.uint8))),
            "depth": changes.get("depth", depth(RAMP + noise.random(RAMP.shape, np.float32) * 0.01)),
        }
        for topic, message in messages.items():
            if message is not None:
                frame = message.header.frame_id or "optical"
                self.node.send(f"{camera}/{topic}", stamped(message, stamp_s, frame))

    def step(self, seconds: float = 0.05, *, speed: float = 0.0, frozen: bool = False, **changes: Any) -> None:
        """Some time later: everything is sent once."""
        self.node.now_s += seconds
        self.x += speed * seconds
        self.seed += 0 if frozen else 1
        self.send_transforms()
        for camera in self.cameras:
            self.send_images(camera, **changes)
