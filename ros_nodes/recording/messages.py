"""The decoded messages and transforms of a recording, whatever it was made for. Needs no ROS."""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import DataError, ObservationError, extra
from si_embodied.ros_nodes.recording.bag_files import BagFiles
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.sensing.bridge import Message

_LOG = logging.getLogger(__name__)

TRANSFORMS = ("/tf", "/tf_static")
_TYPES = (
    "std_msgs/msg/String",
    "tf2_msgs/msg/TFMessage",
    *(f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo")),
)
"""The types that are read; other topics of the same names are not the planner's."""


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """A recorded transform."""

    parent: str
    child: str
    stamp_s: float
    pose: Pose
    static: bool


class RecordedMessages:
    """A `ros2 bag` folder, or one of its files, message by message.

    What is damaged costs itself and nothing else: `damage` says what, and `lost_s` how many seconds are known to be
    lost.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read yet.

        Args:
            path: the folder or the file.
        """
        self._path = path
        self.damage: list[str] = []
        self.lost_s = 0.0

    def _messages(self, *topics: str) -> Iterator[tuple[str, int, Message]]:
        """Messages on topics that end in one of `topics`, in the order in which they were recorded."""
        files = BagFiles(self._path)  # first: a wrong path is the more likely mistake than a missing library
        types = _types()
        bad: Counter[str] = Counter()
        for topic, kind, stamp_ns, data in files.messages(lambda name, kind: name.endswith(topics) and kind in _TYPES):
            try:
                message = _decoded(types, data, kind)
            except DataError:
                bad[topic] += 1
                continue
            yield topic, stamp_ns, message
        for reason in (*files.damage.reasons, *(f"{topic}: {count} bad messages" for topic, count in bad.items())):
            self._report(reason)
        self.lost_s = files.damage.lost_s
        if self.lost_s:
            self._report(f"{self.lost_s:.1f} s are lost")

    def _report(self, reason: str) -> None:
        """Say once what is damaged."""
        if reason not in self.damage:
            self.damage.append(reason)
            _LOG.warning("%s: %s", self._path, reason)

    def _transforms_in(self, message: Message, *, static: bool) -> Iterator[Transform]:
        """The transforms in a message; one that is not a transform is left out."""
        for each in message.transforms:
            parent, child = each.header.frame_id.lstrip("/"), each.child_frame_id.lstrip("/")
            t, q = each.transform.translation, each.transform.rotation
            try:
                if parent == child or not all(map(math.isfinite, (t.x, t.y, t.z, q.x, q.y, q.z, q.w))):
                    raise ObservationError("expected finite numbers, and two frames")
                pose, stamp_s = bridge.pose_of_transform(each.transform), bridge.seconds(each.header.stamp)
            except ValueError as error:  # the package's own errors, or numpy's
                self._report(f"a transform of {child!r} in {parent!r} was skipped: {error}")
                continue
            yield Transform(parent, child, stamp_s, pose, static)

    @staticmethod
    def _buffer(transforms: list[Transform]) -> TransformBuffer:
        """The transform tree. Of several parents of a frame the most frequent counts: a tree has one for each."""
        parents: dict[str, Counter[str]] = defaultdict(Counter)
        for each in transforms:
            parents[each.child][each.parent] += 1
        buffer = TransformBuffer(keep_s=math.inf)
        for each in transforms:
            if each.parent == parents[each.child].most_common(1)[0][0]:
                buffer.add(each.parent, each.child, each.stamp_s, each.pose, static=each.static)
        return buffer


@functools.cache
def _types() -> Any:
    """The types of messages, compiled once; those that are read are the same in every release from Foxy on."""
    with extra("bags"):
        from rosbags.typesys import Stores, get_typestore
    return get_typestore(Stores.ROS2_HUMBLE)


def _decoded(types: Any, data: bytes, kind: str) -> Message:
    """Deserialise a message with the types of rosbags.

    Raises:
        DataError: the bytes are not such a message.
    """
    try:
        return types.deserialize_cdr(data, kind)
    except Exception as error:  # rosbags passes on what struct, numpy and the string decoder raise
        raise DataError(f"not a {kind}: {error}") from error
