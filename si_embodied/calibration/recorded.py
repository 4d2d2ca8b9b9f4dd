"""Pictures from a recording of a robot: `ros2 bag`, or recorder_node."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.calibration.camera_info import read_camera
from si_embodied.calibration.pictures import MOST_PICTURES, Picture, SourceSettings, moved
from si_embodied.errors import DataError, ObservationError, TransformError
from si_embodied.ros_nodes.recording.bag_files import BagFiles
from si_embodied.ros_nodes.recording.messages import TRANSFORMS, RecordedMessages, Transform
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.encodings import DepthLimits

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.sensing.bridge import Message
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_STILL_S, _STILL_M, _STILL_RAD = 0.15, 0.002, 0.003
"""A robot stands still if its mount moves less than this so long before and after the picture."""
_PLACE_M, _PLACE_RAD = 0.01, 0.02
"""Two places differ by at least so much; one picture of each is enough."""
_JOIN_S = 0.02
"""Largest time between an image and its depth."""


class RecordedPictures(RecordedMessages):
    """The pictures, calibration and transforms of a recording."""

    def __init__(self, settings: SourceSettings) -> None:
        """Read the topics, the calibration and the transforms.

        Raises:
            DataError: not a recording, or without images, or with those of several cameras.
            ConfigError: a given calibration cannot be read.
        """
        super().__init__(settings.source)
        self._settings = settings
        self._counts = Counter(
            topic for topic, kind, _, _ in BagFiles(settings.source).messages(lambda _, kind: kind in _IMAGES)
        )
        self._image = self._topic(settings.image, "image", depth=False)
        self.camera_frame = ""
        info: Message | None = None
        transforms: list[Transform] = []
        for topic, _, message in self._messages(*TRANSFORMS, self._info_topic()):
            if hasattr(message, "transforms"):
                transforms += self._transforms_in(message, static=topic.endswith("/tf_static"))
            else:
                info = info or message
        self._buffer_of_all = self._buffer(transforms)
        if info is not None:
            self.camera_frame = info.header.frame_id
        self.camera: CameraModel | None = None
        if settings.camera:
            self.camera = read_camera(settings.camera)
        elif info is not None:
            self.camera = bridge.camera_model_of(info, rectified=settings.rectified)

    def _info_topic(self) -> str:
        """The camera_info beside the images, as image_transport has it."""
        return f"{self._image.removesuffix('/compressed').rpartition('/')[0]}/camera_info"

    def _topic(self, wanted: str, option: str, *, depth: bool) -> str:
        """The topic of the images, or of depth.

        Raises:
            DataError: there is none, or there are several.
        """
        known = [topic for topic in sorted(self._counts) if ("depth" in topic) is depth]
        if wanted in self._counts:
            return wanted
        if wanted or len(known) != 1:
            raise DataError(
                f"expected --{option} to name one of the recording's topics, got: {wanted or 'none'!r}; "
                f"{str(self._path)!r} has: {', '.join(known) or 'none of this kind'}"
            )
        return known[0]

    def pictures(self, *, depth: bool = False, still: bool = False, every: bool = False) -> Iterator[Picture]:
        """The chosen pictures; see `Source`."""
        chosen = self._chosen(still=still, every=every)
        if not depth:
            yield from (self._picture(each) for each in chosen)
            return
        images = list(chosen)
        depths = self._depths([bridge.seconds(each.header.stamp) for each in images])
        for image in images:
            found = depths.get(bridge.seconds(image.header.stamp))
            picture = self._picture(image)
            limits = DepthLimits(self._settings.depth_scale)
            yield picture if found is None else replace(picture, depth_m=bridge.depth_of(found, limits))

    def _chosen(self, *, still: bool, every: bool) -> Iterator[Message]:
        step = 1 if every or still else math.ceil(self._counts[self._image] / MOST_PICTURES)
        last_s, seen = math.nan, 0
        for topic, _, message in self._messages(self._image):
            if topic != self._image:
                continue
            seen += 1
            stamp_s = bridge.seconds(message.header.stamp)
            if (seen - 1) % step or (still and not self._stands(stamp_s, last_s)):
                continue
            last_s = stamp_s
            yield message
        if still and math.isnan(last_s):
            raise DataError(
                f"the mount {self._settings.mount!r} stands still in {self._settings.fixed!r} at none of the {seen} "
                f"images of {str(self._path)!r}; stop for a second at each place, and check --fixed and --mount"
            )

    def _stands(self, stamp_s: float, last_s: float) -> bool:
        """Whether the mount stands still, at another place than that of the last picture."""
        before_s, after_s = stamp_s - _STILL_S, stamp_s + _STILL_S
        if moved(self, before_s, after_s, by_m=_STILL_M, by_rad=_STILL_RAD):
            return False
        return math.isnan(last_s) or moved(self, last_s, stamp_s, by_m=_PLACE_M, by_rad=_PLACE_RAD)

    def _picture(self, message: Message) -> Picture:
        compressed = not hasattr(message, "encoding")
        rgb = bridge.rgb_of_compressed(message) if compressed else bridge.rgb_of(message)
        stamp_s = bridge.seconds(message.header.stamp)
        self.camera_frame = message.header.frame_id or self.camera_frame
        try:
            pose = self.pose_at(stamp_s)
        except TransformError:
            pose = None
        return Picture(f"{stamp_s:.3f} s", stamp_s, rgb, None, pose)

    def _depths(self, stamps_s: list[float]) -> dict[float, Message]:
        """The depth image closest to each stamp, where one is close enough."""
        wanted = self._topic(self._settings.depth, "depth", depth=True)
        nearest: dict[float, tuple[float, Message]] = {}
        for topic, _, message in self._messages(wanted):
            if topic != wanted:
                continue
            at_s = bridge.seconds(message.header.stamp)
            for stamp_s in stamps_s:
                apart_s = abs(at_s - stamp_s)
                if apart_s <= _JOIN_S and apart_s < nearest.get(stamp_s, (math.inf, None))[0]:
                    nearest[stamp_s] = (apart_s, message)
        return {stamp_s: message for stamp_s, (_, message) in nearest.items()}

    def pose_at(self, stamp_s: float) -> Pose:
        """`T_fixed_mount` at a time.

        Raises:
            TransformError: it is not known then.
        """
        return self._buffer_of_all.lookup(self._settings.fixed, self._settings.mount, stamp_s)

    def published(self, *, held: bool) -> Pose | None:
        """The camera in the mount (of a held board: in the fixed frame), by the robot's transforms."""
        if not self.camera_frame:
            raise ObservationError(f"no image of {str(self._path)!r} names its frame")
        return self._buffer_of_all.latest(self._settings.fixed if held else self._settings.mount, self.camera_frame)
