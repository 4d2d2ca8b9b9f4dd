"""The values passed between modules: observations, tasks, decisions, outcomes, prompts and completions."""

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
    from typing_extensions import Self

    from si_embodied.backends.base import BackendInfo
    from si_embodied.certainty import Certainty
    from si_embodied.embodiment import SkillVerb
    from si_embodied.plan import Plan
    from si_embodied.skills import Goal, Subgoal


LEAST_IMAGE_SIZE = 16
"""Pixels along a side of a world's image: nothing is recognised in a smaller one."""
Latency: TypeAlias = float | Literal["measured"]
"""Planning time in simulation: a number of seconds on the observations' clock, or the time measured on this machine."""


class Code(enum.IntEnum):
    """Reason for a decision or an outcome. ROS messages carry these numbers, so they are stable and never reused.

    1xx observation, 2xx model, 3xx grounding, 4xx guard, 5xx execution.
    """

    meaning: str

    def __new__(cls, number: int, meaning: str = "") -> Self:
        """A member: its number, and what it means in a few words."""
        code = int.__new__(cls, number)
        code._value_ = number
        code.meaning = meaning
        return code

    OK = 0, "it worked"
    NO_IMAGE = 101, "a camera has sent no image, or no calibration, yet"
    STALE_OBSERVATION = 102, "the images are too old, their stamps are ahead of the clock, or a camera is frozen"
    NO_DEPTH = 103, "an image has no depth from the same instant, or its depth has another size, frame or unit"
    NO_TRANSFORM = 104, "no pose of the robot or its camera is known for the time of the image"
    INSTRUCTION_TOO_LONG = 105, "the instruction or question is longer than the guard allows"
    BACKEND_FAILED = 201, "the model or its server failed; the planner asks again"
    DEADLINE_EXCEEDED = 202, "the model did not answer in time"
    PLAN_INVALID = 203, "two answers in a row do not fit the schema, or name what this robot cannot do"
    EMPTY_PLAN = 204, "the plan has no subgoals, and does not say that the task is done"
    INTERNAL_ERROR = 205, "a bug; the log has the traceback"
    UNSURE = 206, "the model gave its decision too low a probability, also after another look"
    PROMPT_TOO_LONG = 207, "the prompt exceeds the model's context, also without the memory"
    DEPTH_INVALID = 301, "the depth image has no return at the pixel"
    DEPTH_AMBIGUOUS = 302, "the pixel lies on an edge between a near and a far surface"
    NO_STANDOFF = 303, "the base cannot stand anywhere near the target"
    NO_GRASP = 304, "nothing at the point can be grasped"
    OUT_OF_WORKSPACE = 401, "the goal lies outside the arm's workspace"
    OUT_OF_REACH = 402, "the goal is farther than the arm, or the robot, reaches"
    TOO_FAR = 403, "the goal is farther away than the guard allows"
    REPETITION = 404, "the plan repeats the same few goals again and again"
    NO_PROGRESS = 405, "one goal after another fails, or the model insists on repeating itself"
    STALE_PLAN = 406, "the plan was made from an image that is too old by now"
    GOAL_INVALID = 407, "the goal is beyond what this robot can do, or not a number"
    OBSTRUCTED = 408, "the way straight ahead is not known to be free"
    OFF_MAP = 409, "no path on the map leads to the goal"
    SKILL_FAILED = 501, "the skill cannot do that, or has nothing left to do"
    BLOCKED = 502, "something kept the robot from getting there"
    UNREACHABLE = 503, "the controller found no way to the goal"
    GRASP_MISSED = 504, "the gripper closed on nothing"
    TIMED_OUT = 505, "the skill took too long"
    CANCELED = 506, "the goal was cancelled"
    EMERGENCY_STOP = 507, "the emergency stop is set"


