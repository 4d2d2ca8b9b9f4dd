"""What a transform must be to enter the buffer. Pure: messages are duck-typed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, TransformError
from si_embodied.ros_nodes.sensing import bridge

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.sensing.bridge import Message

_FARTHEST_M = 1e8
"""The earth is 4e7 m round; UTM coordinates reach 1e7 m."""
_NOT_UNIT = 0.01
"""How far the square of a quaternion's norm may be from 1, as in tf2 (QUATERNION_NORMALIZATION_TOLERANCE)."""


@dataclass(frozen=True, slots=True)
class TransformFilter:
    """Refuses transforms that are no rigid ones, or from the wrong time; they would spoil every later lookup."""

    now_s: Callable[[], float] = lambda: 0.0
    most_ahead_s: float = math.inf  # of a stamp before the clock
    keep_s: float = math.inf  # an older transform is not kept
    most_gap_s: float = math.inf  # poses are not interpolated across a longer one

    def checked(self, message: Message, *, static: bool) -> Pose:
        """`T_parent_child` of a `geometry_msgs/TransformStamped`.

        Raises:
            TransformError: frames without a name, a pose that is not rigid, or a stamp from another time.
        """
        parent, child = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
        where = f"the transform from {child!r} to {parent!r}"
        if not parent or not child or parent == child:
            raise TransformError(f"expected a transform between two named frames, got: {child!r} in {parent!r}")
        if not static:
            ahead_s = bridge.seconds(message.header.stamp) - self.now_s()
            if ahead_s > self.most_ahead_s:
                raise TransformError(
                    f"{where} is stamped {ahead_s:.2f} s ahead of the clock, more than {self.most_ahead_s:g} s; "
                    "synchronise clocks, or set most_transform_ahead_s"
                )
            if -ahead_s > self.keep_s:
                raise TransformError(
                    f"{where} is stamped {-ahead_s:.2f} s before the clock, more than {self.keep_s:g} s; "
                    "synchronise clocks, and use the same use_sim_time everywhere"
                )
        t, q = message.transform.translation, message.transform.rotation
        if not all(abs(value) <= _FARTHEST_M for value in (t.x, t.y, t.z)):
            raise TransformError(f"expected a finite translation, got: ({t.x}, {t.y}, {t.z}) in {where}")
        if not abs(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w - 1) <= _NOT_UNIT:
            raise TransformError(f"expected a unit quaternion, got: ({q.x}, {q.y}, {q.z}, {q.w}) in {where}")
        try:
            return bridge.pose_of_transform(message.transform)
        except ConfigError as error:
            raise TransformError(f"{where} is not rigid: {error}") from error


ANY_TIME = TransformFilter()
