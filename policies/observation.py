"""Converts an environment's observation dict to the core's `Observation`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.embodiment import SKILL_WORDS
from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import ArmState, CameraFrame, Observation, SkillOption, SkillState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.embodiment import SkillVerb

_REQUIRED = ("rgb", "depth", "intrinsics", "T_map_camera", "T_map_base", "stamp_s")


def from_gymnasium(observation: Mapping[str, Any], cameras: Sequence[str]) -> Observation:
    """The `Observation` of an observation dict.

    Args:
        observation: `rgb` (N, H, W, 3) uint8, `depth` (N, H, W) float32 metres with 0 for no return, `intrinsics`
            (N, 3, 3), `T_map_camera` (N, 4, 4), `T_map_base` (4, 4), `stamp_s`; an arm adds `T_map_tool` (4, 4) and
            `gripper_opening` in metres; a robot of skills adds `skills` (one per line), `skill_areas` (M, 2, 2),
            `feedback`, `skill_done` and `holding`; a goal given as an image adds `goal_image` (H, W, 3) uint8; a goal
            given as a point adds `pointgoal` (2,): its distance now, metres, and its direction, radians, left positive.
        cameras: names of the N cameras.

    Raises:
        ObservationError: a key is missing or a shape does not fit.
    """
    missing = [key for key in _REQUIRED if key not in observation]
    if missing:
        raise ObservationError(f"the observation lacks {missing}; it has: {sorted(observation)}")
    rgb = np.asarray(observation["rgb"])
    if rgb.ndim != 4 or len(rgb) != len(cameras):
        wanted = f"rgb (N, H, W, 3) of the {len(cameras)} cameras {tuple(cameras)}"
        raise ObservationError(f"expected {wanted}, got: {rgb.shape}")
    stamp_s = float(observation["stamp_s"])
    height, width = rgb.shape[1:3]
    frames = tuple(
        CameraFrame(
            name=name,
            stamp_s=stamp_s,
            rgb=rgb[index],
            depth_m=np.asarray(observation["depth"])[index],
            intrinsics=Intrinsics.from_matrix(observation["intrinsics"][index], width, height),
            T_map_camera=Pose.from_matrix(observation["T_map_camera"][index]),
        )
        for index, name in enumerate(cameras)
    )
    arm = None
    if "T_map_tool" in observation:
        arm = ArmState(Pose.from_matrix(observation["T_map_tool"]), float(observation["gripper_opening"]))
    goal, T_map_base = observation.get("goal_image"), Pose.from_matrix(observation["T_map_base"])
    return Observation(
        stamp_s,
        frames,
        T_map_base,
        arm,
        skills=_skills(observation) if "skills" in observation else None,
        goal_image=None if goal is None else np.asarray(goal),
        goal_point_m=_goal_point(observation["pointgoal"], T_map_base) if "pointgoal" in observation else None,
    )


def _goal_point(pointgoal: ArrayLike, T_map_base: Pose) -> NDArray[np.float64]:
    """The map point (3,) of habitat-lab's PointGoal sensor with GPS and compass."""
    distance, angle = (float(value) for value in np.asarray(pointgoal))
    return T_map_base.apply([distance * math.cos(angle), distance * math.sin(angle), 0.0])


def _skills(observation: Mapping[str, Any]) -> SkillState:
    """The skills of a robot of skills. An area without extent means that the target has no fixed place."""
    lines, areas = str(observation["skills"]).splitlines(), np.asarray(observation["skill_areas"], dtype=np.float64)
    if areas.ndim != 3 or areas.shape[1:] != (2, 2) or len(areas) < len(lines):
        raise ObservationError(f"expected skill_areas (M, 2, 2) for at least {len(lines)} skills, got: {areas.shape}")
    options = []
    for line, area in zip(lines, areas, strict=False):
        verb, target = _verb_and_target(line)
        options.append(SkillOption(verb, target, area if (area[1] > area[0]).all() else None))
    return SkillState(
        tuple(options), str(observation["feedback"]), bool(observation["skill_done"]), str(observation["holding"])
    )


def _verb_and_target(line: str) -> tuple[SkillVerb, str]:
    for verb, words in SKILL_WORDS.items():
        start, end = words.split("{}")
        if line.startswith(start) and line.endswith(end):
            return verb, line[len(start) : len(line) - len(end)]
    forms = ", ".join(repr(words.format("…")) for words in SKILL_WORDS.values())
    raise ObservationError(f"expected a skill of the form {forms}, got: {line!r}")
