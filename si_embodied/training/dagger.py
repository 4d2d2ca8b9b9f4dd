"""The backend that collects decisions (DAgger): the student acts, and the teacher says what would have been right.

Ross et al., arXiv 1011.0686: so the student learns in the states that its own mistakes lead to. Without a student the
teacher acts itself, and a wrong plan now and then leads off its path.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.backends.conventions import numbered_images
from si_embodied.errors import ConfigError
from si_embodied.training.decisions import Taught
from si_embodied.training.pictures import Picture, fitted
from si_embodied.types import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.backends.base import Backend, BackendInfo
    from si_embodied.types import Prompt

_SHIFT = 120.0
"""Standard deviation of a shifted point, of 1000: beside the object, or on another one."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Who acts."""

    teacher: float = 0.0  # share of the decisions in which the teacher acts in the student's place
    disturbed: float = 0.2  # without a student, share of the teacher's answers that are replaced by a wrong one

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("teacher", "disturbed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected the share {name} from 0 to 1, got: {getattr(self, name)}")


class DaggerBackend:
    """Asks the teacher at every prompt, records its answer, and lets the student act."""

    def __init__(
        self, teacher: Backend, student: Backend | None, rng: np.random.Generator, shares: Shares = Shares()
    ) -> None:
        """Record decisions for one episode; without a student, the teacher acts."""
        self._teacher, self._student, self._rng, self._shares = teacher, student, rng, shares
        self._pictures: dict[bytes, Picture] = {}  # an earlier view occurs in many prompts
        self.decisions: list[Taught] = []

    @property
    def info(self) -> BackendInfo:
        """The student's info, whose prompts are used; the teacher's if there is no student."""
        return (self._student or self._teacher).info

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The student's answer, or a teacher's that may be disturbed; raises what they raise."""
        told = self._teacher.generate(prompt, deadline_s=deadline_s)
        content = numbered_images(prompt.content) if prompt.numbered else prompt.content
        self.decisions.append(Taught(prompt.system, tuple(map(self._part, content)), told.text))
        if self._student is None:
            disturb = self._rng.random() < self._shares.disturbed
            return Completion(disturbed(told.text, prompt.schema, self._rng)) if disturb else told
        if self._rng.random() < self._shares.teacher:
            return told
        return self._student.generate(prompt, deadline_s=deadline_s)

    def cancel(self) -> None:
        """Abort the student's answer in progress."""
        if self._student is not None:
            self._student.cancel()

    def close(self) -> None:
        """Does nothing: the student serves many episodes."""

    def _part(self, part: str | NDArray[np.uint8]) -> str | Picture:
        if isinstance(part, str):
            return part
        digest = hashlib.sha256(part.tobytes()).digest()
        if digest not in self._pictures:
            self._pictures[digest] = Picture.of(fitted(part))
        return self._pictures[digest]


def disturbed(answer: str, schema: Mapping[str, Any], rng: np.random.Generator) -> str:
    """A wrong but well-formed plan of one subgoal: the answer's with its point shifted, or a random one."""
    plan = json.loads(answer)
    told = plan["subgoals"][0] if plan["subgoals"] else {}
    if "point" in told and rng.random() < 0.5:
        point = [min(max(round(value + rng.normal(0.0, _SHIFT)), 0), 1000) for value in told["point"]]
        subgoal = {**told, "point": point}
    else:
        choices = schema["properties"]["subgoals"]["items"]["anyOf"]
        choices = [one["properties"] for one in choices if one["properties"]["skill"]["const"] != "stop"]
        fields = choices[int(rng.integers(len(choices)))]
        subgoal = {name: _drawn(field, rng, told.get("object", "table")) for name, field in fields.items()}
    return json.dumps({"subgoals": [subgoal], "done": False}, separators=(",", ":"))


def _drawn(field: Mapping[str, Any], rng: np.random.Generator, name: str) -> Any:
    """A random value of a field of a subgoal's JSON schema; `name` for a free text."""
    if "const" in field:
        return field["const"]
    if "enum" in field:
        return field["enum"][int(rng.integers(len(field["enum"])))]
    if field["type"] == "integer":
        return int(rng.integers(field["minimum"], field["maximum"] + 1))
    if field["type"] == "array":
        return [_drawn(item, rng, name) for item in field["prefixItems"]]
    return name
