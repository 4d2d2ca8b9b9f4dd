"""Records what the planner sees, decides and brings about: `ros2 run si_embodied recorder_node`, ended by Ctrl-C.

The folder that it makes is opened by `ros2 bag`, the file in it by Foxglove, and either by `si-embodied replay`.
"""

from __future__ import annotations

import importlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from si_embodied.errors import ConfigError, ObservationError, RecordError, SiEmbodiedError, extra
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.recording.bags import COMPRESSIONS, BagWriter, Topic, definition_of
from si_embodied.ros_nodes.sensing import bridge

LOOK_S = 0.25
"""Between two looks for topics that have come up."""
IMAGE_FORMATS = ("jpeg", "png", "raw")
_SPIN_S = 0.05
_DEPTH = 100


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """The recorder node."""

    output: str = ""  # folder to make; empty: recording_ and the time, in the working directory
    cameras: tuple[str, ...] = ("head",)  # as the planner's; NAME/depth and NAME/camera_info are recorded too
    image_format: str = "jpeg"  # jpeg, png (no loss) or raw; images that come compressed are kept as they are
    jpeg_quality: int = 90
    compression: str = "zstd"  # of the file: zstd, lz4 or none
    topics: tuple[str, ...] = (  # beside the cameras'; what nobody publishes is waited for
        "planner/record", "planner/plan", "planner/status", "planner/markers", "planner/annotated", "instruction",
        "emergency_stop", "/tf", "/tf_static", "/diagnostics", "odom", "scan", "goal_pose", "navigation/outcome",
        "arm/goal", "arm/outcome", "gripper/goal", "gripper/opening",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse what cannot be honoured."""
        if self.image_format not in IMAGE_FORMATS:
            raise ConfigError(f"expected image_format to be {', '.join(IMAGE_FORMATS)}, got: {self.image_format!r}")
        if self.compression not in COMPRESSIONS:
            raise ConfigError(f"expected compression to be {', '.join(COMPRESSIONS)}, got: {self.compression!r}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"expected jpeg_quality to be 1 to 100, got: {self.jpeg_quality}")

    @property
    def folder(self) -> Path:
        """The folder to make now."""
        now = time.strftime("%Y_%m_%d-%H_%M_%S")
        return Path(self.output).expanduser() if self.output else Path(f"recording_{now}")


class Recorder:
    """Subscribes to topics as they come up, and writes what they bring, undecoded but for images to compress."""

    def __init__(self, node: Node) -> None:
        """Open the recording.

        Raises:
            SiEmbodiedError: it cannot be opened, or the settings cannot be honoured.
        """
        parameters.declare(node, RecorderSettings)
        settings = parameters.read(node, RecorderSettings)
        if settings.image_format != "raw":
            _require_pillow()
        self._node, self._settings = node, settings
        self.bag = BagWriter(settings.folder, compression=settings.compression)
        self.error: RecordError | None = None  # what ended the recording
        cameras = settings.cameras
        self._images = {node.resolve_topic_name(f"{name}/image_raw") for name in cameras}
        suffixes = ("image_raw", "image_raw/compressed", "depth", "camera_info")
        wanted = [*settings.topics, *(f"{name}/{suffix}" for name in cameras for suffix in suffixes)]
        self._wanted = {node.resolve_topic_name(name) for name in wanted}
        # A steady clock: simulated time may not have begun.
        node.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Finish the file.

        Raises:
            RecordError: it cannot be finished.
        """
        self.bag.close()

    def _look(self) -> None:
        """Subscribe to what is wanted and there."""
        if not self._now_ns():
            return  # stamps of before simulated time has begun would be of 1970
        for name, types in self._node.get_topic_names_and_types():
            if name in self._wanted and self._node.count_publishers(name):
                self._wanted.discard(name)
                self._subscribe(name, types[0])

    def _subscribe(self, name: str, type_name: str) -> None:
        try:
            package, _, short = type_name.split("/")
            kind = getattr(importlib.import_module(f"{package}.msg"), short)
        except (ImportError, AttributeError, ValueError):
            self._node.get_logger().error(f"{name} is not recorded: its type {type_name} is not installed")
            return
        publishers = self._node.get_publishers_info_by_topic(name)
        reliable = all(each.qos_profile.reliability == ReliabilityPolicy.RELIABLE for each in publishers)
        latched = all(each.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in publishers)
        qos = QoSProfile(
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        compressed = name in self._images and kind is Image and self._settings.image_format != "raw"
        topic = Topic(name, type_name, definition_of(kind), latched)
        if compressed:
            topic = Topic(f"{name}/compressed", "sensor_msgs/msg/CompressedImage", definition_of(CompressedImage))
            self._wanted.discard(topic.name)
        if topic.name in self.bag.topics:  # the camera compresses too
            return
        self.bag.add(topic)
        self._node.create_subscription(kind, name, self._writer_of(topic, compressed=compressed), qos, raw=True)
        self._node.get_logger().info(f"recording {topic.name}")

    def _writer_of(self, topic: Topic, *, compressed: bool) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            if self.error is not None:
                return
            now_ns = self._now_ns()
            try:
                self.bag.write(topic.name, self._compressed(data) if compressed else data, now_ns)
            except RecordError as error:
                self.error = error
            except ObservationError as error:
                self._node.get_logger().warning(f"not recorded: {error}", throttle_duration_sec=5.0)

        return write

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _compressed(self, data: bytes) -> bytes:
        """A serialised `Image` as a serialised `CompressedImage`."""
        from PIL import Image as Pillow

        image: Any = deserialize_message(data, Image)
        buffer = io.BytesIO()
        form = self._settings.image_format
        options = {"quality": self._settings.jpeg_quality} if form == "jpeg" else {"compress_level": 1}
        Pillow.fromarray(bridge.rgb_of(image)).save(buffer, form, **options)
        message = CompressedImage(header=image.header, format=f"rgb8; {form} compressed bgr8")
        message.data = buffer.getvalue()
        return bytes(serialize_message(message))


def _require_pillow() -> None:
    with extra("bags"):
        import PIL  # noqa: F401


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; 2 where that is impossible."""
    interrupted = init_until_interrupted(arguments)
    node = Node("recorder")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    recorder: Recorder | None = None
    code = 0
    try:
        recorder = Recorder(node)
        node.get_logger().info(f"recording to {recorder.bag.folder}; Ctrl-C ends it")
        while not interrupted() and recorder.error is None:
            executor.spin_once(timeout_sec=_SPIN_S)
        if recorder.error is not None:
            raise recorder.error
    except SiEmbodiedError as error:
        node.get_logger().fatal(str(error))
        code = 2
    if recorder is not None:
        code = max(code, _finished(recorder, node))
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return code


def _finished(recorder: Recorder, node: Node) -> int:
    try:
        recorder.close()
    except RecordError as error:
        if recorder.error is None:
            node.get_logger().fatal(str(error))
        return 2
    node.get_logger().info(f"recorded {recorder.bag.messages} messages to {recorder.bag.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
