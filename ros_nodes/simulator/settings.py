"""The settings of `sim_node`; its ROS parameters have the same names."""

from __future__ import annotations

from dataclasses import dataclass

from si_embodied.errors import ConfigError, UnknownNameError

WORLDS = ("apartment", "tabletop")
DEPTH_ENCODINGS = ("32FC1", "16UC1")

FIXED = ("world", "task", "image_size", "real_time_factor", "publish_ground_truth")
"""Read when the node starts. The others may be set while it runs; `seed` takes effect at the next reset."""


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The simulated robot; by default an ideal one."""

    world: str = "apartment"  # apartment or tabletop
    task: str = ""  # a task of the world, e.g. objectnav or stack; empty: the world's first
    seed: int = 0  # of the episode
    image_size: int = 224  # height and width of every camera, pixels
    real_time_factor: float = 1.0  # simulated seconds per second, if the machine is fast enough
    camera_rate_hz: float = 10.0  # images of each camera per simulated second
    depth_encoding: str = "32FC1"  # 32FC1 (metres) or 16UC1 (millimetres)
    publish_ground_truth: bool = False  # for the perfect_pixels backend
    publish_depth: bool = True  # false simulates a failed depth camera
    publish_tf: bool = True  # false simulates failed localisation
    image_latency_s: float = 0.0  # from an image's exposure to its publication
    command_latency_s: float = 0.0  # from a command to its effect
    clock_offset_s: float = 0.0  # by which the cameras' clock is ahead of all others
    rgb_noise: float = 0.0  # standard deviation, grey levels of 255
    depth_noise: float = 0.0  # standard deviation at 1 m, metres; grows with the distance squared
    depth_dropout_ratio: float = 0.0  # share of pixels without a return
    localisation_noise_m: float = 0.0  # standard deviation of the error, which changes within seconds
    odometry_drift_ratio: float = 0.0  # standard deviation of the odometry's error after one metre

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
