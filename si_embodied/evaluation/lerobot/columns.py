"""Which columns a data set has, and their values in an episode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.evaluation.steps import EpisodeSteps, RecordedStep

Dtype: TypeAlias = Literal["float32", "float64", "int64", "bool"]

IMAGE = "observation.images.{}"
STATE, ACTION = "observation.state", "action"
DISCRETE_ACTION = "discrete_action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
SUBTASK, PLAN = "subtask_index", "plan_index"
_TOOL = ("tool_x_m", "tool_y_m", "tool_z_m", "tool_roll_rad", "tool_pitch_rad", "tool_yaw_rad")
_POSE = ("x_m", "y_m", "z_m", "qx", "qy", "qz", "qw")
_ACTIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("navigation", "discrete"): tuple(action.name.lower() for action in BaseAction),
    ("navigation", "continuous"): ("forward_speed_m_s", "turn_rate_rad_s", "stop"),
    ("manipulation", "pose"): (*_TOOL, "gripper_opening"),
    ("manipulation", "discrete"): (*(f"{name.rpartition('_')[0]}_level" for name in _TOOL), "gripper_open"),
    ("rearrangement", "skill"): ("skill",),
}
"""The numbers of an action by the robot's kind and action mode; a base's discrete ones have one number each."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers: some for each step."""

    name: str
    dtype: Dtype
    names: tuple[str, ...]  # of the numbers

    @property
    def scalar(self) -> bool:
        """Whether it has a single number, which LeRobot stores without a list around it."""
        return len(self.names) == 1


@dataclass(frozen=True, slots=True)
class Layout:
    """What all episodes of a data set have in common."""

    cameras: tuple[tuple[str, int, int], ...]  # name, height and width in pixels
    columns: tuple[Column, ...]  # without those that only the whole data set knows


def layout_of(episode: EpisodeSteps) -> Layout:
    """The columns of an episode."""
    first = episode.steps[0]
    cameras = tuple((name, each.height, each.width) for name, each in episode.cameras.items())
    discrete = [Column(DISCRETE_ACTION, "int64", (DISCRETE_ACTION,))] if _one_of_several(episode) else []
    columns = (
        Column(STATE, "float32", tuple(_state(episode, first))),
        Column(ACTION, "float32", _action_names(episode)),
        *discrete,
        Column(REWARD, "float32", (REWARD,)),
        Column(DONE, "bool", (DONE,)),
        Column(SUCCESS, "bool", (SUCCESS,)),
        Column("stamp_s", "float64", ("stamp_s",)),
        *(Column(f"camera_pose.{name}", "float64", _POSE) for name in episode.cameras),
        Column(PLAN, "int64", (PLAN,)),
    )
    return Layout(cameras, columns)


def values_of(episode: EpisodeSteps, *, success: bool) -> dict[str, NDArray[np.generic]]:
    """The values (T, n) of the columns.

    Args:
        episode: the steps.
        success: of the episode. A person may have said so, and may have ended it: the last step is done either way.
    """
    steps = episode.steps
    actions = np.stack([step.action for step in steps])
    values: dict[str, NDArray[np.generic]] = {
        STATE: np.array([list(_state(episode, step).values()) for step in steps], np.float32),
        ACTION: _flat(actions).astype(np.float32),
        "stamp_s": np.array([[step.stamp_s] for step in steps]),
        PLAN: np.array([[step.plan] for step in steps], np.int64),
        REWARD: np.array([[step.reward] for step in steps], np.float32),
        DONE: np.array([[step.terminated or step.truncated] for step in steps[:-1]] + [[True]]),
        SUCCESS: np.array([[step.success] for step in steps[:-1]] + [[success]]),
    }
    if _one_of_several(episode):
        chosen = actions.astype(np.int64)
        values |= {DISCRETE_ACTION: chosen[:, None], ACTION: np.eye(len(BaseAction), dtype=np.float32)[chosen]}
    for index, name in enumerate(episode.cameras):
        poses = [Pose.from_matrix(step.T_map_camera[index]) for step in steps]
        values[f"camera_pose.{name}"] = np.stack([np.r_[pose.translation, pose.quaternion()] for pose in poses])
    return values


def frames_per_second(stamps_s: Sequence[NDArray[np.float64]], period_s: float) -> tuple[float, bool]:
    """The rate of steps, and whether it is the true one.

    LeRobot has one rate for a whole data set. Where steps do not all take equally long, such as those of an
    arm, a frame is counted as a second.

    Args:
        stamps_s: of each episode, seconds.
        period_s: of an action, for episodes of a single step.
    """
    gaps = np.concatenate([np.diff(each) for each in stamps_s])
    gaps = gaps if gaps.size else np.array([period_s])
    if np.ptp(gaps) > 1e-3 * gaps.mean() or gaps.mean() <= 0:
        return 1, False
    rate = round(1 / float(np.median(gaps)), 6)
    return int(rate) if rate.is_integer() else rate, True


def _state(episode: EpisodeSteps, step: RecordedStep) -> dict[str, float]:
    """Where the robot is: the base with its cameras' tilt, unless it is an arm at a table, and the tool."""
    state: dict[str, float] = {}
    if episode.body.kind != "manipulation":
        base = Pose.from_matrix(step.T_map_base)
        x, y, _ = base.translation
        state |= {"base_x_m": float(x), "base_y_m": float(y), "base_yaw_rad": base.yaw}
        for name, T_map_camera in zip(episode.cameras, step.T_map_camera, strict=True):
            state[f"{name}_tilt_rad"] = math.asin(float(np.clip(T_map_camera[2, 2], -1.0, 1.0)))
    if step.T_map_tool is not None:
        tool = Pose.from_matrix(step.T_map_tool)
        state |= dict(zip(_TOOL, (*map(float, tool.translation), *tool.roll_pitch_yaw()), strict=True))
        state["gripper_opening_m"] = float(step.gripper_opening_m or 0.0)
    return state


def _one_of_several(episode: EpisodeSteps) -> bool:
    """Whether the action is one of a base's discrete ones."""
    return (episode.body.kind, episode.body.action_mode) == ("navigation", "discrete")


def _action_names(episode: EpisodeSteps) -> tuple[str, ...]:
    size = len(BaseAction) if _one_of_several(episode) else max(1, episode.steps[0].action.size)
    names = _ACTIONS.get((episode.body.kind, episode.body.action_mode), ())
    return names if len(names) == size else tuple(f"action_{number}" for number in range(size))


def _flat(actions: NDArray[np.float64]) -> NDArray[np.float64]:
    return actions.reshape(len(actions), -1)
