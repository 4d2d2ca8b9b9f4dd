"""Targets: ROS messages, each as JSON with the fields that the product reads. No ROS is needed."""

from __future__ import annotations

import base64
import json
import math
import struct
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from harness import brief, target
from mutation import BASE64

from si_embodied.errors import BackendError, MessageError, ObservationError, TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion import outcomes
from si_embodied.ros_nodes.node.planner_watch import Beat, PlannerWatch
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.encodings import DepthLimits
from si_embodied.ros_nodes.sensing.repetition import Placed, RepetitionWatch, sample
from si_embodied.ros_nodes.sensing.synchronisation import StampSynchroniser
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer
from si_embodied.ros_nodes.sensing.transform_filter import TransformFilter

# --- messages -------------------------------------------------------------------------------------------------------

_XYZ = dict.fromkeys("xyz", "f8")
_HEADER = {"stamp": {"sec": "i4", "nanosec": "u4"}, "frame_id": "str"}
_ROI = {"x_offset": "u4", "y_offset": "u4", "height": "u4", "width": "u4"}
IMAGE = {
    "header": _HEADER, "height": "u4", "width": "u4", "encoding": "str", "is_bigendian": "u1", "step": "u4",
    "data": "bytes",
}  # fmt: skip
COMPRESSED = {"header": _HEADER, "format": "str", "data": "bytes"}
INFO = {
    "header": _HEADER, "height": "u4", "width": "u4", "distortion_model": "str", "d": ["f8"], "k": ("f8", 9),
    "p": ("f8", 12), "binning_x": "u4", "binning_y": "u4", "roi": _ROI,
}  # fmt: skip
TRANSFORM = {
    "header": _HEADER,
    "child_frame_id": "str",
    "transform": {"translation": _XYZ, "rotation": dict.fromkeys("xyzw", "f8")},
}


def message(kind: Any, plain: Any) -> Any:
    """A message with fields of its kind, as ROS guarantees them, whatever JSON says."""
    match kind:
        case dict():
            fields = plain if isinstance(plain, dict) else {}
            return SimpleNamespace(**{name: message(each, fields.get(name)) for name, each in kind.items()})
        case [each]:
            return [message(each, item) for item in plain] if isinstance(plain, list) else []
        case (each, count):
            items = plain if isinstance(plain, list) else []
            return np.array([message(each, items[at] if at < len(items) else 0) for at in range(count)])
        case "str":
            return plain if isinstance(plain, str) else ""
        case "bytes":
            return _bytes(plain)
        case "f8":
            return _float(plain)
        case _:
            bits = 8 * int(kind[1])
            value = plain % (1 << bits) if isinstance(plain, int) else 0
            return value - (1 << bits) if kind[0] == "i" and value >> (bits - 1) else value


def _bytes(plain: Any) -> bytes:
    try:
        return base64.b64decode(plain.removeprefix(BASE64))
    except (ValueError, AttributeError):
        return b""


def _float(plain: Any) -> float:
    try:
        return float(plain) if isinstance(plain, int | float) else 0.0
    except OverflowError:
        return math.inf


def plain(data: bytes) -> Any:
    """The JSON object of an input; empty if it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# --- images ---------------------------------------------------------------------------------------------------------


@target("json", "cv2")
def image(data: bytes) -> None:
    """A sensor_msgs/Image as colour and as depth: of the size that it says, and within the sensor's range."""
    given = message(IMAGE, plain(data))
    size = given.height, given.width
    try:
        rgb = bridge.rgb_of(given)
        assert (rgb.shape, rgb.dtype) == ((*size, 3), np.uint8)
    except ObservationError:
        pass
    _check_depth(given, size)
    _watch(given)


def _check_depth(given: Any, size: tuple[int, int] | None) -> None:
    for limits in (DepthLimits(), DepthLimits(0.001, 0.1, 10.0)):
        try:
            depth = bridge.depth_of(given, limits)
        except ObservationError:
            continue
        assert depth.dtype == np.float32
        assert size is None or depth.shape == size
        assert not np.isnan(depth).any()
        assert ((depth == 0) | ((depth >= np.float32(limits.nearest_m)) & (depth <= limits.farthest_m))).all()


def _watch(given: Any) -> None:
    """The image again and again, as a frozen camera sends it."""
    watch = RepetitionWatch(travel_m=0.5, standing_s=1.0)
    for stamp_s in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        if watch.due(stamp_s):
            watch.add(sample(given), stamp_s, lambda at_s: Placed("odom", Pose.planar(at_s, 0.0, 0.0)))
    assert watch.problem is None or "3.0 s" in watch.problem


@target("json", "cv2", weight=0.5)
def compressed_image(data: bytes) -> None:
    """A sensor_msgs/CompressedImage: of the size that its header says, and not too large."""
    given = message(COMPRESSED, plain(data))
    try:
        rgb = bridge.rgb_of_compressed(given)
        assert (*rgb.shape[1::-1], rgb.shape[2]) == (*bridge.image_size(given), 3)
    except ObservationError:
        pass
    _check_depth(given, None)
    sample(given)


