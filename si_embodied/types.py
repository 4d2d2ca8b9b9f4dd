"""The values that cross every boundary: what a robot saw, what it was asked, what it decided, how it went."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from si_embodied.embodiment import SKILL_WORDS, TaskKind
from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics, Pose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from si_embodied.backends.base import BackendInfo
    from si_embodied.embodiment import SkillVerb
    from si_embodied.plan import Plan
    from si_embodied.skills import Goal, Subgoal


Latency: TypeAlias = float | Literal["measured"]
"""Seconds of the observations' clock that a plan takes in simulation, or what it took on this machine."""


class Code(enum.IntEnum):
    """Why a decision or an outcome is what it is. Stable: numbers are never reused; ROS messages carry them.

    1xx the observation, 2xx the model, 3xx grounding, 4xx the guard, 5xx execution.
    """

    OK = 0
    NO_IMAGE = 101
    STALE_OBSERVATION = 102
    NO_DEPTH = 103
    NO_TRANSFORM = 104
    BACKEND_FAILED = 201
    DEADLINE_EXCEEDED = 202
    PLAN_INVALID = 203
    EMPTY_PLAN = 204
    DEPTH_INVALID = 301
    DEPTH_AMBIGUOUS = 302
    NO_STANDOFF = 303
    NO_GRASP = 304
    OUT_OF_WORKSPACE = 401
    OUT_OF_REACH = 402
    TOO_FAR = 403
    REPETITION = 404
    NO_PROGRESS = 405
    STALE_PLAN = 406
    SKILL_FAILED = 501
    BLOCKED = 502
    UNREACHABLE = 503
    GRASP_MISSED = 504
    TIMED_OUT = 505
    CANCELED = 506
    EMERGENCY_STOP = 507


@dataclass(frozen=True, slots=True, eq=False)
class CameraFrame:
    """One posed RGB-D image, everything taken at the same instant."""

    name: str  # "head", "wrist", …
    stamp_s: float  # ROS or simulation time of the exposure
    rgb: NDArray[np.uint8]  # (H, W, 3)
    depth_m: NDArray[np.float32] | None  # (H, W), metres along the optical axis, 0 = no return
    intrinsics: Intrinsics  # pixels, at this resolution
    T_map_camera: Pose  # optical frame (x right, y down, z forward) in the map

    def __post_init__(self) -> None:
        """Refuse shapes, dtypes and sizes that do not belong together."""
        shape, where = np.shape(self.rgb), f"camera {self.name!r}"
        if len(shape) != 3 or shape[2] != 3:
            raise ObservationError(f"{where}: expected an rgb image (H, W, 3), got shape {shape}; drop alpha")
        if self.rgb.dtype != np.uint8:
            raise ObservationError(f"{where}: expected rgb as uint8 in 0..255, got {self.rgb.dtype}; convert it")
        size = (self.intrinsics.height, self.intrinsics.width)
        if shape[:2] != size:
            raise ObservationError(f"{where}: image is {shape[:2]} but intrinsics are for {size}; scale the intrinsics")
        if self.depth_m is not None:
            if self.depth_m.shape != size:
                raise ObservationError(f"{where}: depth is {self.depth_m.shape}, rgb is {size}; register depth to rgb")
            if not np.issubdtype(self.depth_m.dtype, np.floating):
                raise ObservationError(
                    f"{where}: expected depth in metres as float32, got {self.depth_m.dtype}; "
                    "16-bit millimetres are divided by 1000"
                )
        if not math.isfinite(self.stamp_s):
            raise ObservationError(f"{where}: expected a finite stamp in seconds, got {self.stamp_s}")


@dataclass(frozen=True, slots=True, eq=False)
class ArmState:
    """Where the tool is. The tool's z axis points out of the gripper, its y axis is the closing direction."""

    T_map_tool: Pose  # tool centre point (between the fingertips) in the map
    gripper_opening_m: float  # distance between the finger pads


@dataclass(frozen=True, slots=True, eq=False)
class NavigationMap:
    """Where the base can go from where it is, as a grid over the map's xy plane.

    Made by whoever owns the map (the policy's own mapper, or a costmap on a robot); obstacles are already inflated.
    """

    resolution_m: float  # side of a cell
    origin_m: tuple[float, float]  # map xy of the outer corner of cell [0, 0]
    path_length_m: NDArray[np.float32]  # (rows along y, columns along x), from the robot; inf = cannot or unknown

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """The (row, column) that holds map point (x, y), or None outside the grid."""
        column = math.floor((x - self.origin_m[0]) / self.resolution_m)
        row = math.floor((y - self.origin_m[1]) / self.resolution_m)
        rows, columns = self.path_length_m.shape
        return (row, column) if 0 <= row < rows and 0 <= column < columns else None

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map x of every column (columns,) and y of every row (rows,), at the cells' centres."""
        rows, columns = self.path_length_m.shape
        x = self.origin_m[0] + (np.arange(columns) + 0.5) * self.resolution_m
        y = self.origin_m[1] + (np.arange(rows) + 0.5) * self.resolution_m
        return x, y


