"""A single observation from image files, to plan on without an environment or a robot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from typing_extensions import Doc

from si_embodied.embodiment import Embodiment
from si_embodied.errors import ConfigError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.images.files import read_depth, read_rgb
from si_embodied.robots import SERVICE_ARM, SERVICE_BASE
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
        robot = SERVICE_ARM if self.kind == "manipulation" else SERVICE_BASE
        return Task(self.instruction, self.kind), Observation(0.0, (frame,), Pose.identity()), robot

    def _intrinsics(self, width: int, height: int) -> Intrinsics:
        if self.intrinsics is None:
            return Intrinsics.from_vertical_fov(width, height, math.radians(self.fov))
        try:
            fx, fy, cx, cy = (float(part) for part in self.intrinsics.split(","))
        except ValueError as error:
            text = f"expected --intrinsics as four numbers fx,fy,cx,cy in pixels, got: {self.intrinsics!r}"
            raise ConfigError(text) from error
        return Intrinsics(width, height, fx, fy, cx, cy)
