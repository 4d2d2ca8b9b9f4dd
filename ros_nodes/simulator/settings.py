"""The settings of `sim_node`; its ROS parameters have the same names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.sensor_noise.profiles import NoiseProfile, noise_profile

WORLDS = ("apartment", "tabletop")
DEPTH_ENCODINGS = ("32FC1", "16UC1")

FIXED = ("world", "task", "image_size", "real_time_factor", "publish_ground_truth")
"""Read when the node starts. The others may be set while it runs; `seed` takes effect at the next reset."""


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The simulated robot; by default an ideal one."""

    world: Annotated[str, Doc("apartment or tabletop")] = "apartment"
    task: Annotated[str, Doc("a task of the world, see `si-embodied envs`; empty: the world's first")] = ""
    seed: Annotated[int, Doc("of the episode; to start another one, set it and call ~/reset")] = 0
    image_size: Annotated[int, Doc("height and width of every camera, pixels")] = 224
    real_time_factor: Annotated[float, Doc("simulated seconds per second, if the machine is fast enough")] = 1.0
    camera_rate_hz: Annotated[float, Doc("images of each camera per simulated second")] = 10.0
    depth_encoding: Annotated[str, Doc("32FC1 (metres) or 16UC1 (millimetres)")] = "32FC1"
    publish_ground_truth: Annotated[bool, Doc("publish what the planner's perfect_pixels backend needs")] = False
    publish_depth: Annotated[bool, Doc("false: the depth camera has failed")] = True
    publish_tf: Annotated[bool, Doc("false: localisation has failed")] = True
    image_latency_s: Annotated[float, Doc("from an image's exposure to its publication")] = 0.0
    command_latency_s: Annotated[float, Doc("from a command to its effect")] = 0.0
    clock_offset_s: Annotated[float, Doc("by which the cameras' clock is ahead of all others")] = 0.0
    noise_profile: Annotated[
        str, Doc("none, realsense, orbbec, zed or a YAML file; its values are replaced by latency and noise above 0")
    ] = "none"
    rgb_noise: Annotated[float, Doc("standard deviation, grey levels of 255")] = 0.0
    depth_noise: Annotated[
        float, Doc("standard deviation at 1 m, metres; grows with the distance squared; a Kinect has 0.0014")
    ] = 0.0
    depth_dropout_ratio: Annotated[float, Doc("share of pixels without a return")] = 0.0
    localisation_noise_m: Annotated[float, Doc("standard deviation of the error, which changes within seconds")] = 0.0
    odometry_drift_ratio: Annotated[float, Doc("standard deviation of the odometry's error after one metre")] = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.world not in WORLDS:
            raise UnknownNameError("world", self.world, WORLDS)
        if self.depth_encoding not in DEPTH_ENCODINGS:
            raise UnknownNameError("depth encoding", self.depth_encoding, DEPTH_ENCODINGS)
        for name in ("real_time_factor", "camera_rate_hz"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"expected {name} to be positive, got: {getattr(self, name)}")
        for name in ("image_latency_s", "command_latency_s", "clock_offset_s", "rgb_noise", "depth_noise",
                     "localisation_noise_m", "odometry_drift_ratio"):  # fmt: skip
            if getattr(self, name) < 0:
                raise ConfigError(f"expected {name} to be at least 0, got: {getattr(self, name)}")
        if not 0 <= self.depth_dropout_ratio <= 1:
            raise ConfigError(f"expected depth_dropout_ratio from 0 to 1, got: {self.depth_dropout_ratio}")
        noise_profile(self.noise_profile)

    def noise(self) -> NoiseProfile:
        """The profile, with the parameters above 0 in the place of its own values."""
        found = noise_profile(self.noise_profile)
        colour, depth, transfer, pose = found.colour, found.depth, found.transfer, found.pose
        return replace(
            found,
            colour=replace(colour, grey_levels=self.rgb_noise or colour.grey_levels),
            depth=replace(
                depth,
                noise_m=self.depth_noise or depth.noise_m,
                dropout_ratio=self.depth_dropout_ratio or depth.dropout_ratio,
            ),
            transfer=replace(transfer, delay_s=self.image_latency_s or transfer.delay_s),
            pose=replace(
                pose,
                localisation_m=self.localisation_noise_m or pose.localisation_m,
                odometry_drift_ratio=self.odometry_drift_ratio or pose.odometry_drift_ratio,
            ),
        )
