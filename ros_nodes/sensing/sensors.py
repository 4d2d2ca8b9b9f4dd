"""What the robot sees: images from its topics, joined with depth by stamp and posed at that stamp."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType

from si_embodied.errors import ObservationError, TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing.camera import Camera
from si_embodied.ros_nodes.sensing.clock_watch import ClockWatch
from si_embodied.ros_nodes.sensing.encodings import DepthImageError
from si_embodied.ros_nodes.sensing.opencv import import_opencv
from si_embodied.ros_nodes.sensing.rejections import Rejections
from si_embodied.ros_nodes.sensing.repetition import Placed
from si_embodied.ros_nodes.sensing.synchronisation import Pair
from si_embodied.ros_nodes.sensing.transform_filter import TransformFilter
from si_embodied.ros_nodes.sensing.transform_listener import make_transforms
from si_embodied.types import CameraFrame, Code, Observation, Refusal

_WATCH_PERIOD_S = 0.5
_LOOK_PERIOD_S = 0.25
"""Between two images of a camera that are decoded while a goal is carried out."""
_KEEP_TRANSFORMS_S = 10.0
_SAME_FRAME = 1e-3
"""Metres and, as entries of the rotation, radians: two frames nearer than this are the same for depth at a pixel."""


class Sensors:
    """The cameras and the transforms. Used from the executor's thread alone."""

    def __init__(self, node: Any, settings: NodeSettings) -> None:
        """Subscribe to everything.

        Raises:
            MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
        """
        import_opencv()  # a missing one is reported here, not when the first image arrives
        self._node, self.settings = node, settings
        self._log = Rejections(node.get_logger().warning)
        simulated = bool(node.get_parameter("use_sim_time").value)
        self.clock = ClockWatch(self._now_s, self._on_jump, simulated=simulated)
        self._clock_problem: str | None = None  # the last that was logged
        self._looked: dict[str, tuple[float, Refusal | None]] = {}  # stamp of a camera's last image that was decoded
        checks = TransformFilter(
            self.clock.check, settings.most_transform_ahead_s, _KEEP_TRANSFORMS_S, settings.max_transform_age_s
        )
        self.transforms = make_transforms(node, checks, self._log)
        self.cameras = [
            Camera(
                node,
                name,
                settings,
                log=self._log,
                pose_at=self._smooth_pose,
                now_s=self.clock.check,
                simulated=simulated,
            )
            for name in settings.cameras
        ]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self.transforms.close()
        for camera in self.cameras:
            camera.close()

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many messages were dropped, by their source; `last_rejection` has the last reason."""
        return self._log.counts

    @property
    def last_rejection(self) -> str:
        """Source and reason of the last message that was dropped; empty if none was."""
        return self._log.last

    def problem(self) -> Refusal | None:
        """Why nothing may be planned on, or carried out, now; None if clock and cameras can be trusted."""
        self.clock.check()
        if self.clock.problem is not None:
            return Refusal(Code.STALE_OBSERVATION, self.clock.problem)
        for camera in self.cameras:
            pairs = camera.synchroniser.pairs()
            refusal = self._check_camera(camera, pairs[0], with_depth=True) if pairs else self._nothing_new(camera)
            if refusal is not None:
                return refusal
            if camera.calibration_problem is not None:
                return Refusal(Code.NO_IMAGE, camera.calibration_problem)
            if (spoilt := self._content(camera, pairs[0])) is not None:
                return spoilt
        return None

    def _content(self, camera: Camera, pair: Pair) -> Refusal | None:
        """What is wrong with the newest image or its depth, looked at now and then: decoding costs milliseconds."""
        looked_s, found = self._looked.get(camera.name, (-math.inf, None))
        if not 0 <= pair.stamp_s - looked_s < _LOOK_PERIOD_S:
            decoded = self._decoded(camera, pair, Pose.identity())
            found = decoded if isinstance(decoded, Refusal) else None
            self._looked[camera.name] = (pair.stamp_s, found)
        return found

    def observe(self, after_s: float = 0.0, *, with_depth: bool = False) -> Observation | Refusal:
        """The newest images taken after a time, each with its own pose, or what is missing.

        Args:
            after_s: earlier images do not count.
            with_depth: refuse an image without depth if its camera sends depth: the depth is still on its way, or has
                died. Plans need this, because no goal starts without depth (see `problem`); questions do not.
        """
        self.clock.check()
        if self.clock.problem is not None:
            return Refusal(Code.STALE_OBSERVATION, self.clock.problem)
        frames: list[CameraFrame] = []
        for camera in self.cameras:
            frame = self._frame(camera, after_s, with_depth)
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

    # --- one camera -------------------------------------------------------------------------------------------------

    def _frame(self, camera: Camera, after_s: float, with_depth: bool) -> CameraFrame | Refusal:
        """The newest image of a camera whose transforms are known at its stamp."""
        pairs = camera.synchroniser.pairs(after_s=after_s)
        if not pairs:
            return self._nothing_new(camera)
        refusal = self._check_camera(camera, pairs[0], with_depth=with_depth)
        if refusal is not None:
            return refusal
        missing: TransformError | None = None
        for pair in pairs:
            if self._age_s(pair.stamp_s) > self._oldest_s:
                break  # its transforms may be known, but too much has changed since
            try:
                frame_id = pair.image.header.frame_id
                T_map_camera = self.transforms.lookup(self.settings.map_frame, frame_id, pair.stamp_s)
                self.base_at(pair.stamp_s)
            except TransformError as error:
                missing = missing or error
                continue
            return self._decoded(camera, pair, T_map_camera)
        return Refusal(Code.NO_TRANSFORM, f"no image of the camera {camera.name!r} can be posed: {missing}")

    def _decoded(self, camera: Camera, pair: Pair, T_map_camera: Pose) -> CameraFrame | Refusal:
        try:
            self._check_registered(camera, pair)
            return camera.frame(pair, T_map_camera)
        except DepthImageError as error:
            return Refusal(Code.NO_DEPTH, str(error))
        except ObservationError as error:
            return Refusal(Code.NO_IMAGE, str(error))
        except Exception as error:  # noqa: BLE001 - whatever an image holds, the node lives
            self._log.add(f"images of {camera.name}", f"{type(error).__name__}: {error}")
            return Refusal(Code.NO_IMAGE, f"an image of the camera {camera.name!r} cannot be used: {error!r}")

    def _check_registered(self, camera: Camera, pair: Pair) -> None:
        """Depth at a pixel is that of the image's pixel only if both are seen from the same frame.

        Raises:
            DepthImageError: they are not.
        """
        if pair.depth is None:
            return
        image, depth = (each.header.frame_id.lstrip("/") for each in (pair.image, pair.depth))
        if image == depth:
            return
        try:
            between = self.transforms.lookup(image, depth, pair.stamp_s).matrix() - np.eye(4)
        except TransformError:
            between = np.ones((4, 4))
        if np.abs(between).max() > _SAME_FRAME:
            colour_topic, depth_topic = (each.topic_name for each in camera.subscriptions[:2])
            raise DepthImageError(
                f"the depth on {depth_topic} is seen from {depth!r}, the image on {colour_topic} from {image!r}: "
                "it is not registered; use aligned_depth_to_color (RealSense), depth_registered (OpenNI) or "
                "depth_image_proc's register node"
            )

    def _nothing_new(self, camera: Camera) -> Refusal:
        topic = camera.subscriptions[0].topic_name
        if camera.received and (ahead := self._check_ahead(camera)) is not None:
            return ahead
        if not camera.received:
            return Refusal(Code.NO_IMAGE, f"the camera {camera.name!r} has sent nothing on {topic}")
        words = f"the camera {camera.name!r} has sent no new image; stamps on {topic} must be times of exposure"
        return Refusal(Code.STALE_OBSERVATION, words)

    def _check_camera(self, camera: Camera, newest: Pair, *, with_depth: bool) -> Refusal | None:
        """Refuse a frozen camera, lost depth, and stamps that cannot be trusted: transforms are looked up at them."""
        ahead = self._check_ahead(camera)
        if ahead is not None:
            return ahead
        age_s = self._age_s(newest.stamp_s)
        if age_s > self._oldest_s:
            limit = f"more than {self._oldest_s} s"
            reason = f"the newest image of the camera {camera.name!r} is {age_s:.2f} s old, {limit}"
            return Refusal(Code.STALE_OBSERVATION, reason)
        if camera.frozen is not None:
            return Refusal(Code.STALE_OBSERVATION, camera.frozen)
        lost = camera.depth_problem(newest) if with_depth else None
        return None if lost is None else Refusal(Code.NO_DEPTH, lost)

    def _check_ahead(self, camera: Camera) -> Refusal | None:
        if camera.ahead_s <= self.settings.most_ahead_s:
            return None
        reason = f"the camera {camera.name!r} is {camera.ahead_s:.2f} s ahead of the clock; synchronise clocks"
        return Refusal(Code.STALE_OBSERVATION, reason)

    @property
    def _oldest_s(self) -> float:
        return self.settings.planner.guard.max_observation_age_s

    # --- clock ------------------------------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return 1e-9 * float(self._node.get_clock().now().nanoseconds)

    def _age_s(self, stamp_s: float) -> float:
        return self._now_s() - stamp_s

    def _on_jump(self, back_s: float) -> None:
        """Drop everything from before a jump of the clock: its stamps mean another time now."""
        self.transforms.clear()
        for camera in self.cameras:
            camera.clear()
        self._node.get_logger().warning(f"the clock jumped back by {back_s:.2f} s: images and transforms are dropped")

    def _watch(self) -> None:
        for camera in self.cameras:
            camera.ask_for_calibration()
        self.clock.check()
        problem = self.clock.problem
        if problem is not None and self._clock_problem is None:
            self._node.get_logger().error(problem)
        self._clock_problem = problem

    def _smooth_pose(self, frame: str, stamp_s: float) -> Placed | None:
        """Where a frame was in the odometry's, which does not jump when localisation corrects itself (REP 105).

        In the map only if the odometry's frame is not connected: a gap in the odometry does not change the frame.
        """
        connected = self.transforms.connected(self.settings.odom_frame, frame)
        fixed = self.settings.odom_frame if connected else self.settings.map_frame
        try:
            return Placed(fixed, self.transforms.lookup(fixed, frame, stamp_s))
        except TransformError:
            return None
