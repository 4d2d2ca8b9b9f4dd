"""The codec of every value that crosses the network, field by field, with its bounds."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

from pydantic import ValidationError

from si_embodied import types
from si_embodied.config import MOST_KEYFRAMES, MOST_OBJECTS, PlannerConfig, from_mapping
from si_embodied.embodiment import SKILL_WORDS, Embodiment, MobileBase, SkillRobot, TableArm, TaskKind
from si_embodied.errors import ConfigError, MessageError, shown
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import MAX_SUBGOALS, Plan, plan_from_json, plan_text
from si_embodied.serving.codec import (
    Array,
    Codec,
    Many,
    Maybe,
    Named,
    Number,
    OneOf,
    Record,
    Text,
    Union,
    Whole,
)
from si_embodied.serving.pictures import Picture
from si_embodied.skills import Goal, Subgoal, goal_types
from si_embodied.skills.base import MapArea, MapPoint

LONGEST_INSTRUCTION = 20_000
"""In characters, on the network; the guard's own limit is a tenth of it."""
LONGEST_RECORDED_INSTRUCTION = 1 << 20
"""Recordings of 0.1.0, which had no limit, and of refused instructions stay readable."""
MOST_FRAMES = 8
MOST_SKILLS = 1000

_NAME, _SENTENCE, _ANSWER = Text(200), Text(20_000), Text(1 << 20)
_BIGGEST = 1e12  # stamps are below 1e10 s; products of four such numbers do not overflow
_ANY, _LENGTH, _POSITIVE = Number(-_BIGGEST, _BIGGEST), Number(0.0, _BIGGEST), Number(1e-9, _BIGGEST)
_PAIR, _TRIPLE = Many(_ANY, 2, 2), Many(_ANY, 3, 3)
_POINT = Array("<f8", (3,))
_COUNT = Whole(0, 1 << 31)
_PROBABILITY = Maybe(Number(0.0, 1.0))


class _Code:
    """A `Code`, sent as its number."""

    def encode(self, value: types.Code) -> int:
        return int(value)

    def decode(self, plain: Any, where: str) -> types.Code:
        return types.Code(OneOf(tuple(int(code) for code in types.Code)).decode(plain, where))


class _Plan:
    """A plan as its JSON, with the skills that are registered on this side."""

    def encode(self, value: Plan) -> str:
        return plan_text(value)

    def decode(self, plain: Any, where: str) -> Plan:
        try:
            return plan_from_json(_SENTENCE.decode(plain, where).encode())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise MessageError(f"{where}: {place}: {first['msg']}") from None
        except UnicodeEncodeError:
            raise MessageError(f"{where}: not valid Unicode") from None


class _Subgoals:
    """The subgoals of a plan as a plan of their own."""

    def encode(self, value: tuple[Subgoal, ...]) -> str:
        return _PLAN.encode(Plan(subgoals=value, done=False))

    def decode(self, plain: Any, where: str) -> tuple[Subgoal, ...]:
        return _PLAN.decode(plain, where).subgoals


_PLAN = _Plan()


class _Config:
    """Planner settings, sent as the map that a YAML file would hold."""

    def encode(self, value: PlannerConfig) -> dict[str, Any]:
        return dataclasses.asdict(value)

    def decode(self, plain: Any, where: str) -> PlannerConfig:
        if not isinstance(plain, dict):
            raise MessageError(f"{where}: expected a map of settings, got: {shown(plain)}")
        try:
            return from_mapping(PlannerConfig, plain)
        except ConfigError as error:
            raise MessageError(f"{where}: {error}") from error


# --- requests -------------------------------------------------------------------------------------------------------

POSE = Record(Pose, rotation=Array("<f8", (3, 3)), translation=_POINT)
_INTRINSICS = Record(
    Intrinsics, width=Whole(1, 4096), height=Whole(1, 4096), fx=_POSITIVE, fy=_POSITIVE, cx=_ANY, cy=_ANY
)  # fmt: skip
_MAP = Record(
    types.NavigationMap, resolution_m=_POSITIVE, origin_m=_PAIR, path_length_m=Picture("<f4", None)
)  # fmt: skip
_AREA = Array("<f8", (2, 2))
_OPTION = Record(types.SkillOption, verb=OneOf(tuple(SKILL_WORDS)), target=_NAME, area_m=Maybe(_AREA))
_SKILLS = Record(
    types.SkillState,
    options=Many(_OPTION, MOST_SKILLS),
    feedback=_SENTENCE,
    succeeded=OneOf((False, True)),
    holding=_NAME,
)
ARM = Record(types.ArmState, T_map_tool=POSE, gripper_opening_m=_ANY)


def observation_codec(*, compressed: bool) -> Codec[types.Observation]:
    """The codec of observations. `compressed` makes images and depth lossy (see `Picture`); decoding accepts both."""
    return Record(
        types.Observation,
        stamp_s=_ANY,
        frames=Many(frame_codec(compressed=compressed), MOST_FRAMES),
        T_map_base=POSE,
        arm=Maybe(ARM),
        navigation_map=Maybe(_MAP),
        skills=Maybe(_SKILLS),
        goal_image=Maybe(Picture("|u1", 3, "jpeg" if compressed else "raw")),
        goal_point_m=Maybe(_POINT),
        left_out=("goal_seen_s", "keyframes", "objects"),  # the planner takes them from the memory
    )