@target("json", "cv2", weight=0.5)
def camera_info(data: bytes) -> None:
    """A sensor_msgs/CameraInfo, and small images undistorted with it."""
    given = message(INFO, plain(data))
    for rectified in (False, True):
        for size in (None, (16, 12), (given.width, given.height)):
            try:
                model = bridge.camera_model_of(given, rectified=rectified, size=size)
            except ObservationError:
                continue
            intrinsics = model.intrinsics
            assert intrinsics.width >= 1
            assert intrinsics.height >= 1
            assert math.isfinite(intrinsics.cx + intrinsics.cy)
            if intrinsics.width * intrinsics.height <= 10_000:
                image = np.full((intrinsics.height, intrinsics.width), 2.0, np.float32)
                assert set(np.unique(model.undistorted(image))) <= {0.0, 2.0}


@target("json", "cv2", "msgpack", weight=0.5)
def camera_frame(data: bytes) -> None:
    """An image, its depth and its calibration together, as the node and a replay use them."""
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.ros_nodes.sensing.frames import frame_of

    fields = plain(data)
    image, depth = (
        message(COMPRESSED if isinstance(each, dict) and "format" in each else IMAGE, each)
        for each in (fields.get("image"), fields.get("depth"))
    )
    pairs = StampSynchroniser(slop_s=0.1)
    pairs.add_image(image)
    pairs.add_depth(depth)
    for pair in pairs.pairs(after_s=-math.inf):
        try:
            frame = frame_of(
                "head", pair.image, pair.depth, message(INFO, fields.get("info")), NodeSettings(), Pose.identity()
            )
        except ObservationError:
            continue
        assert frame.rgb.shape[:2] == (frame.intrinsics.height, frame.intrinsics.width)
        assert frame.depth_m is None or not np.isnan(frame.depth_m).any()


# --- transforms -----------------------------------------------------------------------------------------------------


@target("json", weight=0.5)
def transforms(data: bytes) -> None:
    """Messages on /tf and /tf_static. What is kept is rigid, and turns as its quaternion says."""
    fields = plain(data)
    buffer, checks = TransformBuffer(), TransformFilter(now_s=lambda: 10.0, most_ahead_s=1.0, keep_s=10.0)
    frames = {"map", "base_link"}
    for topic in ("tf", "tf_static"):
        for each in message([TRANSFORM], fields.get(topic))[:20]:
            try:
                pose = checks.checked(each, static=topic == "tf_static")
            except TransformError:
                continue
            _check_rotation(pose, each.transform.rotation)
            parent, child, stamp_s = each.header.frame_id, each.child_frame_id, bridge.seconds(each.header.stamp)
            if not buffer.closes_loop(parent, child):
                buffer.add(parent, child, stamp_s, pose, static=topic == "tf_static")
                frames |= {parent, child}
    for frame in frames:
        try:
            buffer.lookup("map", frame, 9.95)
        except TransformError:
            pass
        buffer.latest("map", frame)


def _check_rotation(pose: Pose, q: Any) -> None:
    """By the formula for turning a vector by a quaternion (v + 2 q x (q x v + w v)), not by a matrix."""
    axis, vector = np.array([q.x, q.y, q.z]), np.array([1.0, 2.0, 3.0])
    norm2 = float(axis @ axis + q.w**2)
    turned = vector + 2 / norm2 * np.cross(axis, np.cross(axis, vector) + q.w * vector)
    assert np.allclose(pose.rotation @ vector, turned, atol=1e-6)


@target("json")
def pose(data: bytes) -> None:
    """A geometry_msgs/Pose, which a driver or an arm reports, and a stamp."""
    fields = plain(data)
    given = message({"position": _XYZ, "orientation": dict.fromkeys("xyzw", "f8")}, fields)
    try:
        read = bridge.pose_of_message(given)
    except ValueError:  # ConfigError
        read = None
    if read is not None:
        q = np.array([given.orientation.x, given.orientation.y, given.orientation.z, given.orientation.w])
        assert np.isfinite(q).all()
        unit = q / np.abs(q).max()
        unit /= np.linalg.norm(unit)
        assert abs(abs(float(read.quaternion() @ unit)) - 1) < 1e-6
    stamp = SimpleNamespace()
    try:
        bridge.set_stamp(stamp, _float(fields.get("time_s")))
    except ObservationError:
        return
    assert struct.pack("<iI", stamp.sec, stamp.nanosec)


# --- texts ----------------------------------------------------------------------------------------------------------


@target("json")
def goal_outcome(data: bytes) -> None:
    """A driver's report on a goal."""
    try:
        stamp_ns, outcome = outcomes.parsed(data.decode("utf-8", "replace"))
    except MessageError as error:
        brief(error)
        return
    assert type(stamp_ns) is int
    assert len(outcome.message) <= 300


@target("json")
def ground_truth(data: bytes) -> None:
    """A simulator's ground truth of an image."""
    from si_embodied.ros_nodes.node.perfect_pixels import Truth

    try:
        truth = Truth.from_json(data.decode("utf-8", "replace"))
    except BackendError as error:
        brief(error)
        return
    assert isinstance(truth.stamp_s, float)
    assert truth.kind is None or isinstance(truth.kind, str)


@target("text")
def heartbeat(data: bytes) -> None:
    """The heartbeats of planners, one a line."""
    watch = _planner_watch()
    for line in data.decode("utf-8", "replace").split("\n")[:50]:
        try:
            beat = Beat.parsed(line)
        except MessageError as error:
            brief(error)
            continue
        assert Beat.parsed(beat.text()) == beat
        watch.hear(beat, 0.0)
        assert len(watch.names) <= 20
        assert not watch.names or watch.chosen in watch.names
    watch.check(1e9)
    assert not watch.names


@cache
def _planner_watch() -> PlannerWatch:
    return PlannerWatch(1.0, started_s=0.0)