@dataclass(frozen=True, slots=True, eq=False)
class CameraFrame:
    """One posed RGB-D image: colour, depth and pose from the same instant."""

    name: str  # "head", "wrist", …
    stamp_s: float  # ROS or simulation time of the exposure
    rgb: NDArray[np.uint8]  # (H, W, 3)
    depth_m: NDArray[np.float32] | None  # (H, W), metres along the optical axis, 0 = no return
    intrinsics: Intrinsics  # pixels, at this resolution
    T_map_camera: Pose  # optical frame (x right, y down, z forward) in the map

    def __post_init__(self) -> None:
        """Raise `ObservationError` if shapes, dtypes or the stamp are wrong."""
        shape, where = np.shape(self.rgb), f"camera {self.name!r}"
        if len(shape) != 3 or shape[2] != 3:
            raise ObservationError(f"{where}: expected an rgb image (H, W, 3), got shape {shape}; drop alpha")
        if self.rgb.dtype != np.uint8:
            raise ObservationError(f"{where}: expected rgb as uint8 in 0..255, got {self.rgb.dtype}; convert it")
        size = (self.intrinsics.height, self.intrinsics.width)
        if shape[:2] != size:
            raise ObservationError(f"{where}: image is {shape[:2]}, intrinsics are for {size}; see Intrinsics.scaled")
        if self.depth_m is not None:
            if self.depth_m.shape != size:
                raise ObservationError(f"{where}: depth is {self.depth_m.shape}, rgb is {size}; register depth to rgb")
            if not np.issubdtype(self.depth_m.dtype, np.floating):
                raise ObservationError(
                    f"{where}: expected depth in metres as float32, got {self.depth_m.dtype}; "
                    "divide 16-bit millimetres by 1000"
                )
        if not math.isfinite(self.stamp_s):
            raise ObservationError(f"{where}: expected a finite stamp in seconds, got {self.stamp_s}")

    @property
    def tilt_rad(self) -> float:
        """Elevation of the optical axis above the horizon, radians."""
        return math.asin(float(np.clip(self.T_map_camera.rotation[2, 2], -1.0, 1.0)))


@dataclass(frozen=True, slots=True, eq=False)
class ArmState:
    """Tool pose and gripper opening. The tool's z axis points out of the gripper; y is the closing direction."""

    T_map_tool: Pose  # tool centre point (between the fingertips) in the map
    gripper_opening_m: float  # distance between the finger pads


