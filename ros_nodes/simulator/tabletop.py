"""The Tabletop's robot: an arm driven by tool poses, with a gripper and three cameras."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from si_embodied.envs.manipulation import MOTION_LIMIT_S, TabletopEnv
from si_embodied.envs.mujoco.fetch import CONTROL_STEP_S
from si_embodied.envs.mujoco.tabletop import REST_S
from si_embodied.policies.observation import from_gymnasium
from si_embodied.ros_nodes.simulator.robots import GroundTruth
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from si_embodied.embodiment import TableArm
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation


class TabletopRobot:
    """One arm at one table; a new motion replaces the one under way."""

    tick_s = REST_S  # what does not move for one tick is at rest

    def __init__(self, task: str, image_size: int) -> None:
        """Create the environment; `reset` sets the table."""
        self._env = TabletopEnv(task, image_size=image_size)
        self.embodiment: TableArm = self._env.embodiment
        self._motion: Generator[None, None, bool] | None = None
        self._reached: bool | None = None  # by the last motion; kept until the arm has rested for a tick
        self._next: Pose | None = None  # target of a motion that starts at the next tick
        self._ended: Outcome | None = None

    def reset(self, seed: int) -> None:
        """Start the episode of a seed, with the arm at home; a motion under way is cancelled."""
        if self._motion is not None or self._next is not None:
            self._ended = Outcome(Code.CANCELED, "the simulation was reset")
        self._motion = self._reached = self._next = None
        self._env.reset(seed=seed)
        self._opening_m = self.opening_m

    @property
    def instruction(self) -> str:
        """The instruction of the current episode."""
        return self._env.episode.instruction

    @property
    def T_map_base(self) -> Pose:  # noqa: N802
        """The pose of the fixed base."""
        return self._env.world.T_map_base

    @property
    def T_map_tool(self) -> Pose:  # noqa: N802
        """The current pose of the tool."""
        return self._env.world.controller.tool

    @property
    def opening_m(self) -> float:
        """The current distance between the finger pads."""
        return self._env.world.controller.opening_m

    # --- commands ---------------------------------------------------------------------------------------------------

    def grip(self, opening_m: float) -> None:
        """Set the distance between the finger pads for the next motion."""
        self._opening_m = min(max(opening_m, 0.0), self.embodiment.max_opening_m)

    def move(self, T_map_tool: Pose) -> None:
        """Move the tool to a pose in a straight line, and the finger pads to the distance last set by `grip`.

        The motion starts one tick later: messages on two topics have no order, and the gripper's may arrive second.
        """
        self._next, self._motion, self._reached = T_map_tool, None, None

    def cancel(self) -> None:
        """Drop the motion under way; the arm stays where it is."""
        if self._motion is not None or self._next is not None:
            self._ended = Outcome(Code.CANCELED, "the motion was cancelled")
            self._env.world.controller.hold()
        self._motion = self._reached = self._next = None

    def take_outcome(self) -> Outcome | None:
        """The outcome of the last motion, returned once."""
        ended, self._ended = self._ended, None
        return ended

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Advance by one tick: move, or let the scene come to rest."""
        if self._next is not None:
            self._env.world.rest(self.tick_s)
            self._motion = self._env.world.controller.motion(self._next, self._opening_m, MOTION_LIMIT_S)
            self._next = None
        elif self._motion is None:
            self._env.world.rest(self.tick_s)
            if self._reached is not None:  # after a whole tick at rest
                blocked = Outcome(Code.BLOCKED, "the tool did not reach its goal")
                self._ended, self._reached = Outcome(Code.OK) if self._reached else blocked, None
        else:
            self._move(self._motion)

    def _move(self, motion: Generator[None, None, bool]) -> None:
        """Move for one tick; when the motion ends, the scene rests for the remainder."""
        steps = round(self.tick_s / CONTROL_STEP_S)
        for step in range(steps):
            try:
                next(motion)
            except StopIteration as end:
                self._motion, self._reached = None, end.value
                self._env.world.rest((steps - step) * CONTROL_STEP_S)
                return

    # --- senses -----------------------------------------------------------------------------------------------------

    def observe(self, stamp_s: float) -> Observation:
        """Take an image with every camera."""
        observation = from_gymnasium(self._env.observe(), self.embodiment.cameras)
        frames = tuple(dataclasses.replace(frame, stamp_s=stamp_s) for frame in observation.frames)
        return dataclasses.replace(observation, stamp_s=stamp_s, frames=frames)

    def ground_truth(self) -> GroundTruth:
        """The ground truth at the last observation."""
        truth = self._env.ground_truth
        step = truth.next_step()
        if step is None:
            return GroundTruth(None, "", None, truth.progress() == 1.0)
        return GroundTruth(step.kind, step.object_name, truth.pixel_of(step), False)

    def close(self) -> None:
        """Release the renderer's resources."""
        self._env.close()
