"""habitat-lab's simulator cameras for images rendered by MuJoCo, created from the same configs as habitat-sim's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from si_embodied.envs.habitat.frames import to_base
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.envs.mujoco.camera import head_quaternion
from si_embodied.errors import ConfigError, UnknownNameError

load_habitat()

from gym import spaces  # noqa: E402
from habitat.core.simulator import DepthSensor, RGBSensor, SemanticSensor  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Modality = Literal["rgb", "depth", "semantic"]


@dataclass(frozen=True, slots=True)
class Eye:
    """A pinhole camera on the agent, in Habitat's agent frame (x right, y up, looks along -z)."""

    height: int  # pixels
    width: int
    hfov_rad: float
    position: tuple[float, float, float]  # metres
    orientation: tuple[float, float, float]  # rotations about x (up positive), y (left) and z, radians

    @classmethod
    def of(cls, config: Any) -> Eye:
        """The camera of a sensor's config.

        Raises:
            ConfigError: the camera is not a noise-free pinhole camera, or it is rolled.
        """
        subtype, noise = config.get("sensor_subtype", "PINHOLE"), config.get("noise_model", "None")
        position, orientation = tuple(map(float, config.position)), tuple(map(float, config.orientation))
        if subtype != "PINHOLE" or noise != "None":
            raise ConfigError(
                f"the embedded simulator renders pinhole cameras without noise, got: {subtype} with noise {noise!r}; "
                'use simulator="habitat-sim" for other cameras'
            )
        if orientation[2] != 0.0:
            raise ConfigError(
                f"the embedded simulator's cameras cannot roll, got orientation: {list(orientation)}; "
                "set its third number to 0"
            )
        return cls(config.height, config.width, math.radians(config.hfov), position, orientation)  # type: ignore[arg-type]

    @property
    def fov_y_rad(self) -> float:
        """The vertical field of view, with square pixels."""
        return 2 * math.atan(math.tan(self.hfov_rad / 2) * self.height / self.width)

    @property
    def pitch_rad(self) -> float:
        """Pitch of the mount, up positive."""
        return self.orientation[0]

    def mount(self, tilt_rad: float) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
        """Position and rotation (w, x, y, z) in base_link of a head whose camera looks along its x.

        Args:
            tilt_rad: added to the pitch.
        """
        x, y, z = (float(value) for value in to_base(self.position))
        return (x, y, z), head_quaternion(self.orientation[1], self.pitch_rad + tilt_rad)


class _ApartmentCamera:
    """Base class of the three cameras."""

    modality: ClassVar[Modality]
    config: Any
    uuid: str

    @property
    def eye(self) -> Eye:
        """The camera's model and mount."""
        return Eye.of(self.config)


class ApartmentRgbSensor(_ApartmentCamera, RGBSensor):  # type: ignore[misc]  # habitat-lab has no types
    """Colour images (H, W, 3)."""

    modality = "rgb"

    def _get_observation_space(self, *_: Any, **__: Any) -> Any:
        return spaces.Box(0, 255, (self.config.height, self.config.width, 3), np.uint8)

    def get_observation(self, images: Mapping[str, NDArray[Any]], *_: Any, **__: Any) -> NDArray[Any]:
        """This camera's image."""
        return images[self.uuid]


class ApartmentDepthSensor(_ApartmentCamera, DepthSensor):  # type: ignore[misc]
    """Depth (H, W, 1) in metres or, habitat-lab's default, scaled to 0..1."""

    modality = "depth"

    def _get_observation_space(self, *_: Any, **__: Any) -> Any:
        low, high = (0.0, 1.0) if self.config.normalize_depth else (self.config.min_depth, self.config.max_depth)
        return spaces.Box(low, high, (self.config.height, self.config.width, 1), np.float32)

    def get_observation(self, images: Mapping[str, NDArray[Any]], *_: Any, **__: Any) -> NDArray[Any]:
        """This camera's depth, clipped to its range; 0 is no return."""
        low, high = self.config.min_depth, self.config.max_depth
        depth = np.clip(images[self.uuid], low, high)[..., None]
        return (depth - np.float32(low)) / np.float32(high - low) if self.config.normalize_depth else depth


class ApartmentSemanticSensor(_ApartmentCamera, SemanticSensor):  # type: ignore[misc]
    """Semantic ids (H, W, 1)."""

    modality = "semantic"

    def _get_observation_space(self, *_: Any, **__: Any) -> Any:
        return spaces.Box(0, np.iinfo(np.int32).max, (self.config.height, self.config.width, 1), np.int32)

    def get_observation(self, images: Mapping[str, NDArray[Any]], *_: Any, **__: Any) -> NDArray[Any]:
        """This camera's image."""
        return images[self.uuid][..., None]


_CAMERAS = {
    "HabitatSimRGBSensor": ApartmentRgbSensor,
    "HabitatSimDepthSensor": ApartmentDepthSensor,
    "HabitatSimSemanticSensor": ApartmentSemanticSensor,
}


def make_sensor(config: Any) -> Any:
    """Create the camera of a sensor's config, whose type is one of habitat-sim's.

    Raises:
        UnknownNameError: the embedded simulator has no such sensor.
    """
    if config.type not in _CAMERAS:
        raise UnknownNameError("sensor of the embedded simulator", config.type, _CAMERAS)
    sensor = _CAMERAS[config.type](config=config)
    sensor.eye  # noqa: B018 - rejects an unsupported camera now
    return sensor
