"""Reads a recording back: each decision with the images and poses that it was made from. Needs no ROS."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import DataError, MissingExtraError, ObservationError, TransformError
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord, Views
from si_embodied.ros_nodes.recording.messages import TRANSFORMS, RecordedMessages, Transform
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.frames import frame_of
from si_embodied.types import Observation

if TYPE_CHECKING:
    from si_embodied.memory import Memory
    from si_embodied.ros_nodes.sensing.bridge import Message
    from si_embodied.types import CameraFrame

_LOG = logging.getLogger(__name__)

RECORD_SUFFIX = "/record"


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A decision, and the observations that it was made from."""

    record: DecisionRecord
    observation: Observation | None  # None if the robot could not see, or if `missing` says what was not recorded
    unmapped: tuple[Observation, ...]  # to be mapped before the plan
    memory: Memory  # with its views
    missing: str = ""  # what the recording lacks; empty: nothing


@dataclass(slots=True)
class _Camera:
    """Messages of one camera that pending decisions refer to, by stamp."""

    images: dict[float, Message] = field(default_factory=dict)
    depths: dict[float, Message] = field(default_factory=dict)
    info: Message | None = None


class Recording(RecordedMessages):
    """A `ros2 bag` folder, or one of its files. It is read twice: for the decisions, then for their images.

    What is damaged costs itself and nothing else: a file that was cut its end, a bad message that message, a bad
    transform that transform. `damage` says what, and `lost_s` how many seconds are known to be lost.
    """

    def __init__(self, path: Path, *, planner: str = "") -> None:
        """Read the decisions and the transforms.

        Args:
            path: the folder or the file.
            planner: the topic of the decisions, where several planners were recorded; by default the first one's.

        Raises:
            DataError: the path is not a recording, or contains no decisions.
            MissingExtraError: rosbags is not installed.
        """
        super().__init__(path)
        records: dict[str, list[DecisionRecord]] = defaultdict(list)
        rejected: dict[str, list[DataError]] = defaultdict(list)
        transforms: dict[str, list[Transform]] = defaultdict(list)
        for topic, _, message in self._messages(RECORD_SUFFIX, *TRANSFORMS):
            if hasattr(message, "transforms"):
                transforms[topic] += self._transforms_in(message, static=topic.endswith("/tf_static"))
            elif topic.endswith(RECORD_SUFFIX) and isinstance(getattr(message, "data", None), str):
                try:
                    records[topic].append(DecisionRecord.from_json(message.data))
                except DataError as error:
                    rejected[topic].append(error)
        topic = self._planner(planner, records, rejected)
        self.records = records[topic]
        for rejection in rejected[topic]:
            self._report(f"a decision was skipped: {rejection}")
        namespace = topic.removesuffix(RECORD_SUFFIX).rpartition("/")[0]
        ours = dict.fromkeys((*TRANSFORMS, *(f"{namespace}{name}" for name in TRANSFORMS)))
        self._transforms = self._buffer([each for name in ours for each in transforms[name]])

    def _planner(
        self, wanted: str, records: dict[str, list[DecisionRecord]], rejected: dict[str, list[DataError]]
    ) -> str:
        """The topic of the planner to read."""
        known = [topic for topic, read in records.items() if read]
        if wanted and wanted not in known:
            raise DataError(f"{str(self._path)!r} has no decisions on {wanted!r}; it has: {', '.join(known) or 'none'}")
        if not known:
            for error in (error for errors in rejected.values() for error in errors):
                raise DataError(f"{str(self._path)!r} has no decision that can be read; the first: {error}") from error
            raise DataError(
                f"{str(self._path)!r} contains no planner decisions; record the topic planner{RECORD_SUFFIX} too, as "
                "recorder_node does"
            )
        topic = wanted or known[0]
        if len(known) > 1:
            _LOG.warning("%s: several planners were recorded (%s); reading %s", self._path, ", ".join(known), topic)
        return topic

    def decisions(self) -> Iterator[Recorded]:
        """The decisions in order, each as soon as all its images have been read.

        Raises:
            DataError: the recording cannot be read.
        """
        waiting = deque(self.records)
        wanted = Counter((camera, stamp_s) for record in waiting for camera, stamp_s in _images(record))
        cameras = {name: _Camera() for record in waiting for name in record.topics} | {
            name: _Camera() for name, _ in wanted
        }
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
            if topic not in by_topic or not hasattr(message, "header"):  # another robot's, or of another type
                continue
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
            unmapped = tuple(self._observation(record, views, cameras) for views in record.unmapped)
            seen = None if record.views is None else self._observation(record, record.views, cameras)
            views = tuple(self._frame(record, view.camera, view.stamp_s, cameras) for view in record.remembered)
            memory = replace(record.memory, keyframes=views)
            recorded = Recorded(record, None if seen is None else replace(seen, arm=record.arm), unmapped, memory)
        except MissingExtraError:
            raise
        except (ObservationError, TransformError, AttributeError, ValueError, TypeError, ArithmeticError) as error:
            recorded = Recorded(record, None, (), record.memory, missing=str(error))
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
        frames = tuple(self._frame(record, name, stamp_s, cameras) for name, stamp_s in views.items())
        stamp_s = max(views.values())
        T_map_base = self._transforms.lookup(settings.map_frame, settings.base_frame, stamp_s)
        return Observation(stamp_s, frames, T_map_base)

    def _frame(
        self, record: DecisionRecord, name: str, stamp_s: float, cameras: dict[str, _Camera]
    ) -> CameraFrame:  # fmt: skip
        """The image of a camera, with depth and pose; raises as `_observation` does."""
        settings, camera = record.settings, cameras[name]
        image = camera.images.get(stamp_s)
        if image is None or camera.info is None:
            missing = "calibration" if image is not None else f"image of {stamp_s:.3f} s"
            raise ObservationError(f"no {missing} of the camera {name!r}")
        depth = _nearest(camera, stamp_s, settings.join_slop_s)
        T_map_camera = self._transforms.lookup(settings.map_frame, image.header.frame_id, stamp_s)
        return frame_of(name, image, depth, camera.info, settings, T_map_camera)


def _images(record: DecisionRecord) -> Iterator[tuple[str, float]]:
    """The camera and stamp of every image that a decision was made from."""
    for views in (*record.unmapped, record.views or {}):
        yield from views.items()
    for view in record.remembered:
        yield view.camera, view.stamp_s


def _nearest(camera: _Camera, stamp_s: float, slop_s: float) -> Message | None:
    """The depth image closest to a stamp, None if none is close enough."""
    nearest = min(camera.depths, key=lambda each: abs(each - stamp_s), default=None)
    return camera.depths[nearest] if nearest is not None and abs(nearest - stamp_s) <= slop_s else None
