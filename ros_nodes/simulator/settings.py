"""Every setting of `sim_node`; its ROS parameters have the same names."""

from __future__ import annotations

from dataclasses import dataclass

from si_embodied.errors import ConfigError, UnknownNameError

WORLDS = ("apartment", "tabletop")
DEPTH_ENCODINGS = ("32FC1", "16UC1")

FIXED = ("world", "task", "image_size", "real_time_factor", "publish_ground_truth")
"""Read when the node starts; all else may be set while it runs, and `seed` counts from the next reset."""


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The simulator as a robot. The defaults are an ideal one."""

    world: str = "apartment"  # apartment or tabletop
    task: str = ""  # of the world, objectnav or stack for example; empty: the world's first
    seed: int = 0  # of the episode
    image_size: int = 224  # height and width of every camera, pixels
    real_time_factor: float = 1.0  # simulated seconds in one second, if the machine can
    camera_rate_hz: float = 10.0  # images of every camera in a simulated second
    depth_encoding: str = "32FC1"  # 32FC1 (metres) or 16UC1 (millimetres)
    publish_ground_truth: bool = False  # what perfect perception would see; for the perfect_pixels backend
    publish_depth: bool = True  # off: a depth camera that has died
    publish_tf: bool = True  # off: localisation that has died
    image_latency_s: float = 0.0  # from the exposure to the publishing of an image
    command_latency_s: float = 0.0  # from a command to its effect
    clock_offset_s: float = 0.0  # of the cameras' clock, ahead of everyone else's
    rgb_noise: float = 0.0  # standard deviation, grey levels of 255
    depth_noise: float = 0.0  # standard deviation at 1 m, metres; grows with the distance squared
    depth_dropout_ratio: float = 0.0  # pixels without a return
    localisation_noise_m: float = 0.0  # standard deviation of an error that wanders within seconds
    odometry_drift_ratio: float = 0.0  # standard deviation of the odometry's error, for each metre driven

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
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
