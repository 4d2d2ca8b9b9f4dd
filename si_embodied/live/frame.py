"""What a page shows of one moment, as values that become JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["execute", "hold"]
Xy: TypeAlias = tuple[float, float]
"""Map x and y in metres."""
XyYaw: TypeAlias = tuple[float, float, float]
"""Map x and y in metres and the heading in radians."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place of the plan in an image, as shares of its width and height from the top left."""

    label: str
    x: float
    y: float
    executed: bool = True  # False if the robot held
    to: Xy | None = None  # where a push ends, as shares too


@dataclass(frozen=True, slots=True)
class Picture:
    """An image for a browser."""

    caption: str
    width: int  # pixels
    height: int
    data: str  # data URL
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanView:
    """One decision."""

    number: int  # 1 for the episode's first
    verdict: Verdict
    code: int
    code_name: str
    message: str
    steps: tuple[str, ...]  # the plan's subgoals in words
    goals: tuple[str, ...]  # what became of them, in metres; none for a hold
    answers: tuple[str, ...]  # the model's, as it wrote them
    thoughts: tuple[str, ...]
    latency_s: Mapping[str, float]  # by part, with the total
    tokens: tuple[int, int]  # of the prompt, of the answer
    probability: float | None
    model: str  # with kernel and dtype
    prompt_version: str
    pictures: tuple[Picture, ...]  # what it was made from, with its points drawn in


@dataclass(frozen=True, slots=True)
class PromptView:
    """A prompt as the model was given it: texts, and numbers of images."""

    version: str
    system: str
    parts: tuple[str | int, ...]
    images: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The floor that the planner knows, as an image whose rows go up along y and columns along x."""

    data: str  # data URL
    x: float  # map, metres: lower left corner
    y: float
    width: float  # metres
    height: float


@dataclass(frozen=True, slots=True)
class Place:
    """Something on the map."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Outline:
    """A rectangle on the map, or a circle inside it."""

    label: str
    x: float  # centre, map, metres
    y: float
    width: float
    height: float
    colour: str = ""  # CSS; empty for the page's own
    round: bool = False
    movable: bool = False


@dataclass(frozen=True, slots=True)
class MapView:
    """The robot's surroundings from above."""

    robot: XyYaw | None
    radius_m: float
    robot_name: str = "robot"  # of what the dot is: an arm's is its gripper
    trail: tuple[Xy, ...] = ()
    grid: Grid | None = None
    keyframes: tuple[XyYaw, ...] = ()  # where the remembered views were taken
    objects: tuple[Place, ...] = ()  # that the planner knows
    goals: tuple[Place, ...] = ()  # of the latest plan
    outlines: tuple[Outline, ...] = ()  # of what stands there, where the world tells it


@dataclass(frozen=True, slots=True)
class PastPlan:
    """A decision in the list of decisions."""

    number: int
    verdict: Verdict
    code_name: str
    words: str  # of the plan, or the reason for a hold
    total_s: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that a page shows of one moment of an episode."""

    title: str  # policy, world and task
    seed: int | None
    instruction: str
    step: int
    stamp_s: float
    status: str  # what goes on: "acting", "succeeded", …
    doing: str = ""  # the subgoal under way
    pictures: tuple[Picture, ...] = ()  # the cameras now, with the plan's goals drawn in
    plan: PlanView | None = None
    prompt: PromptView | None = None
    map: MapView | None = None
    attempts: str = ""  # the memory's attempts, as prompts show them
    plans: tuple[PastPlan, ...] = field(default_factory=tuple)  # the latest last

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False, separators=(",", ":"))
