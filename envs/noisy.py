"""A Gymnasium wrapper that gives any of our environments the cameras and the localisation of a real robot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium
import numpy as np

from si_embodied.embodiment import MobileBase
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.sensor_noise.camera import NoisyCamera, noisy_cameras
from si_embodied.sensor_noise.localisation import NoisyLocalisation
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.sensor_noise.profiles import NoiseProfile

_SALT = 0x401
_SETTLED_S = 60.0
"""The localisation has run for so long when an episode starts."""


@dataclass(slots=True)
class _State:
    """What the noise of the running episode depends on; `reset` replaces it."""

    rng: np.random.Generator
    cameras: list[NoisyCamera]
    base: NoisyLocalisation = field(default_factory=NoisyLocalisation)
    stamp_s: float | None = None  # of the last exposure
    delivered: dict[str, Any] = field(default_factory=dict)  # the images that the policy has
    observed: int = 0  # observations so far
    under_way: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Images in order of exposure, each with the number of the observation that they arrive with."""


class NoisySensors(gymnasium.Wrapper[dict[str, Any], Any, dict[str, Any], Any], gymnasium.utils.RecordConstructorArgs):
    """Adds a profile's noise to what an environment's sensors see; its state, measures and ground truth stay exact.

    All noise depends on the episode's seed and on what the robot does. Observations stay within their space.

    - **Moving cameras.** Only a mobile base's camera moves while it takes an image, as fast as on average since the
      last one. An arm's world comes to rest before it takes images, and so does a robot of skills.
    - **Late and dropped images.** An observation then has the last images that arrived, with their stamp, and the
      base's pose of now. All cameras are late together, because an observation has one stamp. No image is rendered
      between two observations, so a delay is rounded to whole ones at random, such that it is right on average.
    - **Poses.** The base's pose has the errors of localisation; a fixed arm's has none. A camera's pose has those of
      the base and of its own calibration. A point goal keeps its place in the map, so the robot misjudges its distance
      and direction by its own error. A goal image stays as it is.

    Example:
        >>> import gymnasium, si_embodied.envs
        >>> from si_embodied.envs.noisy import NoisySensors
        >>> from si_embodied.sensor_noise.profiles import noise_profile
        >>> env = NoisySensors(gymnasium.make("si_embodied/Tabletop-v0"), noise_profile("realsense"))
        >>> observation, info = env.reset(seed=0)
        >>> env.close()
    """

    def __init__(self, env: gymnasium.Env[dict[str, Any], Any], profile: NoiseProfile) -> None:
        """Wrap an environment with the contract of docs/evaluation.md."""
        gymnasium.utils.RecordConstructorArgs.__init__(self, profile=profile)
        gymnasium.Wrapper.__init__(self, env)
        self.profile = profile
        world: Any = env.unwrapped
        self._names: Sequence[str] = world.embodiment.cameras
        self._moves = isinstance(world.embodiment, MobileBase)
        space = getattr(env.observation_space, "spaces", {}).get("depth")
        self._farthest_m = float(space.high.max()) if isinstance(space, gymnasium.spaces.Box) else math.inf
        self._seeds = np.random.SeedSequence(_SALT)
        self._state = self._started()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode and the noise of `seed`; without one, of the next one."""
        raw, info = self.env.reset(seed=seed, options=options)
        self._seeds = self._seeds.spawn(1)[0] if seed is None else np.random.SeedSequence([seed, _SALT])
        self._state = self._started()
        return self._seen(raw), info

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment, and observe with noise."""
        raw, reward, terminated, truncated, info = self.env.step(action)
        return self._seen(raw), reward, terminated, truncated, info

    def _started(self) -> _State:
        rng = np.random.default_rng(self._seeds)
        return _State(rng, noisy_cameras(len(self._names), rng))

    # --- one observation --------------------------------------------------------------------------------------------

    def _seen(self, raw: dict[str, Any]) -> dict[str, Any]:
        stamp_s, true = float(raw["stamp_s"]), Pose.from_matrix(raw["T_map_base"])
        period_s = None if self._state.stamp_s is None else stamp_s - self._state.stamp_s
        believed = true if "T_map_tool" in raw else self._localised(true, period_s)
        images = self._images(raw, stamp_s, believed @ true.inverse())
        self._state.stamp_s = stamp_s
        seen = {**raw, **self._arrived(images, period_s), "T_map_base": believed.matrix()}
        if "pointgoal" in raw:
            seen["pointgoal"] = _point_goal(raw["pointgoal"], believed.inverse() @ true)
        return seen

    def _localised(self, true: Pose, period_s: float | None) -> Pose:
        base = self._state.base
        if period_s is None:
            base.put(true)
        base.update(true, _SETTLED_S if period_s is None else period_s, self.profile.pose, self._state.rng)
        return base.T_map_base

    def _images(self, raw: dict[str, Any], stamp_s: float, T_believed_true: Pose) -> dict[str, Any]:
        """The part of the observation that the cameras make."""
        frames = [self._taken(raw, index, stamp_s) for index in range(len(self._names))]
        depths = [frame.depth_m for frame in frames if frame.depth_m is not None]
        depth = np.stack(depths)
        return {
            "rgb": np.stack([frame.rgb for frame in frames]),
            "depth": np.where(depth <= self._farthest_m, depth, np.float32(0)),
            "T_map_camera": np.stack([(T_believed_true @ frame.T_map_camera).matrix() for frame in frames]),
            "stamp_s": raw["stamp_s"],
        }

    def _taken(self, raw: dict[str, Any], index: int, stamp_s: float) -> CameraFrame:
        rgb, depth_m = np.asarray(raw["rgb"][index]), np.asarray(raw["depth"][index])
        intrinsics = Intrinsics.from_matrix(raw["intrinsics"][index], rgb.shape[1], rgb.shape[0])
        pose = Pose.from_matrix(raw["T_map_camera"][index])
        frame = CameraFrame(self._names[index], stamp_s, rgb, depth_m, intrinsics, pose)
        return self._state.cameras[index].take(frame, self.profile, moves=self._moves)

    def _arrived(self, images: dict[str, Any], period_s: float | None) -> dict[str, Any]:
        """The newest images that have arrived, as a copy: observations share no arrays."""
        state, transfer = self._state, self.profile.transfer
        dropped, late = state.rng.random(2)
        state.observed += 1
        if period_s is None or period_s <= 0:
            state.under_way.append((state.observed, images))
        elif dropped >= transfer.dropped_ratio:
            whole, part = divmod(transfer.delay_s / period_s, 1)
            state.under_way.append((state.observed + int(whole) + int(late < part), images))
        arrived = [place for place, (due, _) in enumerate(state.under_way) if due <= state.observed]
        if arrived:
            state.delivered = state.under_way[arrived[-1]][1]
            del state.under_way[: arrived[-1] + 1]  # older ones that arrive later are of no use
        return {key: np.array(value) for key, value in state.delivered.items()}


def _point_goal(pointgoal: NDArray[np.float32], T_believed_true: Pose) -> NDArray[np.float32]:
    """Distance and direction of a point from where the robot believes to be."""
    distance, angle = (float(value) for value in pointgoal)
    x, y, _ = T_believed_true.apply([distance * math.cos(angle), distance * math.sin(angle), 0.0])
    return np.array([math.hypot(x, y), math.atan2(y, x)], np.float32)
