"""How sure a model is of an answer: the probability of its decision and of its point, from the answer's tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from si_embodied.errors import BackendError
from si_embodied.types import Code, Refusal

Span: TypeAlias = tuple[int, int]
"""First character and the one after the last."""

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,:]*")
_WHERE = ("view", "point")
_NOT_THE_DECISION = (*_WHERE, "to")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer."""

    data: bytes  # UTF-8; a token may end within a character
    probability: float  # with which the model chose it, given everything before it


@dataclass(frozen=True, slots=True)
class Certainty:
    """The probability of a plan's first subgoal, given all that the answer says before it (such as reasoning).

    Both are products over tokens. A token that spells several values counts once, and for the decision if it spells a
    part of it. So they are the probabilities of these very tokens: another spelling of the same plan, or the pixel next
    to the point, has a share of its own.

    `decision` is about what the robot does: that there is a subgoal, its skill, and its arguments except where it
    points (object, degrees, …). For a plan without subgoals: its empty list, and the value of `done`.

    `point` is about where it points: the view and the first point. None if the first subgoal has no point.

    From `LocalBackend` these are probabilities among the tokens that the grammar allows, at temperature 1, and a token
    that the grammar forces has probability 1. Model servers usually report probabilities among all tokens, which are
    at most as high.
    """

    decision: float
    point: float | None = None

    def __post_init__(self) -> None:
        """Raise `BackendError` if a probability is not in 0..1."""
        for name, value in (("decision", self.decision), ("point", self.point)):
            if value is not None and not 0 <= value <= 1:
                raise BackendError(f"expected the probability of the {name} to be from 0 to 1, got: {value}")

    def refusal(self, least: float) -> Refusal | None:
        """Why this decision is too uncertain to carry out; None if its probability is at least `least`.

        The point's probability is not compared: it is spread over the neighbouring pixels, so that a point right on a
        large target may have a small one.
        """
        if self.decision >= least:
            return None
        words = f"the model is unsure: its decision has a probability of {self.decision:.2f}, less than {least:.2f}"
        return Refusal(Code.UNSURE, words)


def certainty_of(tokens: Sequence[Token], text: str) -> Certainty | None:
    """How sure a model is of a plan.

    Args:
        tokens: the answer's tokens, with reasoning and special tokens if there are any.
        text: the plan's JSON as the model wrote it, before any conversion of points.

    Returns:
        None if the text is not a plan, or if the tokens do not spell it.
    """
    spans = _spans(text)
    start = b"".join(token.data for token in tokens).rfind(_utf8(text))
    if spans is None or start < 0:
        return None
    decision_bytes, point_bytes = (_in_bytes(part, text, start) for part in spans)
    decision = point = 1.0
    end = 0
    for token in tokens:
        begin, end = end, end + len(token.data)
        if _overlaps(begin, end, decision_bytes):
            decision *= token.probability
        elif _overlaps(begin, end, point_bytes):
            point *= token.probability
    return Certainty(decision, point if point_bytes else None)


def _spans(text: str) -> tuple[list[Span], list[Span]] | None:
    """The characters that spell a plan's decision, and those that spell its point; None if the text is not a plan."""
    try:
        plan = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(plan, dict) or not isinstance(plan.get("subgoals"), list):
        return None
    values = _values(text, text.index("{"))
    opening = _next(text, values["subgoals"][0] + 1)  # of the first subgoal, or the end of an empty list
    if not plan["subgoals"]:
        # From its opening bracket: a token that ends there says that no subgoal follows, if another begins one with it.
        empty = values["subgoals"][0], opening + 1
        return ([empty, values["done"]], []) if "done" in values else None
    first: Any = plan["subgoals"][0]
    if not isinstance(first, dict) or "skill" not in first:
        return None
    values = _values(text, opening)
    decision = [span for name, span in values.items() if name not in _NOT_THE_DECISION]
    return [(opening, opening + 1), *decision], [values[name] for name in _WHERE if {name, "point"} <= values.keys()]


def _values(text: str, opening: int) -> dict[str, Span]:
    """The spans of a JSON object's values, by key.

    The character after a number belongs to it, since it says that no further digit follows.
    """
    spans: dict[str, Span] = {}
    position = _next(text, opening + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        begin = _next(text, position)
        value, end = _DECODER.raw_decode(text, begin)
        spans[key] = begin, end + (type(value) in (int, float))
        position = _next(text, end)
    return spans


def _next(text: str, position: int) -> int:
    """The position of the next key, value or bracket."""
    found = _BETWEEN.match(text, position)
    return position if found is None else found.end()


def _in_bytes(spans: Sequence[Span], text: str, start: int) -> list[Span]:
    """Spans of characters as spans of bytes, in an answer in which the text begins at byte `start`."""
    return [(start + len(_utf8(text[:begin])), start + len(_utf8(text[:end]))) for begin, end in spans]


def _overlaps(begin: int, end: int, spans: Sequence[Span]) -> bool:
    return any(max(begin, first) < min(end, last) for first, last in spans)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
