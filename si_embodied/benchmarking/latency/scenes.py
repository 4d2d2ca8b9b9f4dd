"""Synthetic views for measuring speed: a robot that turns on the spot before walls with boxes. Needs no simulator.

The pictures are a function of their seed. They are no scenes that a model was trained on, so that its plans mean
nothing; the tokens of its answers are reported beside their time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.geometry import Intrinsics, Pose
from si_embodied.memory import Attempt, Memory
from si_embodied.robots import CAMERA_FOV_Y_DEG, CAMERA_HEIGHT_M, FETCH_BASE
from si_embodied.types import CameraFrame, Code, Observation, Outcome, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROBOT = FETCH_BASE
TURN_RAD = ROBOT.turn_step_rad
STEP_S = 1.0  # between two views
_WALL_M = 3.0
_COLOURS = {"red": (190, 40, 40), "green": (40, 150, 60), "blue": (50, 70, 190), "yellow": (210, 190, 50)}
_THINGS = ("chair", "sofa", "table", "lamp")


@dataclass(frozen=True, slots=True)
class Situation:
    """What a planner is asked."""

    task: Task
    observation: Observation
    memory: Memory


def task_of(seed: int) -> Task:
    """Find a thing of some colour."""
    colours = tuple(_COLOURS)
    return Task(f"find the {colours[seed % 4]} {_THINGS[seed // 4 % 4]}", "navigation")


def view(seed: int, step: int, size: int) -> CameraFrame:
    """The view after `step` turns to the left in the room of that seed, `size` pixels wide and high."""
    yaw, left = step * TURN_RAD, np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    turned = Pose.from_rpy(0.0, 0.0, yaw).rotation @ left
    return CameraFrame(
        name="head",
        stamp_s=STEP_S * step,
        rgb=_window(_panorama(seed, size), round(step * TURN_RAD / math.tau * 6 * size), size),
        depth_m=np.full((size, size), _WALL_M, dtype=np.float32),
        intrinsics=Intrinsics.from_vertical_fov(size, size, math.radians(CAMERA_FOV_Y_DEG)),
        T_map_camera=Pose(turned, np.array([0.0, 0.0, CAMERA_HEIGHT_M])),
    )


def turned(seed: int, step: int, size: int, *, views: Sequence[CameraFrame] = ()) -> Situation:
    """The situation after `step` turns, each remembered as an attempt; `views` are remembered too."""
    frame = view(seed, step, size)
    memory = Memory(keyframes=tuple(views))
    for _ in range(step):
        memory = memory.add(Attempt("turn 15", None, Pose.identity(), Outcome(Code.OK)))
    return Situation(task_of(seed), Observation(frame.stamp_s, (frame,), Pose.identity()), memory)


def noisy(situation: Situation, rng: np.random.Generator) -> Situation:
    """The same situation a moment later: the robot stands, and the camera's noise is one grey level in some pixels."""
    frame = situation.observation.frames[0]
    noise = rng.integers(-1, 2, frame.rgb.shape, dtype=np.int16)
    rgb = np.clip(frame.rgb + noise, 0, 255).astype(np.uint8)
    frame = replace(frame, rgb=rgb, stamp_s=frame.stamp_s + STEP_S / 1000)
    return replace(situation, observation=Observation(frame.stamp_s, (frame,), situation.observation.T_map_base))


def _panorama(seed: int, size: int) -> NDArray[np.uint8]:
    """A wall above a floor all around, with twelve boxes: (size, 6 size, 3)."""
    rng = np.random.default_rng(seed)
    picture = np.full((size, 6 * size, 3), 205, dtype=np.uint8)
    picture[size // 2 :] = (150, 120, 90)
    colours = list(_COLOURS.values())
    for number in range(12):
        width, height = (int(rng.integers(size // 6, size // 3)) for _ in range(2))
        left, foot = number * size // 2, int(rng.integers(size // 2, size * 4 // 5))
        picture[foot - height : foot, left : left + width] = colours[int(rng.integers(len(colours)))]
    return picture


def _window(panorama: NDArray[np.uint8], start: int, size: int) -> NDArray[np.uint8]:
    """`size` columns from `start`, around the end."""
    return np.ascontiguousarray(np.take(panorama, np.arange(-start, size - start), axis=1, mode="wrap"))
