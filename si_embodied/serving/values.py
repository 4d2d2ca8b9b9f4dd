"""The codec of every value that crosses the network, field by field, with its bounds."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from si_embodied import types
from si_embodied.config import PlannerConfig, from_mapping
from si_embodied.embodiment import SKILL_WORDS, Embodiment, MobileBase, SkillRobot, TableArm
from si_embodied.errors import ConfigError, MessageError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import MAX_SUBGOALS, PLANS, Plan, Subgoal
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

LONGEST_INSTRUCTION = 4000
MOST_FRAMES = 8  # a plan refers to views 0..7
MOST_SKILLS = 1000

_NAME, _SENTENCE, _ANSWER = Text(200), Text(20_000), Text(1 << 20)
_ANY, _LENGTH, _POSITIVE = Number(), Number(0.0), Number(1e-9)
_PAIR, _TRIPLE = Many(_ANY, 2, 2), Many(_ANY, 3, 3)
_POINT = Array("<f8", (3,))
_COUNT = Whole(0, 1 << 31)


class _Code:
    """A `Code`, sent as its number."""

    def encode(self, value: types.Code) -> int:
        return int(value)

    def decode(self, plain: Any, where: str) -> types.Code:
        return types.Code(OneOf(tuple(int(code) for code in types.Code)).decode(plain, where))


class _Json:
    """A pydantic value, sent as JSON and validated by its own schema."""

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def encode(self, value: Any) -> str:
        return self._adapter.dump_json(value, exclude_none=True).decode()

    def decode(self, plain: Any, where: str) -> Any:
        try:
            return self._adapter.validate_json(_SENTENCE.decode(plain, where))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise MessageError(f"{where}: {place}: {first['msg']}") from None
        except UnicodeEncodeError:
            raise MessageError(f"{where}: not valid Unicode") from None


class _Plan:
    """A plan, sent as its kind of task and its JSON."""

    def __init__(self) -> None:
        self._kinds = {kind: _Json(plan) for kind, plan in PLANS.items()}

    def encode(self, value: Plan) -> list[str]:
        kind = next(kind for kind, plan in PLANS.items() if isinstance(value, plan))
        return [kind, self._kinds[kind].encode(value)]

    def decode(self, plain: Any, where: str) -> Plan:
        kind, text = Many(_SENTENCE, 2, 2).decode(plain, where)
        plan: Plan = self._kinds[OneOf(tuple(self._kinds)).decode(kind, where)].decode(text, where)
        return plan


class _Config:
    """Planner settings, sent as the map that a YAML file would hold."""

    def encode(self, value: PlannerConfig) -> dict[str, Any]:
        return dataclasses.asdict(value)

    def decode(self, plain: Any, where: str) -> PlannerConfig:
        if not isinstance(plain, dict):
            raise MessageError(f"{where}: expected a map of settings, got: {str(plain)[:80]}")
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
    frame = Record(
        types.CameraFrame,
        name=_NAME,
        stamp_s=_ANY,
        rgb=Picture("|u1", 3, "jpeg" if compressed else "raw"),
        depth_m=Maybe(Picture("<f4", None, "millimetres" if compressed else "raw")),
        intrinsics=_INTRINSICS,
        T_map_camera=POSE,
    )
    return Record(
        types.Observation,
        stamp_s=_ANY,
        frames=Many(frame, MOST_FRAMES),
        T_map_base=POSE,
        arm=Maybe(ARM),
        navigation_map=Maybe(_MAP),
        skills=Maybe(_SKILLS),
        goal_image=Maybe(Picture("|u1", 3, "jpeg" if compressed else "raw")),
    )


_KIND = OneOf(tuple(PLANS))
TASK: Codec[types.Task] = Record(types.Task, instruction=Text(LONGEST_INSTRUCTION), kind=_KIND)
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

GOAL: Codec[types.Goal] = Union(
    Record(types.NavigateTo, T_map_base=POSE, target_m=_POINT, on_arrival=_Code()),
    Record(types.Rotate, angle_rad=_ANY),
    Record(types.Drive, distance_m=_ANY),
    Record(types.TiltCamera, angle_rad=_ANY),
    Record(types.ExploreFrontier),
    Record(types.Finish),
    Record(types.Grasp, T_map_tool=POSE, width_m=_ANY, height_above_support_m=_ANY),
    Record(types.Release, surface_m=_POINT),
    Record(types.PushAlong, start_m=_POINT, end_m=_POINT),
    Record(types.GoHome),
    Record(types.CallSkill, number=Whole(0, MOST_SKILLS), option=_OPTION, area_m=_AREA),
)
_OUTCOME = Record(types.Outcome, code=_Code(), message=_SENTENCE)
_ATTEMPT = Record(Attempt, description=_SENTENCE, goal=Maybe(GOAL), T_map_base=POSE, outcome=_OUTCOME)
MEMORY: Codec[Memory] = Record(Memory, limit=Whole(1, 1000), attempts=Many(_ATTEMPT, 1000), forgotten=_COUNT)

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
)
DECISION: Codec[types.Decision] = Union(
    Record(
        types.Execute,
        goals=Many(GOAL, MAX_SUBGOALS + 1),
        subgoals=Many(_Json(Annotated[Subgoal, Field(discriminator="skill")]), MAX_SUBGOALS),
        plan=_Plan(),
        record=_RECORD,
    ),
    Record(types.Hold, code=_Code(), message=_SENTENCE, record=_RECORD, plan=Maybe(_Plan())),
)
