"""Noise profiles: how much noise of each kind a camera and a robot have. By default none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from si_embodied.config import from_mapping, load_yaml
from si_embodied.errors import ConfigError, UnknownNameError

_FARTHEST_M = 1e6  # no limit; infinity is not a setting


@dataclass(frozen=True, slots=True)
class ColourNoise:
    """Noise of the colour image."""

    exposure_stops: Annotated[float, Doc("standard deviation of the exposure, which wanders within seconds")] = 0.0
    white_balance_ratio: Annotated[float, Doc("standard deviation of each channel's gain, which wanders too")] = 0.0
    blur_px: Annotated[float, Doc("radius of the lens's and the resampling's blur, pixels of the image")] = 0.0
    grey_levels: Annotated[float, Doc("standard deviation of each pixel, grey levels of 255")] = 0.0
    exposure_s: Annotated[float, Doc("time in which a moving image is blurred")] = 0.0
    readout_s: Annotated[float, Doc("rolling shutter: from the exposure of the first row to that of the last")] = 0.0
    distortion: Annotated[
        float,
        Doc("distortion left after rectification: share by which the image's corners lie too far out, or too near"),
    ] = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        _check(self, signed=("distortion",))
        if abs(self.distortion) > 0.05:
            raise ConfigError(
                f"expected a distortion from -0.05 to 0.05, got: {self.distortion}; images are rectified, and this is "
                "what remains"
            )


@dataclass(frozen=True, slots=True)
class DepthNoise:
    """Noise of depth from triangulation: structured light, or stereo with or without a projector."""

    noise_m: Annotated[float, Doc("standard deviation at 1 m; grows with the distance squared")] = 0.0
    bias_m: Annotated[float, Doc("the same for an error that all of an episode's images have")] = 0.0
    step_m: Annotated[float, Doc("quantisation at 1 m; grows with the distance squared")] = 0.0
    baseline_m: Annotated[
        float, Doc("between the two eyes; no return from what only one of them sees, left of near objects")
    ] = 0.0
    edge_px: Annotated[
        float, Doc("standard deviation of the place that a pixel's depth comes from, which frays edges")
    ] = 0.0
    dropout_ratio: Annotated[float, Doc("share of single pixels without a return")] = 0.0
    reflection_ratio: Annotated[float, Doc("share of surface patches of 5 cm that mirror, without a return")] = 0.0
    min_m: Annotated[float, Doc("no return nearer than this")] = 0.0
    max_m: Annotated[float, Doc("no return farther than this")] = _FARTHEST_M

    def __post_init__(self) -> None:
        """Check ranges."""
        _check(self)
        if not self.min_m < self.max_m:
            raise ConfigError(f"expected min_m below max_m, got: {self.min_m} and {self.max_m}")


@dataclass(frozen=True, slots=True)
class TransferNoise:
    """What happens to images between the camera and the planner."""

    dropped_ratio: Annotated[float, Doc("share of images that never arrive")] = 0.0
    delay_s: Annotated[float, Doc("from an image's exposure to its arrival")] = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        _check(self)
        if self.dropped_ratio > 0.9:
            raise ConfigError(f"expected dropped_ratio of at most 0.9, got: {self.dropped_ratio}")


@dataclass(frozen=True, slots=True)
class PoseNoise:
    """Errors of the robot's localisation and of its cameras' calibration."""

    localisation_m: Annotated[
        float, Doc("standard deviation of the localisation's error, which changes within seconds")
    ] = 0.0
    odometry_drift_ratio: Annotated[float, Doc("standard deviation of the odometry's error after one metre")] = 0.0
    correction_s: Annotated[float, Doc("time between corrections of the drift; 0: it is corrected at once")] = 0.0
    delay_s: Annotated[float, Doc("by which the poses are older than their stamps")] = 0.0
    calibration_m: Annotated[float, Doc("standard deviation of each camera's position on the robot")] = 0.0
    calibration_rad: Annotated[float, Doc("standard deviation of each camera's direction, about each axis")] = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        _check(self)


@dataclass(frozen=True, slots=True)
class NoiseProfile:
    """All of a robot's noise."""

    name: Annotated[str, Doc("as records and tables show it")] = "none"
    colour: ColourNoise = field(default_factory=ColourNoise)
    depth: DepthNoise = field(default_factory=DepthNoise)
    transfer: TransferNoise = field(default_factory=TransferNoise)
    pose: PoseNoise = field(default_factory=PoseNoise)

    @property
    def silent(self) -> bool:
        """Whether there is no noise at all."""
        return dataclasses.replace(self, name="none") == NoiseProfile()


_MOST = {"_ratio": 1.0, "_m": 100.0, "_s": 60.0, "_px": 100.0, "_rad": math.pi, "_stops": 10.0, "_levels": 255.0}
"""Beyond it, a setting is in another unit: nothing of the image, or of the episode, would be left."""


def _check(group: ColourNoise | DepthNoise | TransferNoise | PoseNoise, signed: tuple[str, ...] = ()) -> None:
    for each in dataclasses.fields(group):
        value = getattr(group, each.name)
        most = next((limit for unit, limit in _MOST.items() if each.name.endswith(unit)), math.inf)
        if not math.isfinite(value) or (value < 0 and each.name not in signed):
            raise ConfigError(f"expected {each.name} to be at least 0, got: {value}")
        if value > most and each.name != "max_m":
            raise ConfigError(f"expected {each.name} from 0 to {most:g}, got: {value}")