def frame_codec(*, compressed: bool) -> Codec[types.CameraFrame]:
    """The codec of camera images; `compressed` as above."""
    return Record(
        types.CameraFrame,
        name=_NAME,
        stamp_s=_ANY,
        rgb=Picture("|u1", 3, "jpeg" if compressed else "raw"),
        depth_m=Maybe(Picture("<f4", None, "millimetres" if compressed else "raw")),
        intrinsics=_INTRINSICS,
        T_map_camera=POSE,
    )


_KIND = OneOf(typing.get_args(TaskKind))
TASK: Codec[types.Task] = Record(types.Task, instruction=Text(LONGEST_INSTRUCTION), kind=_KIND)
RECORDED_TASK: Codec[types.Task] = Record(types.Task, instruction=Text(LONGEST_RECORDED_INSTRUCTION), kind=_KIND)
CONFIG: Codec[PlannerConfig] = _Config()
EMBODIMENT: Codec[Embodiment] = Union(
    Record(
        MobileBase,
        cameras=Many(_NAME, MOST_FRAMES),
        action_mode=OneOf(("discrete", "continuous")),
        radius_m=_LENGTH,
        height_m=_LENGTH,
        forward_step_m=_LENGTH,
        turn_step_rad=_LENGTH,
        tilt_step_rad=_LENGTH,
        tilt_range_rad=_PAIR,
        max_speed_m_s=_LENGTH,
        max_turn_rate_rad_s=_LENGTH,
        control_period_s=_LENGTH,
        success_distance_m=_LENGTH,
    ),
    Record(
        TableArm,
        cameras=Many(_NAME, MOST_FRAMES),
        action_mode=OneOf(("pose", "discrete")),
        workspace_m=Many(_TRIPLE, 2, 2),
        shoulder_m=_TRIPLE,
        reach_m=_LENGTH,
        max_opening_m=_LENGTH,
        finger_depth_m=_LENGTH,
        home_m=_TRIPLE,
        control_period_s=_LENGTH,
    ),
    Record(
        SkillRobot,
        cameras=Many(_NAME, MOST_FRAMES),
        action_mode=OneOf(("skill",)),
        reach_m=_LENGTH,
        control_period_s=_LENGTH,
    ),
)

_BY_TYPE: dict[Any, Codec[Any]] = {
    float: _ANY, int: Whole(0, MOST_SKILLS), str: _SENTENCE, MapPoint: _POINT, MapArea: _AREA, Pose: POSE,
    types.Code: _Code(), types.SkillOption: _OPTION,
}  # fmt: skip
"""How the fields of goals are written, by their declared types."""


class _Goals:
    """Any registered goal, by its type's name and its fields."""

    def encode(self, value: Goal) -> list[Any]:
        return self._codec().encode(value)

    def decode(self, plain: Any, where: str) -> Goal:
        return self._codec().decode(plain, where)

    def _codec(self) -> Union[Goal]:
        return _goal_union(goal_types())


@functools.cache
def _goal_union(goals: tuple[type[Goal], ...]) -> Union[Goal]:
    def record(goal: Any) -> Record[Any]:
        hints = typing.get_type_hints(goal, include_extras=True)
        codecs: dict[str, Any] = {field.name: _BY_TYPE[hints[field.name]] for field in dataclasses.fields(goal)}
        return Record(goal, **codecs)

    return Union(*(record(goal) for goal in goals))


GOAL: Codec[Goal] = _Goals()
_OUTCOME = Record(types.Outcome, code=_Code(), message=_SENTENCE)
_ATTEMPT = Record(Attempt, description=_SENTENCE, goal=Maybe(GOAL), T_map_base=POSE, outcome=_OUTCOME, floor_m2=_ANY)
OBJECT = Record(
    types.SeenObject, name=_NAME, position_m=_POINT, stamp_s=_ANY, probability=Maybe(Number(0.0, 1.0)), sightings=_COUNT
)  # fmt: skip


_REMEMBERED: dict[str, Any] = {
    "limit": Whole(1, 1000), "attempts": Many(_ATTEMPT, 1000), "forgotten": _COUNT, "kept": Whole(1, 1000),
    "objects": Many(OBJECT, MOST_OBJECTS), "goal": Maybe(OBJECT),
}  # fmt: skip
RECORDED_MEMORY: Codec[Memory] = Record(Memory, left_out=("keyframes", "before", "config"), **_REMEMBERED)
"""Without the images, which a recording has already."""


def memory_codec(*, compressed: bool) -> Codec[Memory]:
    """The codec of memories; `compressed` as for observations. What is remembered on the other side is not kept."""
    view = frame_codec(compressed=compressed)
    return Record(Memory, keyframes=Many(view, MOST_KEYFRAMES), before=Maybe(view), left_out=("config",), **_REMEMBERED)


# --- replies --------------------------------------------------------------------------------------------------------

_RECORD = Record(
    types.PlanRecord,
    observation_stamp_s=_ANY,
    prompt_version=_NAME,
    model=_SENTENCE,
    kernel=_NAME,
    dtype=_NAME,
    raw_text=Many(_ANSWER, 2),
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    latency_s=Named(_LENGTH, 64),
    code=_Code(),
    message=_SENTENCE,
    floor_m2=_ANY,
    decision_probability=_PROBABILITY,
    point_probability=_PROBABILITY,
    thoughts=Many(_ANSWER, 2),
    shortened=_COUNT,
)
DECISION: Codec[types.Decision] = Union(
    Record(
        types.Execute,
        goals=Many(GOAL, MAX_SUBGOALS + 1),
        subgoals=_Subgoals(),
        plan=_PLAN,
        record=_RECORD,
    ),
    Record(types.Hold, record=_RECORD, plan=Maybe(_PLAN)),
)
