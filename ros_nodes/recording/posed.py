"""A recording's images with depth and pose, for a folder that a robot can drive in again. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from si_embodied.errors import DataError, ObservationError, TransformError, UnknownNameError
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.frames import frame_of

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.recording.decision_records import CameraTopics
    from si_embodied.ros_nodes.sensing.bridge import Message
    from si_embodied.types import CameraFrame

_WAITING = 30  # images or depth images whose partner may still come


class RecordedFrames(Recording):
    """The images of one camera in a recording of the planner node, whose settings say how to read them."""

    def __init__(self, path: Path, *, camera: str = "", apart_m: float = 0.1, apart_deg: float = 5.0) -> None:
        """Read the transforms and the settings; images are read by `frames`.

        Args:
            path: the recorded folder, or its file.
            camera: empty for the planner's first.
            apart_m: an image that was taken nearer to the last one, and turned by less than `apart_deg`, is left out.
            apart_deg: see above.

        Raises:
            DataError: the path is not a recording of the planner node.
            UnknownNameError: the camera was not the planner's.
            MissingExtraError: rosbags is not installed.
        """
        super().__init__(path)
        cameras = self.records[0].topics
        self.camera = camera or next(iter(cameras))
        if self.camera not in cameras:
            raise UnknownNameError("camera of the recording", self.camera, cameras)
        self._topics: CameraTopics = cameras[self.camera]
        self._apart = apart_m, math.radians(apart_deg)
        self.skipped = 0  # images without depth or pose

    def frames(self) -> Iterator[CameraFrame]:
        """The images in order, each with the depth nearest in time.

        Raises:
            DataError: no image can be used; the message has the reason of the last one.
        """
        settings, last, reason, used = self.records[0].settings, None, "none was recorded", 0
        for image, depth, info in self._joined():
            stamp_s = bridge.seconds(image.header.stamp)
            try:
                pose = self._transforms.lookup(settings.map_frame, image.header.frame_id, stamp_s)
                if last is not None and not self._new(last, pose):
                    continue
                frame = frame_of(self.camera, image, depth, info, settings, pose)
            except (ObservationError, TransformError) as error:
                self.skipped, reason = self.skipped + 1, str(error)
                continue
            last, used = pose, used + 1
            yield frame
        if not used:
            raise DataError(f"{str(self._path)!r} has no image of the camera {self.camera!r} to use: {reason}")

    def _new(self, last: Pose, pose: Pose) -> bool:
        return pose.differs(last, by_m=self._apart[0], by_rad=self._apart[1])

    def _joined(self) -> Iterator[tuple[Message, Message, Message]]:
        """Image, depth and calibration; an image waits for its depth, which may come later."""
        topics, slop_s = self._topics, self.records[0].settings.join_slop_s
        images = (topics.image, f"{topics.image}/compressed")
        waiting: list[Message] = []
        depths: list[Message] = []
        info: Message | None = None
        for topic, _, message in self._messages(*images, topics.depth, topics.info):
            if topic == topics.info:
                info = message
            elif topic in images:
                waiting = [*waiting[-_WAITING:], message]
            elif topic == topics.depth:
                depths = [*depths[-_WAITING:], message]
            if info is None:
                continue
            for image in list(waiting):
                depth = _nearest(depths, bridge.seconds(image.header.stamp), slop_s)
                if depth is not None:
                    waiting.remove(image)
                    yield image, depth, info
                else:
                    break


def _nearest(depths: list[Message], stamp_s: float, slop_s: float) -> Message | None:
    apart = [(abs(bridge.seconds(each.header.stamp) - stamp_s), index) for index, each in enumerate(depths)]
    best, index = min(apart, default=(math.inf, 0))
    return depths[index] if best <= slop_s else None
