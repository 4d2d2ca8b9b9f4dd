"""What the robot sees: images from its topics, joined with depth by stamp and posed at that stamp."""

from __future__ import annotations

from collections import deque
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from si_embodied.errors import ObservationError, TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.opencv import import_opencv
from si_embodied.ros_nodes.sensing.synchronisation import Pair, StampSynchroniser
from si_embodied.ros_nodes.sensing.transform_listener import make_transforms
from si_embodied.types import CameraFrame, Code, Observation, Refusal

_CLOCK_IMAGES = 12
"""How many of the last images the offset of a camera's clock is estimated from."""


class Camera:
    """One camera's topics: NAME/image_raw (or NAME/image_raw/compressed), NAME/depth, NAME/camera_info."""

    def __init__(self, node: Any, name: str, settings: NodeSettings) -> None:
        """Subscribe."""
        self.name = name
        self.synchroniser = StampSynchroniser(slop_s=settings.join_slop_s)
        self.received = self.received_depths = 0
        self._ahead_s: deque[float] = deque(maxlen=_CLOCK_IMAGES)  # of each stamp, ahead of the clock on arrival
        self._clock = node.get_clock()
        self._info: Any = None
        self._compressed, self._rectified = settings.compressed, settings.rectified
        kind, topic = (CompressedImage, "image_raw/compressed") if settings.compressed else (Image, "image_raw")
        qos = qos_profile_sensor_data
        self.subscriptions = [
            node.create_subscription(kind, f"{name}/{topic}", self._on_image, qos),
            node.create_subscription(Image, f"{name}/depth", self._on_depth, qos),
            node.create_subscription(CameraInfo, f"{name}/camera_info", self._on_info, qos),
        ]

    def _on_image(self, message: Any) -> None:
        self.received += 1
        self._ahead_s.append(bridge.seconds(message.header.stamp) - 1e-9 * self._clock.now().nanoseconds)
        self.synchroniser.add_image(message)

    def _on_depth(self, message: Any) -> None:
        self.received_depths += 1
        self.synchroniser.add_depth(message)

    def _on_info(self, message: Any) -> None:
        self._info = message

    @property
    def ahead_s(self) -> float:
        """Lower bound on how far the camera's clock is ahead: latency hides part of it, so the fastest image counts."""
        return max(self._ahead_s, default=0.0)

    def frame(self, pair: Pair, T_map_camera: Pose) -> CameraFrame:
        """Convert a pair of messages to the core's value, undistorted.

        Raises:
            ObservationError: no calibration has arrived yet, or an image cannot be decoded.
        """
        if self._info is None:
            topic = self.subscriptions[2].topic_name
            raise ObservationError(f"no calibration of the camera {self.name!r} has arrived on {topic}")
        model = bridge.camera_model_of(self._info, rectified=self._rectified)
        rgb = bridge.rgb_of_compressed(pair.image) if self._compressed else bridge.rgb_of(pair.image)
        depth = None if pair.depth is None else model.undistorted(bridge.depth_of(pair.depth))
        return CameraFrame(self.name, pair.stamp_s, model.undistorted(rgb), depth, model.intrinsics, T_map_camera)


class Sensors:
    """The cameras and the transforms. Used from the executor's thread alone."""

    def __init__(self, node: Any, settings: NodeSettings) -> None:
        """Subscribe to everything.

        Raises:
            MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
        """
        import_opencv()  # a missing one is reported here, not when the first image arrives
        self._node, self.settings = node, settings
        self.transforms = make_transforms(node)
        self.cameras = [Camera(node, name, settings) for name in settings.cameras]

    def close(self) -> None:
        """Unsubscribe."""
        self.transforms.close()
        for camera in self.cameras:
            for subscription in camera.subscriptions:
                self._node.destroy_subscription(subscription)

    def observe(self, after_s: float = 0.0) -> Observation | Refusal:
        """The newest images taken after a time, each with its own pose, or what is missing."""
        frames: list[CameraFrame] = []
        for camera in self.cameras:
            frame = self._frame(camera, after_s)
            if isinstance(frame, Refusal):
                return frame
            frames.append(frame)
        stamp_s = max(frame.stamp_s for frame in frames)
        try:
            T_map_base = self.base_at(stamp_s)
        except TransformError as error:
            return Refusal(Code.NO_TRANSFORM, str(error))
        return Observation(stamp_s, tuple(frames), T_map_base)

    def base_at(self, stamp_s: float) -> Pose:
        """`T_map_base` at a time.

        Raises:
            TransformError: the transform at that time is not known.
        """
        return self.transforms.lookup(self.settings.map_frame, self.settings.base_frame, stamp_s)

    def base_now(self) -> Pose | None:
        """The newest `T_map_base`, None before the first."""
        return self.transforms.latest(self.settings.map_frame, self.settings.base_frame)

    def camera_now(self) -> Pose | None:
        """The newest `T_base_camera` of the first camera, None before its first image."""
        pairs = self.cameras[0].synchroniser.pairs()
        return self.transforms.latest(self.settings.base_frame, pairs[0].image.header.frame_id) if pairs else None

    def _frame(self, camera: Camera, after_s: float) -> CameraFrame | Refusal:
        """The newest image of a camera whose transforms are known at its stamp."""
        pairs = camera.synchroniser.pairs(after_s=after_s)
        if not pairs:
            if camera.received:
                return Refusal(Code.STALE_OBSERVATION, f"the camera {camera.name!r} has sent no new image")
            topic = camera.subscriptions[0].topic_name
            return Refusal(Code.NO_IMAGE, f"the camera {camera.name!r} has sent nothing on {topic}")
        refusal = self._check_clock(camera, pairs[0].stamp_s)
        if refusal is not None:
            return refusal
        missing: TransformError | None = None
        for pair in pairs:
            try:
                frame_id = pair.image.header.frame_id
                T_map_camera = self.transforms.lookup(self.settings.map_frame, frame_id, pair.stamp_s)
                self.base_at(pair.stamp_s)
            except TransformError as error:
                missing = missing or error
                continue
            try:
                return camera.frame(pair, T_map_camera)
            except ObservationError as error:
                return Refusal(Code.NO_IMAGE, str(error))
        return Refusal(Code.NO_TRANSFORM, str(missing))

    def _check_clock(self, camera: Camera, newest_s: float) -> Refusal | None:
        """Refuse a camera whose stamps cannot be trusted: transforms would be looked up at the wrong time."""
        if camera.ahead_s > self.settings.most_ahead_s:
            reason = f"the camera {camera.name!r} is {camera.ahead_s:.2f} s ahead of the clock; synchronise clocks"
            return Refusal(Code.STALE_OBSERVATION, reason)
        limit_s = self.settings.planner.guard.max_observation_age_s
        age_s = 1e-9 * self._node.get_clock().now().nanoseconds - newest_s
        if age_s > limit_s:
            reason = f"the newest image of the camera {camera.name!r} is {age_s:.2f} s old, more than {limit_s} s"
            return Refusal(Code.STALE_OBSERVATION, reason)
        return None
