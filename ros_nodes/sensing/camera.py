"""One camera's topics: what has arrived on them, and whether it can be trusted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from si_embodied.errors import ObservationError
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.frames import frame_of
from si_embodied.ros_nodes.sensing.qos import LATCHED_BY_ALL, incompatible_qos_events
from si_embodied.ros_nodes.sensing.rejections import Rejections
from si_embodied.ros_nodes.sensing.repetition import DOUBT_S, Placed, RepetitionWatch, sample
from si_embodied.ros_nodes.sensing.synchronisation import Pair, StampSynchroniser

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.types import CameraFrame

_CLOCK_IMAGES = 12
"""How many of the last images the offset of a camera's clock is estimated from."""


def _unknown(_: str, __: float) -> Placed | None:
    return None


class Camera:
    """NAME/image_raw (or NAME/image_raw/compressed), NAME/depth (or NAME/depth/compressedDepth), NAME/camera_info."""

    def __init__(
        self,
        node: Any,
        name: str,
        settings: NodeSettings,
        *,
        log: Rejections | None = None,
        pose_at: Callable[[str, float], Placed | None] = _unknown,
        now_s: Callable[[], float] | None = None,
        simulated: bool = False,
    ) -> None:
        """Subscribe.

        Args:
            node: to subscribe on.
            name: of the camera; its topics begin with it.
            settings: of the node.
            log: counts the messages that are dropped.
            pose_at: the pose of a frame at a stamp in one that moves smoothly, None if it is not known.
            now_s: the clock; the node's by default.
            simulated: its images may have no noise.
        """
        self.name = name
        self.synchroniser = StampSynchroniser(slop_s=settings.join_slop_s)
        self.received = self.received_depths = 0
        self._ahead_s: deque[float] = deque(maxlen=_CLOCK_IMAGES)  # of each stamp, ahead of the clock on arrival
        self._node, self._pose_at, self._settings = node, pose_at, settings
        self._now_s = now_s or (lambda: 1e-9 * float(node.get_clock().now().nanoseconds))
        self._info: Any = None
        self._valid_info: tuple[Any, ...] | None = None
        self._watches = {
            kind: RepetitionWatch(travel_m=settings.frozen_travel_m, standing_s=settings.frozen_s, simulated=simulated)
            for kind in ("colour", "depth")
        }
        colour = (CompressedImage, "image_raw/compressed") if settings.compressed else (Image, "image_raw")
        depth = (CompressedImage, "depth/compressedDepth") if settings.depth_compressed else (Image, "depth")
        guarded, qos = (log or Rejections()).guarded, qos_profile_sensor_data
        on_info = guarded(f"camera_info of {name}", self._on_info)
        self.subscriptions = [
            node.create_subscription(
                colour[0], f"{name}/{colour[1]}", guarded(f"images of {name}", self._on_image), qos
            ),
            node.create_subscription(
                depth[0], f"{name}/{depth[1]}", guarded(f"depth images of {name}", self._on_depth), qos
            ),
            node.create_subscription(CameraInfo, f"{name}/camera_info", on_info, qos),
        ]
        self._on_latched_info = on_info
        self._latched: list[Any] = []

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in (*self.subscriptions, *self._latched):
            self._node.destroy_subscription(subscription)

    def ask_for_calibration(self) -> None:
        """Listen for a calibration that was latched before, if none has come; call it now and then.

        Not from the start: the drivers that latch nothing would each warn of a subscription that they cannot serve.
        """
        if self._info is None and not self._latched:
            topic, events = f"{self.name}/camera_info", incompatible_qos_events()
            subscribe, callback = self._node.create_subscription, self._on_latched_info
            self._latched.append(subscribe(CameraInfo, topic, callback, LATCHED_BY_ALL, event_callbacks=events))

    def clear(self) -> None:
        """Forget all images: the clock jumped back. The calibration holds at all times."""
        self.synchroniser.clear()
        self._ahead_s.clear()
        for watch in self._watches.values():
            watch.clear()

    def _on_image(self, message: Any) -> None:
        self.received += 1
        ahead_s = bridge.seconds(message.header.stamp) - self._now_s()
        self._ahead_s.append(ahead_s)
        if ahead_s > self._settings.most_ahead_s:
            return  # a moment later it would pass for a new one
        self.synchroniser.add_image(message)
        self._watch("colour", message)

    def _on_depth(self, message: Any) -> None:
        self.received_depths += 1
        # Asking for the time here drops what is from before a jump of the clock, and not this image.
        if bridge.seconds(message.header.stamp) - self._now_s() > self._settings.most_ahead_s:
            return
        self.synchroniser.add_depth(message)
        self._watch("depth", message)

    def _watch(self, kind: str, message: Any) -> None:
        watch, stamp_s = self._watches[kind], bridge.seconds(message.header.stamp)
        if not watch.due(stamp_s):
            return
        if watch.add(sample(message), stamp_s, partial(self._pose_at, message.header.frame_id)):
            self._node.get_logger().warning(
                f"the {kind} of the camera {self.name!r} has counted as frozen for {DOUBT_S:.0f} s while it stood, "
                "and is used again; if it is live, and simulated without noise, set frozen_travel_m to 0"
            )

    def _on_info(self, message: Any) -> None:
        self._info = message  # an invalid one too: images are not planned on until a valid one comes
        key = _calibration(message)
        if key != self._valid_info:
            self._valid_info = None
            bridge.camera_model_of(message, rectified=self._settings.rectified)
            self._valid_info = key

    @property
    def ahead_s(self) -> float:
        """Lower bound on how far the camera's clock is ahead: latency hides part of it, so the fastest image counts."""
        return max(self._ahead_s, default=0.0)

    @property
    def calibration_problem(self) -> str | None:
        """What is wrong with the newest calibration, None if it is valid."""
        if self._info is None:
            return f"no calibration of the camera {self.name!r} has arrived on {self.subscriptions[2].topic_name}"
        return None if self._valid_info is not None else f"the newest calibration of {self.name!r} is invalid"

    def depth_problem(self, newest: Pair) -> str | None:
        """Why the newest image has no depth, None if it has, or if this camera sends none."""
        if newest.depth is not None or not self.received_depths:
            return None
        return f"no depth of the last images of {self.name!r} has come on {self.subscriptions[1].topic_name}"

    @property
    def frozen(self) -> str | None:
        """Why the camera counts as frozen, None if it does not."""
        for kind, watch in self._watches.items():
            if watch.problem is not None:
                return f"the {kind} of the camera {self.name!r} is frozen: it {watch.problem}; restart its driver"
        return None

    def frame(self, pair: Pair, T_map_camera: Pose) -> CameraFrame:
        """Convert a pair of messages to the core's value, undistorted.

        Raises:
            ObservationError: no calibration has arrived yet, or an image cannot be decoded; `DepthImageError` if that
                is the depth.
        """
        if self._info is None:
            raise ObservationError(self.calibration_problem)
        return frame_of(self.name, pair.image, pair.depth, self._info, self._settings, T_map_camera)


def _calibration(info: Any) -> tuple[Any, ...]:
    """Everything that makes the camera model."""
    roi = info.roi
    region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    size = (info.width, info.height, info.binning_x, info.binning_y)
    return (size, region, info.distortion_model, tuple(info.d), tuple(info.k), tuple(info.p))
