"""The Apartment's robot: a base driven by velocities or a goal pose, with a head camera and a laser scanner."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.navigation import ApartmentEnv
from si_embodied.geometry import Pose
from si_embodied.policies.observation import from_gymnasium
from si_embodied.ros_nodes.simulator.navigator import Navigator
from si_embodied.ros_nodes.simulator.robots import GroundTruth
from si_embodied.types import Code, Outcome

import mujoco  # isort: skip  (after ApartmentEnv, which chooses the renderer before mujoco's first import)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.types import Observation

_TICK_S = 0.05
LASER_HEIGHT_M = 0.3
LASER_RANGE_M = (0.05, 10.0)
LASER_RAYS = 360


class ApartmentRobot:
    """One robot in one apartment; the latest command drives it."""

    watchdog_s = 0.5
    """A velocity command that is not renewed expires after this time."""

    def __init__(self, task: str, image_size: int, camera_rate_hz: float = 10.0) -> None:
        """Create the environment; `reset` loads an apartment. A faster camera has a shorter tick."""
        self.tick_s = min(_TICK_S, 1 / camera_rate_hz)
        self._env = ApartmentEnv(task, image_size=image_size, action_mode="continuous")
        self.embodiment: MobileBase = self._env.embodiment
        self._navigator = Navigator(self.embodiment)
        self._ended: Outcome | None = None

    def reset(self, seed: int) -> None:
        """Start the episode of a seed, standing still; a goal under way is cancelled."""
        if self._navigator.busy:
            self._ended = Outcome(Code.CANCELED, "the simulation was reset")
        self._env.reset(seed=seed)
        self._navigator.reset()
        self._velocity = (0.0, 0.0)
        self._command_left_s = self._until_step_s = 0.0
        self._lasers = mujoco.MjData(self._env.episode.model)
        mujoco.mj_kinematics(self._env.episode.model, self._lasers)

    @property
    def instruction(self) -> str:
        """The instruction of the current episode."""
        return self._env.episode.task.instruction

    @property
    def T_map_base(self) -> Pose:  # noqa: N802
        """The true pose of the base."""
        return Pose.planar(*self._env.pose)

    @property
    def velocity(self) -> tuple[float, float]:
        """Current forward speed (m/s) and turn rate (rad/s)."""
        return self._velocity

    # --- commands ---------------------------------------------------------------------------------------------------

    def drive(self, speed_m_s: float, turn_rate_rad_s: float) -> None:
        """Drive by velocity, clamped to the base's limits; this cancels a goal pose under way."""
        if self._navigator.busy:
            self._navigator.cancel()
            self._ended = Outcome(Code.CANCELED, "a velocity command took over")
        speed, rate = self.embodiment.max_speed_m_s, self.embodiment.max_turn_rate_rad_s
        self._velocity = min(max(speed_m_s, -speed), speed), min(max(turn_rate_rad_s, -rate), rate)
        self._command_left_s = self.watchdog_s

    def go(self, T_map_goal: Pose) -> None:
        """Drive to a pose; this replaces an earlier goal."""
        self._navigator.go(T_map_goal)
        self._until_step_s = 0.0

    def cancel(self) -> None:
        """Drop the goal pose under way and stand."""
        if self._navigator.busy:
            self._navigator.cancel()
            self._velocity, self._ended = (0.0, 0.0), Outcome(Code.CANCELED, "the goal was cancelled")

    def tilt(self, angle_rad: float) -> None:
        """Tilt the head camera to an angle, up positive, clamped to its range."""
        low, high = self.embodiment.tilt_range_rad
        self._env.tilt = min(max(angle_rad, low), high)

    def take_outcome(self) -> Outcome | None:
        """The outcome of the last goal pose, returned once."""
        ended, self._ended = self._ended, None
        return ended

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Advance by one tick."""
        self._until_step_s -= self.tick_s
        if self._navigator.busy:
            self._navigate()
        else:
            self._command_left_s -= self.tick_s
            if self._command_left_s < 0.0:
                self._velocity = (0.0, 0.0)
        self._env.drive(*self._velocity, self.tick_s)

    def _navigate(self) -> None:
        """Steer once per control period; the velocity is held in between."""
        if self._until_step_s > 1e-9:
            return
        step = self._navigator.step(self.T_map_base)
        if step is None:  # there is no observation yet
            return
        self._until_step_s = self.embodiment.control_period_s
        if isinstance(step, Outcome):
            self._velocity, self._ended = (0.0, 0.0), step
        else:
            self._velocity = step

    # --- senses -----------------------------------------------------------------------------------------------------

    def observe(self, stamp_s: float) -> Observation:
        """Take an image with the head camera and add it to the navigator's map."""
        observation = from_gymnasium(self._env.observe(), self.embodiment.cameras)
        frames = tuple(dataclasses.replace(frame, stamp_s=stamp_s) for frame in observation.frames)
        observation = dataclasses.replace(observation, stamp_s=stamp_s, frames=frames)
        self._navigator.look(observation)
        return observation

    def scan(self) -> NDArray[np.float32]:
        """(LASER_RAYS,) ranges in metres around the base, counter-clockwise from its back; inf for no return."""
        model = self._env.episode.model
        x, y, yaw = self._env.pose
        angles = yaw - math.pi + np.arange(LASER_RAYS) * (2 * math.pi / LASER_RAYS)
        rays = np.stack([np.cos(angles), np.sin(angles), np.zeros(LASER_RAYS)], axis=-1)
        ids, distances = np.full(LASER_RAYS, -1, np.int32), np.zeros(LASER_RAYS)
        eye = np.array([x, y, LASER_HEIGHT_M])
        groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
        mujoco.mj_multiRay(
            model, self._lasers, eye, rays.ravel(), groups, True, -1, ids, distances, None, LASER_RAYS, LASER_RANGE_M[1]
        )
        hit = (ids >= 0) & (distances >= LASER_RANGE_M[0]) & (distances <= LASER_RANGE_M[1])
        return np.where(hit, distances, np.inf).astype(np.float32)

    def ground_truth(self) -> GroundTruth:
        """The ground truth at the last observation."""
        truth = self._env.ground_truth
        return GroundTruth("goto", truth.target_name(), truth.visible_target(), truth.at_goal())

    def close(self) -> None:
        """Release the renderer's resources."""
        self._env.close()