# --- the profiles ---------------------------------------------------------------------------------------------------

_ROBOT = PoseNoise(
    localisation_m=0.02, odometry_drift_ratio=0.02, correction_s=1.0, delay_s=0.03,
    calibration_m=0.003, calibration_rad=0.004,
)  # fmt: skip
"""A wheeled robot that a laser scanner localises, with a camera calibrated by a chequerboard. All of it is a guess."""

NONE = NoiseProfile()

REALSENSE = NoiseProfile(
    "realsense",
    ColourNoise(exposure_stops=0.3, white_balance_ratio=0.03, blur_px=0.5, grey_levels=3.0, exposure_s=0.010,
                readout_s=0.020, distortion=0.002),
    DepthNoise(noise_m=0.0036, bias_m=0.003, step_m=0.0014, baseline_m=0.050, edge_px=0.5, dropout_ratio=0.005,
               reflection_ratio=0.02, min_m=0.20, max_m=10.0),
    TransferNoise(dropped_ratio=0.01, delay_s=0.05),
    _ROBOT,
)  # fmt: skip
"""Intel RealSense D435: infrared stereo with a projector, and a rolling-shutter colour camera.

From its data sheet: baseline 50 mm; 87 degrees at 848 pixels, so a focal length of 447 pixels; range to about 10 m; at
848 x 480 nothing nearer than about 0.2 to 0.3 m. From Intel's "Tuning depth cameras for best performance": the error is
distance^2 * subpixel / (focal length * baseline); a subpixel error of 0.08 (from memory) is 3.6 mm at 1 m. From its
white paper on subpixel linearity: disparities in steps of 1/32 pixel. The bias fits the data sheet's accuracy of 2% at
2 m. Guesses: edges, dropout, reflections, delay, dropped images, and all of the colour camera.
"""

ORBBEC = NoiseProfile(
    "orbbec",
    ColourNoise(exposure_stops=0.3, white_balance_ratio=0.04, blur_px=0.5, grey_levels=3.5, exposure_s=0.012,
                readout_s=0.025, distortion=0.002),
    DepthNoise(noise_m=0.0025, bias_m=0.003, step_m=0.002, baseline_m=0.050, edge_px=0.7, dropout_ratio=0.003,
               reflection_ratio=0.02, min_m=0.15, max_m=10.0),
    TransferNoise(dropped_ratio=0.01, delay_s=0.06),
    _ROBOT,
)  # fmt: skip
"""Orbbec Gemini 2: structured light seen by two infrared cameras, and a rolling-shutter colour camera.

From its data sheet, quoted from memory and not checked: baseline 50 mm; 91 degrees at 1280 pixels, so a focal length
of 629 pixels; range 0.15 to 10 m; accuracy 2% at 2 m, which the bias fits.
The noise is that of a subpixel error of 0.08, as for a RealSense; the step is
that of 1/16 pixel. These two and all the rest are guesses.
"""

ZED = NoiseProfile(
    "zed",
    ColourNoise(exposure_stops=0.4, white_balance_ratio=0.03, blur_px=0.4, grey_levels=2.5, exposure_s=0.012,
                readout_s=0.018, distortion=0.001),
    DepthNoise(noise_m=0.0013, bias_m=0.002, baseline_m=0.120, edge_px=1.0, reflection_ratio=0.03, min_m=0.30,
               max_m=20.0),
    TransferNoise(dropped_ratio=0.01, delay_s=0.08),
    _ROBOT,
)  # fmt: skip
"""Stereolabs ZED 2: stereo without a projector, matched by a network on the computer.

From its data sheet: baseline 120 mm; range 0.3 to 20 m; from memory, an error below 1% up to 3 m and below 5% at 15 m,
which the noise and the bias together fit (both grow with the distance squared).
From its maker: 720 rows at 25.6 us, which is 18 ms.
Disparities are floating-point numbers, so without steps. Guesses: edges (networks smooth them), reflections, delay,
dropped images, and the rest of the colour camera.
"""

PROFILES: Mapping[str, NoiseProfile] = {each.name: each for each in (NONE, REALSENSE, ORBBEC, ZED)}


def noise_profile(name: str) -> NoiseProfile:
    """A profile by name, or from a YAML file with own values.

    The file's `profile` names the profile whose values it changes, `none` by default:

        profile: realsense
        depth: {noise_m: 0.01}

    Raises:
        UnknownNameError: there is no such profile.
        ConfigError: the file is missing or not YAML, or has an unknown or invalid setting.
    """
    if name in PROFILES:
        return PROFILES[name]
    if not name.endswith((".yaml", ".yml")):
        raise UnknownNameError("noise profile", name, (*PROFILES, "FILE.yaml"))
    values = load_yaml(Path(name))
    base = values.pop("profile", "none")
    if not isinstance(base, str) or base not in PROFILES:
        raise UnknownNameError("noise profile", str(base), PROFILES)
    if "name" in values:
        raise ConfigError(f"{name!r}: a profile of your own has the name of its file; remove 'name'")
    merged: dict[str, Any] = {**dataclasses.asdict(PROFILES[base]), "name": Path(name).stem}
    for key, value in values.items():
        grouped = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if grouped else value
    return from_mapping(NoiseProfile, merged)