@dataclass(frozen=True, slots=True, eq=False)
class NavigationMap:
    """Path length from the base to every cell of a grid over the map's xy plane.

    The owner of the map builds it (the policy's own mapper, or a costmap on a robot). Obstacles are already inflated.
    """

    resolution_m: float  # cell size
    origin_m: tuple[float, float]  # map xy of the outer corner of cell [0, 0]
    path_length_m: NDArray[np.float32]  # (rows along y, columns along x), from the robot; inf = unreachable or unknown

    def __post_init__(self) -> None:
        """Raise `ObservationError` if the grid is not 2D, or its resolution or origin is invalid."""
        if np.ndim(self.path_length_m) != 2:
            raise ObservationError(f"expected path lengths (rows, columns), got shape {np.shape(self.path_length_m)}")
        if not (self.resolution_m > 0 and all(map(math.isfinite, (self.resolution_m, *self.origin_m)))):
            raise ObservationError(
                f"expected a positive resolution and a finite origin, got: {self.resolution_m} m, {self.origin_m}"
            )

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """The (row, column) of the cell containing map point (x, y) in metres; None outside the grid."""
        column = (x - self.origin_m[0]) / self.resolution_m
        row = (y - self.origin_m[1]) / self.resolution_m
        rows, columns = self.path_length_m.shape
        inside = 0 <= row < rows and 0 <= column < columns  # False for NaN
        return (math.floor(row), math.floor(column)) if inside else None

    def reachable(self, x: float, y: float, *, slack_cells: int = 0) -> bool:
        """Whether the base can reach map point (x, y), or a cell within `slack_cells` of it, through free space."""
        cell = self.cell(x, y)
        if cell is None:
            return False
        around = tuple(slice(max(0, index - slack_cells), index + slack_cells + 1) for index in cell)
        return bool(np.isfinite(self.path_length_m[around]).any())

    @property
    def floor_m2(self) -> float:
        """Area of the floor that the base is known to reach, square metres."""
        return float(np.isfinite(self.path_length_m).sum()) * self.resolution_m**2

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map x of the column centres (columns,) and map y of the row centres (rows,), in metres."""
        rows, columns = self.path_length_m.shape
        x = self.origin_m[0] + (np.arange(columns) + 0.5) * self.resolution_m
        y = self.origin_m[1] + (np.arange(rows) + 0.5) * self.resolution_m
        return x, y


@dataclass(frozen=True, slots=True, eq=False)
class SkillOption:
    """One entry in a skill robot's list of skills. Its index in the list is the skill's number."""

    verb: SkillVerb
    target: str  # in words: "red mug"
    area_m: NDArray[np.float64] | None  # (2, 2), lowest and highest map xy of a piece of furniture; None for an object

    @property
    def text(self) -> str:
        """The entry in words: "pick up the red mug"."""
        return SKILL_WORDS[self.verb].format(self.target)


@dataclass(frozen=True, slots=True, eq=False)
class SkillState:
    """The skills available to a skill robot, and the result of its last one."""

    options: tuple[SkillOption, ...]
    feedback: str  # on the last skill, in words
    succeeded: bool  # whether the last skill succeeded
    holding: str  # the object in the gripper, or "nothing"

    def describe(self) -> str:
        """The skills for the prompt, one per line."""
        return "\n".join(option.text for option in self.options)


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject:
    """An object that the model pointed at, and where it was."""

    name: str  # in the model's words: "red mug"
    position_m: NDArray[np.float64]  # (3,), map
    stamp_s: float  # of the latest image in which it was pointed at
    probability: float | None = None  # of the latest point, if the backend reports it
    sightings: int = 1  # number of plans that pointed at it

    @property
    def confirmed(self) -> bool:
        """Whether two plans, each from images of its own, found it at the same place."""
        return self.sightings > 1


POINT_GOAL = "goal"
"""The name by which a plan drives to the point goal."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """Everything a planner may use. A plan names its views by index into `views`."""

    stamp_s: float  # stamp of the newest frame
    frames: tuple[CameraFrame, ...]
    T_map_base: Pose  # base_link in the map
    arm: ArmState | None = None
    navigation_map: NavigationMap | None = None
    skills: SkillState | None = None  # skill robots only
    goal_image: NDArray[np.uint8] | None = None  # (H, W, 3), for image-goal tasks; a plan cannot point at it
    goal_point_m: NDArray[np.float64] | None = None  # (3,), map, for point-goal tasks
    goal_seen_s: float | None = None  # when a goal picture's place was last seen; None if the point goal was given
    keyframes: tuple[CameraFrame, ...] = ()  # earlier views, oldest first; the planner adds them from its memory
    objects: tuple[SeenObject, ...] = ()  # known objects, newest last; the planner adds them from its memory

    @property
    def views(self) -> tuple[CameraFrame, ...]:
        """Every image that a plan may point at: the present views, then the remembered ones."""
        return (*self.frames, *self.keyframes)

    @property
    def places(self) -> dict[str, SeenObject]:
        """What a plan may drive to by name: known objects, of several with a name the newest, and the point goal."""
        places = {seen.name: seen for seen in self.objects}
        if self.goal_point_m is not None:
            seen_s = self.stamp_s if self.goal_seen_s is None else self.goal_seen_s
            places[POINT_GOAL] = SeenObject(POINT_GOAL, self.goal_point_m, seen_s)
        return places


@dataclass(frozen=True, slots=True)
class Task:
    """What the robot was asked to do. `kind` selects the prompt and the closed set of skills."""

    instruction: str
    kind: TaskKind

    def __post_init__(self) -> None:
        """Raise `ObservationError` if the instruction is empty or `kind` is not a `TaskKind`."""
        if not self.instruction.strip():
            raise ObservationError(f"expected a non-empty instruction, got: {self.instruction!r}")
        if self.kind not in get_args(TaskKind):
            raise ObservationError(f"expected a task kind from {get_args(TaskKind)}, got: {self.kind!r}")


# --- decisions and outcomes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The log record of one plan, identical in simulation, on the robot and in the server."""

    observation_stamp_s: float
    prompt_version: str
    model: str
    kernel: str
    dtype: str
    raw_text: tuple[str, ...]  # the model's answer, then the repaired answer if one was requested
    prompt_tokens: int
    completion_tokens: int
    latency_s: Mapping[
        str, float
    ]  # by stage: render, queue, vision, prefill, think, decode, parse, ground, guard, total
    code: Code
    message: str
    floor_m2: float = 0.0  # `NavigationMap.floor_m2` of the observation; 0 without a map
    decision_probability: float | None = None  # `Certainty.decision` of the last answer; None if it is not known
    point_probability: float | None = None  # `Certainty.point`
    thoughts: tuple[str, ...] = ()  # what the model thought before each answer of `raw_text`; empty if it did not
    shortened: int = (
        0  # how often the memory was halved (`Memory.shortened`) until the prompt fitted the model's context
    )


