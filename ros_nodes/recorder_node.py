"""Records what the planner sees, decides and does: `ros2 run si_embodied recorder_node`, until Ctrl-C.

`ros2 bag` opens the folder, Foxglove the MCAP file in it, and `si-embodied replay` either of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from si_embodied.errors import ObservationError, RecordError, SiEmbodiedError
from si_embodied.plugins import load_plugins
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.node.spinning import spin_while
from si_embodied.ros_nodes.recording.bags import BagWriter, Topic, definition_of
from si_embodied.ros_nodes.recording.settings import RecorderSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.opencv import import_opencv

LOOK_S = 0.25
"""Period at which newly published topics are looked for."""
_DEPTH = 100


class Recorder:
    """Subscribes to topics as they appear and writes their messages, undecoded except for images to compress."""

    def __init__(self, node: Node) -> None:
        """Open the recording.

        Raises:
            SiEmbodiedError: the recording cannot be opened, or a setting is invalid.
        """
        parameters.declare(node, RecorderSettings)
        settings = parameters.read(node, RecorderSettings)
        if settings.image_format != "raw":
            import_opencv()  # a missing one is reported before anything is recorded
        self._node, self._settings = node, settings
        self.bag = BagWriter(settings.folder, compression=settings.compression)
        self.error: RecordError | None = None  # what ended the recording
        cameras = settings.cameras
        self._images = {node.resolve_topic_name(f"{name}/image_raw") for name in cameras}
        depth = "depth/compressedDepth" if settings.depth_compressed else "depth"
        suffixes = ("image_raw", "image_raw/compressed", depth, "camera_info")
        wanted = [*settings.topics, *(f"{name}/{suffix}" for name in cameras for suffix in suffixes)]
        self._wanted = {node.resolve_topic_name(name) for name in wanted}
        # A steady clock: simulated time may not have begun.
        node.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Finish the file.

        Raises:
            RecordError: the file cannot be finished.
        """
        self.bag.close()

    def _look(self) -> None:
        """Put what was recorded on disk, and subscribe to wanted topics that are published by now."""
        try:
            self.bag.flush()
            self._subscribe_to_new()
        except RecordError as error:
            self.error = error

    def _subscribe_to_new(self) -> None:
        if not self._now_ns():
            return  # before simulated time has begun, stamps would be of 1970
        for name, types in self._node.get_topic_names_and_types():
            if name in self._wanted and self._node.count_publishers(name):
                self._wanted.discard(name)
                self._subscribe(name, types[0])

    def _subscribe(self, name: str, type_name: str) -> None:
        try:
            package, _, short = type_name.split("/")
            kind = getattr(importlib.import_module(f"{package}.msg"), short)
            definition = definition_of(kind)
        except (ImportError, AttributeError, ValueError):
            self._node.get_logger().error(f"{name} is not recorded: its type {type_name} is not installed")
            return
        qos = self._qos_of(name)
        latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        compressed = name in self._images and kind is Image and self._settings.image_format != "raw"
        topic = Topic(name, type_name, definition, latched)
        if compressed:
            topic = Topic(f"{name}/compressed", "sensor_msgs/msg/CompressedImage", definition_of(CompressedImage))
            self._wanted.discard(topic.name)
        if topic.name in self.bag.topics:  # the camera publishes compressed images itself
            return
        self.bag.add(topic)
        self._node.create_subscription(kind, name, self._writer_of(topic, compressed=compressed), qos, raw=True)
        self._node.get_logger().info(f"recording {topic.name}")

    def _qos_of(self, name: str) -> QoSProfile:
        """The strictest that every publisher of a topic serves."""
        publishers = [each.qos_profile for each in self._node.get_publishers_info_by_topic(name)]
        reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in publishers)
        latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in publishers)
        return QoSProfile(
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

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
                self._node.get_logger().warning(f"{topic.name}: not recorded: {error}", throttle_duration_sec=5.0)

        return write

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _compressed(self, data: bytes) -> bytes:
        """Convert a serialised `Image` to a serialised `CompressedImage`.

        Raises:
            ObservationError: the image cannot be compressed.
        """
        try:
            return self._encoded(data)
        except Exception as error:  # OpenCV and rclpy raise types of their own
            raise ObservationError(str(error)) from error

    def _encoded(self, data: bytes) -> bytes:
        cv2 = import_opencv()
        image: Any = deserialize_message(data, Image)
        form, bgr = self._settings.image_format, np.ascontiguousarray(bridge.rgb_of(image)[..., ::-1])
        quality = (cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality)
        options = quality if form == "jpeg" else (cv2.IMWRITE_PNG_COMPRESSION, 1)  # lossless and fast
        message = CompressedImage(header=image.header, format=f"rgb8; {form} compressed bgr8")
        message.data = cv2.imencode(f".{form}", bgr, options)[1].tobytes()
        return bytes(serialize_message(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM, whatever arrives. Returns 2 if the recording fails."""
    interrupted = init_until_interrupted(arguments)
    node = Node("recorder")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    recorder: Recorder | None = None
    code = 0
    try:
        load_plugins()
        recorder = Recorder(node)
        node.get_logger().info(f"recording to {recorder.bag.folder}; press Ctrl-C to stop")
        running = recorder
        spin_while(node, executor, lambda: not interrupted() and running.error is None)
        if recorder.error is not None:
            raise recorder.error
    except SiEmbodiedError as error:
        node.get_logger().fatal(str(error))
        code = 2
    finally:  # whatever was raised: the file is finished
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
