"""A decision with everything that it was made from, as one line of JSON for `replay`. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.config import MOST_KEYFRAMES, from_mapping
from si_embodied.errors import DataError, MessageError
from si_embodied.memory import Memory
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.serving.codec import Many, Maybe, Named, Number, Record, Text
from si_embodied.serving.values import ARM, DECISION, LONGEST_INSTRUCTION, RECORDED_MEMORY, RECORDED_TASK, TASK

if TYPE_CHECKING:
    from si_embodied.types import ArmState, Decision, Observation, Task

Views: TypeAlias = "Mapping[str, float]"
"""The images of an observation: camera name to stamp in seconds."""

FORMAT = 4
"""Version of the records that are written."""
_READABLE = (2, 3, FORMAT)
_TIME = Number(-1e12, 1e12)
_VIEWS = Named(_TIME, 100)
_UNMAPPED = Many(_VIEWS, 10_000)
_NEW: Mapping[str, Any] = {
    "decision_probability": None, "point_probability": None, "thoughts": [], "shortened": 0,
}  # fmt: skip
"""Fields of a plan's record that those of 0.1.0 do not have."""
_FLOATS = "float64"
"""JSON key that marks an array, written as a list of numbers to stay readable."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CameraTopics:
    """The topics of a camera, with namespaces and remappings resolved."""

    image: str
    depth: str
    info: str


@dataclasses.dataclass(frozen=True, slots=True)
class RememberedView:
    """An earlier image from the planner's memory; its depth and pose are those of the stamp."""

    camera: str
    stamp_s: float


_REMEMBERED = Many(Record(RememberedView, camera=Text(200), stamp_s=_TIME), MOST_KEYFRAMES + 1)  # and the latest plan's
_CAMERAS = Named(Record(CameraTopics, image=Text(500), depth=Text(500), info=Text(500)), 100)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DecisionRecord:
    """One decision of a planner node; its images are elsewhere in the recording and found by their stamps."""

    task: Task
    decision: Decision
    decided_s: float  # node's clock
    settings: NodeSettings
    topics: Mapping[str, CameraTopics]  # by camera
    views: Views | None  # planned on; None if the robot could not see, then the fields below mean nothing
    asked_s: float = 0.0  # when planning began
    memory: Memory = Memory()  # without its views
    remembered: tuple[RememberedView, ...] = ()  # of the memory's views, those that the plan could point at; in order
    arm: ArmState | None = None
    unmapped: tuple[Views, ...] = ()  # mapped since the last plan, before the plan's own images
    fresh: bool = False  # whether the map was empty before these

    def to_json(self) -> str:
        """The record as one line of JSON."""
        plain = {
            "format": FORMAT,
            "task": TASK.encode(self.task),
            "decision": DECISION.encode(self.decision),
            "decided_s": self.decided_s,
            "settings": dataclasses.asdict(self.settings),
            "topics": {name: dataclasses.asdict(topics) for name, topics in self.topics.items()},
            "views": self.views,
            "asked_s": self.asked_s,
            "memory": RECORDED_MEMORY.encode(self.memory),
            "remembered": _REMEMBERED.encode(self.remembered),
            "arm": None if self.arm is None else ARM.encode(self.arm),
            "unmapped": self.unmapped,
            "fresh": self.fresh,
        }
        return json.dumps(plain, default=_listed, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> DecisionRecord:
        """Parse a line.

        Raises:
            DataError: the line is not a record, or is of a version that cannot be read.
        """
        try:
            plain: dict[str, Any] = json.loads(text, object_hook=_packed)
            if plain["format"] not in _READABLE:
                formats = " and ".join(map(str, _READABLE))
                raise DataError(f"expected a decision record of format {formats}, got: {plain['format']!r}")
            if plain["format"] == 2:
                _upgrade(plain)
            if plain["format"] < FORMAT:
                plain["memory"]["objects"] = plain["remembered"] = []
                plain["unmapped"] = plain.pop("keyframes")
            plain["decision"][1]["record"] = {**_NEW, **plain["decision"][1]["record"]}
            plain["memory"].setdefault("goal", None)  # not in records of 0.1.0
            return cls(
                task=_task(plain["task"]),
                decision=DECISION.decode(plain["decision"], "decision"),
                decided_s=_TIME.decode(plain["decided_s"], "decided_s"),
                settings=from_mapping(NodeSettings, plain["settings"]),
                topics=_CAMERAS.decode(plain["topics"], "topics"),
                views=Maybe(_VIEWS).decode(plain["views"], "views"),
                asked_s=_TIME.decode(plain["asked_s"], "asked_s"),
                memory=RECORDED_MEMORY.decode(plain["memory"], "memory"),
                remembered=_REMEMBERED.decode(plain["remembered"], "remembered"),
                arm=None if plain["arm"] is None else ARM.decode(plain["arm"], "arm"),
                unmapped=_UNMAPPED.decode(plain["unmapped"], "unmapped"),
                fresh=bool(plain["fresh"]),
            )
        except DataError:
            raise
        except (
            ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError
        ) as error:  # fmt: skip
            raise DataError(f"not a decision record ({error}): {text[:120]!r}") from error


def _task(plain: Any) -> Task:
    """A recorded task; an instruction that is longer than a task may have now is cut."""
    try:
        return RECORDED_TASK.decode(plain, "task")
    except MessageError:
        if not (isinstance(plain, dict) and len(plain.get("instruction", "")) > LONGEST_INSTRUCTION):
            raise
        return TASK.decode({**plain, "instruction": plain["instruction"][:LONGEST_INSTRUCTION]}, "task")


def _upgrade(plain: dict[str, Any]) -> None:
    """Rewrite a record of format 2 (0.1.0), in which a hold repeated its record's verdict and a plan named its task.

    It did not say how much floor the map showed, and kept no more attempts than the prompt showed.
    """
    plain["settings"].pop("trained_prompts", None)
    plain["memory"]["kept"] = plain["memory"]["limit"]
    name, decision = plain["decision"]
    for measured in (decision["record"], *plain["memory"]["attempts"]):
        measured["floor_m2"] = 0.0
    if decision["plan"] is not None:
        decision["plan"] = decision["plan"][1]
    if name == "Hold":
        del decision["code"], decision["message"]
    else:
        decision["subgoals"] = f'{{"subgoals": [{", ".join(decision["subgoals"])}], "done": false}}'


def views_of(observation: Observation) -> dict[str, float]:
    """The stamp of each camera's image in an observation."""
    return {frame.name: frame.stamp_s for frame in observation.frames}


def _listed(data: object) -> object:
    """Encode the bytes of an array, always float64 here, as numbers that JSON can hold."""
    if not isinstance(data, bytes):
        raise TypeError(f"{type(data).__name__} cannot be recorded")
    return {_FLOATS: np.frombuffer(data, dtype="<f8").tolist()}


def _packed(plain: dict[str, Any]) -> object:
    return np.asarray(plain[_FLOATS], dtype="<f8").tobytes() if plain.keys() == {_FLOATS} else plain
