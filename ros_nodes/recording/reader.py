"""Reads a recording back: each decision with the images and poses that it was made from. Needs no ROS."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import DataError, ObservationError, TransformError, extra
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord, Views
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.frames import frame_of
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer
from si_embodied.types import Observation

if TYPE_CHECKING:
    from si_embodied.ros_nodes.sensing.bridge import Message

RECORD_SUFFIX = "/record"
_ALWAYS_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A decision, and the observations that it was made from."""

    record: DecisionRecord
    observation: Observation | None  # None if the robot could not see, or if `missing` says what was not recorded
    keyframes: tuple[Observation, ...]
    missing: str = ""  # what the recording lacks; empty: nothing


@dataclass(slots=True)
class _Camera:
    """Messages of one camera that pending decisions refer to, by stamp."""

    images: dict[float, Message] = field(default_factory=dict)
    depths: dict[float, Message] = field(default_factory=dict)
    info: Message | None = None


class Recording:
    """A `ros2 bag` folder or an MCAP file. It is read twice: for the decisions, then for their images."""

    def __init__(self, path: Path) -> None:
        """Read the decisions and the transforms.

        Raises:
            DataError: the path is not a recording, or contains no decisions.
            MissingExtraError: rosbags is not installed.
        """
        self._path = path
        self._transforms = TransformBuffer(keep_s=_ALWAYS_S)
        self.records: list[DecisionRecord] = []
        for topic, _, message in self._messages(RECORD_SUFFIX, "/tf", "/tf_static"):
            if topic.endswith(RECORD_SUFFIX):
                self.records.append(DecisionRecord.from_json(message.data))
            else:
                self._add_transforms(message, static=topic == "/tf_static")
        if not self.records:
            raise DataError(
                f"{str(path)!r} contains no planner decisions; record the topic planner{RECORD_SUFFIX} too, as "
                "recorder_node does"
            )

    def decisions(self) -> Iterator[Recorded]:
        """The decisions in order, each as soon as all its images have been read.

        Raises:
            DataError: the recording cannot be read.
        """
        waiting = deque(self.records)
        wanted = Counter((camera, stamp_s) for record in waiting for camera, stamp_s in _images(record))
        cameras = {name: _Camera() for record in waiting for name in record.topics}
        by_topic = {
            topic: (name, kind)
            for record in waiting
            for name, topics in record.topics.items()
            for topic, kind in (
                (topics.image, "image"), (f"{topics.image}/compressed", "image"), (topics.depth, "depth"),
                (topics.info, "info"),
            )
        }  # fmt: skip
        stamps = {name: {stamp_s for camera, stamp_s in wanted if camera == name} for name in cameras}
        slop_s = max(record.settings.join_slop_s for record in waiting)
        for topic, _, message in self._messages(*by_topic):
            name, kind = by_topic[topic]
            camera, stamp_s = cameras[name], bridge.seconds(message.header.stamp)
            if kind == "info":
                camera.info = message
            elif kind == "image" and stamp_s in stamps[name]:
                camera.images[stamp_s] = message
            elif kind == "depth" and any(abs(stamp_s - each) <= slop_s for each in stamps[name]):
                camera.depths[stamp_s] = message
            else:
                continue
            while waiting and self._complete(waiting[0], cameras):
                yield self._recorded(waiting.popleft(), cameras, wanted)
        while waiting:
            yield self._recorded(waiting.popleft(), cameras, wanted)

    def _messages(self, *topics: str) -> Iterator[tuple[str, int, Message]]:
        """Messages on topics that end in one of `topics`, in the order in which they were recorded."""
        with extra("bags"):
            from rosbags.highlevel import AnyReader, AnyReaderError
            from rosbags.rosbag2 import ReaderError
            from rosbags.serde import SerdeError
        try:
            with AnyReader([self._path]) as reader:
                connections = [each for each in reader.connections if each.topic.endswith(topics)]
                if not connections:
                    return
                for connection, stamp_ns, raw in reader.messages(connections):
                    yield connection.topic, stamp_ns, reader.deserialize(raw, connection.msgtype)
        except (AnyReaderError, ReaderError, SerdeError, OSError) as error:
            raise DataError(f"{str(self._path)!r} cannot be read as a recording: {error}") from error

    def _add_transforms(self, message: Any, *, static: bool) -> None:
        for each in message.transforms:
            pose, stamp_s = bridge.pose_of_transform(each.transform), bridge.seconds(each.header.stamp)
            self._transforms.add(each.header.frame_id, each.child_frame_id, stamp_s, pose, static=static)

    @staticmethod
    def _complete(record: DecisionRecord, cameras: dict[str, _Camera]) -> bool:
        """Whether every image has been read, with depth; a decision made without depth waits for the file's end."""
        return all(
            stamp_s in cameras[name].images
            and _nearest(cameras[name], stamp_s, record.settings.join_slop_s) is not None
            and cameras[name].info is not None
            for name, stamp_s in _images(record)
        )

    def _recorded(self, record: DecisionRecord, cameras: dict[str, _Camera], wanted: Counter[Any]) -> Recorded:
        try:
            keyframes = tuple(self._observation(record, views, cameras) for views in record.keyframes)
            seen = None if record.views is None else self._observation(record, record.views, cameras)
            recorded = Recorded(record, None if seen is None else replace(seen, arm=record.arm), keyframes)
        except (ObservationError, TransformError) as error:
            recorded = Recorded(record, None, (), missing=str(error))
        for name, stamp_s in _images(record):
            wanted[name, stamp_s] -= 1
            if not wanted[name, stamp_s]:  # no later decision refers to it
                cameras[name].images.pop(stamp_s, None)
                cameras[name].depths.pop(stamp_s, None)
        return recorded

    def _observation(self, record: DecisionRecord, views: Views, cameras: dict[str, _Camera]) -> Observation:
        """The observation as the planner node had it.

        Raises:
            ObservationError: an image or a calibration is not in the recording.
            TransformError: a transform is not in the recording.
        """
        settings = record.settings
        frames = []
        for name, stamp_s in views.items():
            camera = cameras[name]
            image = camera.images.get(stamp_s)
            if image is None or camera.info is None:
                missing = "calibration" if image is not None else f"image of {stamp_s:.3f} s"
                raise ObservationError(f"no {missing} of the camera {name!r}")
            depth = _nearest(camera, stamp_s, settings.join_slop_s)
            T_map_camera = self._transforms.lookup(settings.map_frame, image.header.frame_id, stamp_s)
            frames.append(frame_of(name, image, depth, camera.info, settings, T_map_camera))
        stamp_s = max(views.values())
        T_map_base = self._transforms.lookup(settings.map_frame, settings.base_frame, stamp_s)
        return Observation(stamp_s, tuple(frames), T_map_base)


def _images(record: DecisionRecord) -> Iterator[tuple[str, float]]:
    """The camera and stamp of every image that a decision was made from."""
    for views in (*record.keyframes, record.views or {}):
        yield from views.items()


def _nearest(camera: _Camera, stamp_s: float, slop_s: float) -> Message | None:
    """The depth image closest to a stamp, None if none is close enough."""
    nearest = min(camera.depths, key=lambda each: abs(each - stamp_s), default=None)
    return camera.depths[nearest] if nearest is not None and abs(nearest - stamp_s) <= slop_s else None
