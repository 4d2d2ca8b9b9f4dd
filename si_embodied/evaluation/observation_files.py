"""A single observation from image files, to plan on without an environment or a robot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from typing_extensions import Doc

from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.errors import ConfigError
from si_embodied.evaluation.image_files import read_depth, read_rgb
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import CameraFrame, Observation, Task

Scene: TypeAlias = tuple[Task, Observation, Embodiment]
"""Everything that a planner needs to plan once."""


@dataclass(frozen=True, slots=True)
class ObservationFiles:
    """An RGB-D image in files, and what the files do not say."""

    rgb: Annotated[Path | None, Doc("take the observation from files: this image")] = None
    depth: Annotated[Path | None, Doc("its depth: float metres (.npy, TIFF) or integer millimetres (.npy, PNG)")] = None
    intrinsics: Annotated[str | None, Doc("in pixels of the image")] = None
    fov: Annotated[float, Doc("vertical field of view in degrees, instead of the intrinsics")] = 60.0
    instruction: Annotated[str, Doc("what the robot is asked to do")] = ""
    kind: Annotated[Literal["navigation", "manipulation"], Doc("which skills the robot has")] = "navigation"
    camera_height: Annotated[float, Doc("metres above the floor")] = 1.1
    camera_tilt: Annotated[float, Doc("degrees; up is positive")] = 0.0

    def scene(self) -> Scene:
        """Read the files.

        Raises:
            ConfigError: if the image or the instruction is not given, or the intrinsics are not four numbers.
            ObservationError: if a file is missing or has another format.
        """
        if self.rgb is None or not self.instruction:
            raise ConfigError("an observation from files needs --rgb FILE and --instruction TEXT")
        rgb = read_rgb(self.rgb)
        depth = None if self.depth is None else read_depth(self.depth)
        # Looking along the map's x: optical axis x, right -y, down -z; then tilted about the image's right.
        level = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
        tilted = Pose.from_rpy(math.radians(self.camera_tilt), 0.0, 0.0)
        T_map_camera = Pose((level @ tilted).rotation, np.array([0.0, 0.0, self.camera_height]))
        frame = CameraFrame("head", 0.0, rgb, depth, self._intrinsics(rgb.shape[1], rgb.shape[0]), T_map_camera)
        return Task(self.instruction, self.kind), Observation(0.0, (frame,), Pose.identity()), _generic_robot(self.kind)

    def _intrinsics(self, width: int, height: int) -> Intrinsics:
        if self.intrinsics is None:
            return Intrinsics.from_vertical_fov(width, height, math.radians(self.fov))
        try:
            fx, fy, cx, cy = (float(part) for part in self.intrinsics.split(","))
        except ValueError as error:
            text = f"expected --intrinsics as four numbers fx,fy,cx,cy in pixels, got: {self.intrinsics!r}"
            raise ConfigError(text) from error
        return Intrinsics(width, height, fx, fy, cx, cy)


def _generic_robot(kind: str) -> Embodiment:
    """A typical service robot, as files do not describe the robot."""
    if kind == "manipulation":
        return TableArm(
            cameras=("head",),
            action_mode="pose",
            workspace_m=((-2.0, -2.0, 0.0), (2.0, 2.0, 2.0)),
            shoulder_m=(0.0, 0.0, 0.8),
            reach_m=1.5,
            max_opening_m=0.1,
            finger_depth_m=0.02,
            home_m=(0.4, 0.0, 1.2),
            control_period_s=1.0,
        )
    return MobileBase(
        cameras=("head",),
        action_mode="discrete",
        radius_m=0.28,
        height_m=1.2,
        forward_step_m=0.25,
        turn_step_rad=math.radians(15),
        tilt_step_rad=math.radians(15),
        tilt_range_rad=(math.radians(-45), math.radians(45)),
        max_speed_m_s=1.0,
        max_turn_rate_rad_s=1.5,
        control_period_s=0.5,
        success_distance_m=1.0,
    )
