"""A single observation from image files, to plan on without an environment or a robot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from typing_extensions import Doc

from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.errors import ConfigError, ObservationError, extra
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import CameraFrame, Observation, Task

Scene: TypeAlias = tuple[Task, Observation, Embodiment]
"""Everything that a planner needs to plan once."""


@dataclass(frozen=True, slots=True)
class ObservationFiles:
    """An RGB-D image in files, and what the files do not say."""

    rgb: Annotated[Path | None, Doc("take the observation from files: this image")] = None
    depth: Annotated[Path | None, Doc("its depth: metres in an .npy file, or 16-bit millimetres in a PNG")] = None
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
        rgb = np.asarray(_image(self.rgb).convert("RGB"), dtype=np.uint8)
        depth = None if self.depth is None else _depth(self.depth)
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


def _image(path: Path) -> Any:
    with extra("sim"):
        from PIL import Image, UnidentifiedImageError
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise ObservationError(f"no such image: {str(path)!r}") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ObservationError(
            f"{str(path)!r} is not an image that Pillow reads ({error}); give PNG or JPEG"
        ) from error


def _depth(path: Path) -> Any:
    """Metres as float32, from an array of metres or an image of millimetres."""
    if path.suffix != ".npy":
        image = np.asarray(_image(path))
        if image.ndim != 2 or image.dtype == np.uint8:
            raise ObservationError(
                f"{str(path)!r} is not a 16-bit depth image (it is {image.dtype}, {image.shape}); "
                "give millimetres as a 16-bit PNG, or metres as .npy"
            )
        return image.astype(np.float32) / 1000
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except FileNotFoundError as error:
        raise ObservationError(f"no such depth file: {str(path)!r}") from error
    except (ValueError, EOFError) as error:
        raise ObservationError(f"{str(path)!r} is not a numpy array file: {error}") from error


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