@dataclass(frozen=True, slots=True, eq=False)
class Execute:
    """Execute these goals in order. Each was grounded in the images of the plan's own observation."""

    goals: tuple[Goal, ...]
    subgoals: tuple[Subgoal, ...]  # the subgoal behind each goal; one shorter if a final `Finish` came from `done`
    plan: Plan
    record: PlanRecord


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Do not move. The record says why."""

    record: PlanRecord
    plan: Plan | None = None

    @property
    def code(self) -> Code:
        """The reason, as a stable number."""
        return self.record.code

    @property
    def message(self) -> str:
        """The reason, in words."""
        return self.record.message


Decision: TypeAlias = Execute | Hold


def refused(decision: Decision, refusal: Refusal) -> Hold:
    """Turn a decision into a `Hold`: the same record and plan, with the refusal as the verdict."""
    return Hold(replace(decision.record, code=refusal.code, message=refusal.message), decision.plan)


def never_asked(
    refusal: Refusal, info: BackendInfo, prompt_version: str, stamp_s: float, elapsed_s: float = 0.0
) -> Hold:
    """A `Hold` for a plan that never got an answer from the model.

    Args:
        refusal: the reason.
        info: the model that would have answered.
        prompt_version: the prompt it would have been given.
        stamp_s: the observation's stamp, or the current time if there is no observation.
        elapsed_s: time already spent.
    """
    latency_s = {"total": elapsed_s} if elapsed_s else {}
    return Hold(PlanRecord(
        stamp_s, prompt_version, info.model, info.kernel, info.dtype, (), 0, 0, latency_s, refusal.code, refusal.message
    ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a subgoal could not be grounded, or a goal was rejected."""

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
    """Input to a backend: text and images in order, and the closed schema of the answer."""

    version: str  # "nav/v1"
    system: str
    content: tuple[str | NDArray[np.uint8], ...]  # in reading order; images are (H, W, 3)
    schema: Mapping[str, object]  # JSON schema of the answer; points are 0..1000 relative to their view
    numbered: bool = False  # whether the texts refer to the images as `Image-1`, `Image-2`, …
    views: Mapping[int, int] = field(default_factory=dict)  # by number in the answer: index into `Observation.views`
    frames: tuple[CameraFrame, ...] = ()  # the views as they were taken, in the order of their numbers

    @property
    def images(self) -> tuple[NDArray[np.uint8], ...]:
        """Only the images, in order."""
        return tuple(part for part in self.content if not isinstance(part, str))

    @property
    def text(self) -> str:
        """The text, with `<image>` in place of each image."""
        return "".join(part if isinstance(part, str) else "<image>" for part in self.content)


@dataclass(frozen=True, slots=True)
class Completion:
    """A backend's complete answer."""

    text: str  # without what was thought
    prompt_tokens: int = 0
    completion_tokens: int = 0  # with those of what was thought
    latency_s: Mapping[str, float] = field(default_factory=dict)  # per stage: queue, vision, prefill, decode
    counts: Mapping[str, int] = field(default_factory=dict)  # local backend: steps; reused, drafted, accepted tokens
    thought: str = ""  # what the model thought before the answer
    certainty: Certainty | None = None  # of a plan, if the probabilities of its tokens are known
