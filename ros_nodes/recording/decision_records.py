"""A decision with everything that it rests on, as a line of JSON: what `replay` decides again. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.config import from_mapping
from si_embodied.errors import ConfigError, DataError, MessageError
from si_embodied.memory import Memory
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.serving.values import ARM, DECISION, MEMORY, TASK

if TYPE_CHECKING:
    from si_embodied.types import ArmState, Decision, Observation, Task

Views: TypeAlias = "Mapping[str, float]"
"""An observation by its images: the stamp of each camera's, seconds."""

FORMAT = 3
_FLOATS = "float64"
"""The key under which an array of the codecs is a list of numbers, that people can read it too."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CameraTopics:
    """Where a camera's images come from, with namespaces and remappings resolved."""

    image: str
    depth: str
    info: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DecisionRecord:
    """One decision of a planner node. Its images are named by their stamps, and are elsewhere in the recording."""

    task: Task
    decision: Decision
    decided_s: float  # when it was taken, by the node's clock
    settings: NodeSettings
    topics: Mapping[str, CameraTopics]  # by camera
    views: Views | None  # planned on; None where the robot could not see, and then nothing below counts
    asked_s: float = 0.0  # when planning began
    memory: Memory = Memory()
    arm: ArmState | None = None
    keyframes: tuple[Views, ...] = ()  # mapped since the last plan, before the plan's own images
    fresh: bool = False  # whether the map was new before them

    def to_json(self) -> str:
        """One line."""
        plain = {
            "format": FORMAT,
            "task": TASK.encode(self.task),
            "decision": DECISION.encode(self.decision),
            "decided_s": self.decided_s,
            "settings": dataclasses.asdict(self.settings),
            "topics": {name: dataclasses.asdict(topics) for name, topics in self.topics.items()},
            "views": self.views,
            "asked_s": self.asked_s,
            "memory": MEMORY.encode(self.memory),
            "arm": None if self.arm is None else ARM.encode(self.arm),
            "keyframes": self.keyframes,
            "fresh": self.fresh,
        }
        return json.dumps(plain, default=_listed, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> DecisionRecord:
        """The record of a line.

        Raises:
            DataError: it is none, or another version's.
        """
        try:
            plain: dict[str, Any] = json.loads(text, object_hook=_packed)
            if plain["format"] not in (2, FORMAT):
                raise DataError(f"decision record of format {plain['format']!r}; this version reads 2 and {FORMAT}")
            if plain["format"] == 2:
                _upgrade(plain)
            return cls(
                task=TASK.decode(plain["task"], "task"),
                decision=DECISION.decode(plain["decision"], "decision"),
                decided_s=float(plain["decided_s"]),
                settings=from_mapping(NodeSettings, plain["settings"]),
                topics={name: CameraTopics(**topics) for name, topics in plain["topics"].items()},
                views=plain["views"],
                asked_s=float(plain["asked_s"]),
                memory=MEMORY.decode(plain["memory"], "memory"),
                arm=None if plain["arm"] is None else ARM.decode(plain["arm"], "arm"),
                keyframes=tuple(plain["keyframes"]),
                fresh=bool(plain["fresh"]),
            )
        except (ValueError, TypeError, LookupError, AttributeError, ConfigError, MessageError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"not a decision's record ({error}): {text[:120]!r}") from error


def _upgrade(plain: dict[str, Any]) -> None:
    """Rewrite a record of format 2 (0.1.0), in which a hold repeated its record's verdict and a plan named its task."""
    plain["settings"].pop("trained_prompts", None)
    name, decision = plain["decision"]
    if decision["plan"] is not None:
        decision["plan"] = decision["plan"][1]
    if name == "Hold":
        del decision["code"], decision["message"]
    else:
        decision["subgoals"] = f'{{"subgoals": [{", ".join(decision["subgoals"])}], "done": false}}'


def views_of(observation: Observation) -> dict[str, float]:
    """An observation by its images."""
    return {frame.name: frame.stamp_s for frame in observation.frames}


def _listed(data: object) -> object:
    """The bytes of an array as numbers: what json cannot write, and all arrays here are of floats."""
    if not isinstance(data, bytes):
        raise TypeError(f"{type(data).__name__} cannot be recorded")
    return {_FLOATS: np.frombuffer(data, dtype="<f8").tolist()}


def _packed(plain: dict[str, Any]) -> object:
    return np.asarray(plain[_FLOATS], dtype="<f8").tobytes() if plain.keys() == {_FLOATS} else plain