@dataclass(frozen=True, slots=True, eq=False)
class SkillOption:
    """One line of what a robot of skills can do; its place in the list is its number."""

    verb: SkillVerb
    target: str  # in words: "red mug"
    area_m: NDArray[np.float64] | None  # (2, 2), lowest and highest map xy of a piece of furniture; None of a thing

    @property
    def text(self) -> str:
        """The line: "pick up the red mug"."""
        return SKILL_WORDS[self.verb].format(self.target)


@dataclass(frozen=True, slots=True, eq=False)
class SkillState:
    """What a robot of skills can do, and how its last skill went."""

    options: tuple[SkillOption, ...]
    feedback: str  # of the last skill, in words
    succeeded: bool  # whether the last skill was done
    holding: str  # what is in the gripper, "nothing" where nothing is

    def describe(self) -> str:
        """One line a skill, for the prompt."""
        return "\n".join(option.text for option in self.options)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """Everything a planner may look at. The views a plan names are indices into `frames`."""

    stamp_s: float  # of the newest frame
    frames: tuple[CameraFrame, ...]
    T_map_base: Pose  # base_link in the map
    arm: ArmState | None = None
    navigation_map: NavigationMap | None = None
    skills: SkillState | None = None  # of a robot of skills
    goal_image: NDArray[np.uint8] | None = None  # (H, W, 3), where the goal is told by a picture; no view of a plan


@dataclass(frozen=True, slots=True)
class Task:
    """What the robot was asked to do; `kind` chooses the prompt and the closed set of skills."""

    instruction: str
    kind: TaskKind

    def __post_init__(self) -> None:
        """Refuse an empty instruction and a kind that has no skills."""
        if not self.instruction.strip():
            raise ObservationError("expected an instruction, got an empty one")
        if self.kind not in get_args(TaskKind):
            raise ObservationError(f"expected a task of one of the kinds {get_args(TaskKind)}, got: {self.kind!r}")


# --- decisions and outcomes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The structured line that every plan leaves, the same in simulation, on the robot and in the server."""

    observation_stamp_s: float
    prompt_version: str
    model: str
    kernel: str
    dtype: str
    raw_text: tuple[str, ...]  # the answer, and the repaired answer where one was asked for
    prompt_tokens: int
    completion_tokens: int
    latency_s: Mapping[str, float]  # by part: render, queue, vision, prefill, decode, parse, ground, guard, total
    code: Code
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Execute:
    """Carry the goals out in order; each was grounded in the images of this plan's own observation."""

    goals: tuple[Goal, ...]
    subgoals: tuple[Subgoal, ...]  # what each goal was grounded from
    plan: Plan
    record: PlanRecord


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Do not move; the record says why."""

    record: PlanRecord
    plan: Plan | None = None

    @property
    def code(self) -> Code:
        """Why, as a stable number."""
        return self.record.code

    @property
    def message(self) -> str:
        """Why, in words."""
        return self.record.message


Decision: TypeAlias = Execute | Hold


def refused(decision: Decision, refusal: Refusal) -> Hold:
    """The decision as a refusal: its record, with the reason in place of the old verdict."""
    return Hold(replace(decision.record, code=refusal.code, message=refusal.message), decision.plan)


def never_asked(
    refusal: Refusal, info: BackendInfo, prompt_version: str, stamp_s: float, elapsed_s: float = 0.0
) -> Hold:
    """The refusal of a plan for which the model was not asked, or did not answer.

    Args:
        refusal: why.
        info: of the model that would have been asked.
        prompt_version: that it would have been asked with.
        stamp_s: of the observation, or of now where there is none.
        elapsed_s: spent until then.
    """
    latency_s = {"total": elapsed_s} if elapsed_s else {}
    return Hold(PlanRecord(
        stamp_s, prompt_version, info.model, info.kernel, info.dtype, (), 0, 0, latency_s, refusal.code, refusal.message
    ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a subgoal was not grounded, or a goal not let through."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a skill ended."""

    code: Code
    message: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the skill reached its goal."""
        return self.code is Code.OK


# --- the model's side ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What a backend is asked: text and images in order, and the closed schema of the answer."""

    version: str  # "nav/v1"
    system: str
    content: tuple[str | NDArray[np.uint8], ...]  # in reading order; images are (H, W, 3)
    schema: Mapping[str, object]  # JSON schema that the answer must fit; points are 0..1000 relative to their view

    @property
    def images(self) -> tuple[NDArray[np.uint8], ...]:
        """The images alone, in order."""
        return tuple(part for part in self.content if not isinstance(part, str))

    @property
    def text(self) -> str:
        """The text alone, each image shown as `<image>`."""
        return "".join(part if isinstance(part, str) else "<image>" for part in self.content)


@dataclass(frozen=True, slots=True)
class Completion:
    """A backend's whole answer."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: Mapping[str, float] = field(default_factory=dict)  # by part: queue, vision, prefill, decode
    counts: Mapping[str, int] = field(default_factory=dict)  # local: steps, reused, drafted and accepted tokens
