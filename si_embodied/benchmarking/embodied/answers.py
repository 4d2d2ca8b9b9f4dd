"""Answers in EmbodiedBench's format: their schema, and a parser of all spellings that EmbodiedBench accepts."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from si_embodied.arm_actions import DISCRETE_LEVELS
from si_embodied.backends.chat import only_json_object
from si_embodied.backends.reasoning import split_reasoning
from si_embodied.benchmarking.embodied.situation import INVALID, QUIT
from si_embodied.errors import PlanParseError, shown

Numbers: TypeAlias = tuple[float, ...]

TEXTS = ("visual_state_description", "reasoning_and_reflection", "language_plan")
PLAN = "executable_plan"
MAX_ACTIONS = 20
"""EB-Habitat's prompt asks for at most this many actions a plan; EB-Manipulation ends an episode after 15."""

_UNREADABLE = (ValueError, SyntaxError, TypeError, KeyError, IndexError, RecursionError, MemoryError)


def answer_schema(skills: Sequence[str], text_limit: int) -> dict[str, Any]:
    """The JSON schema of an answer: three texts, and a plan of at least one action.

    Args:
        skills: by action id; empty where an action is seven integers.
        text_limit: characters of each text.
    """
    texts: dict[str, Any] = {name: {"type": "string", "maxLength": text_limit} for name in TEXTS}
    plan = {"type": "array", "minItems": 1, "maxItems": MAX_ACTIONS, "items": _skill(skills) if skills else _SEVEN}
    return _object({**texts, PLAN: plan})


def text_schema(text_limit: int) -> dict[str, Any]:
    """Free text, cut off where an answer of `answer_schema` would be longest."""
    characters = len(TEXTS) * text_limit + MAX_ACTIONS * 100
    return {"type": "text", "pattern": rf"(?s:.{{0,{characters}}})", "maxLength": characters}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


_SEVEN = {
    "type": "array",
    "prefixItems": [{"type": "integer", "minimum": 0, "maximum": levels - 1} for levels in DISCRETE_LEVELS],
    "minItems": len(DISCRETE_LEVELS),
    "maxItems": len(DISCRETE_LEVELS),
}


def _skill(skills: Sequence[str]) -> dict[str, Any]:
    """An action id with its own name."""
    pairs = enumerate(skills)
    return {"anyOf": [_object({"action_id": {"const": k}, "action_name": {"const": name}}) for k, name in pairs]}


def parse_seven(text: str) -> tuple[Numbers, ...] | tuple[int]:
    """The actions of a plan of numbers, as they were answered; only `QUIT` if the plan is empty.

    Whether an action is seven whole numbers in range is for the world to judge, as in EmbodiedBench.

    Raises:
        PlanParseError: not an answer in the format.
    """
    try:
        actions = tuple(_numbers(item) for item in _plan(text))
    except _UNREADABLE as error:
        raise PlanParseError(f"not an answer in the format: {shown(str(error))}", text) from error
    return actions or (QUIT,)


def parse_skills(text: str, count: int) -> tuple[int, ...]:
    """The action ids of a plan up to the first one beyond `count`; `INVALID` if that is the first, `QUIT` if none.

    Raises:
        PlanParseError: not an answer in the format.
    """
    try:
        numbers = [_whole(item["action_id"]) for item in _plan(text)]
    except _UNREADABLE as error:
        raise PlanParseError(f"not an answer in the format: {shown(str(error))}", text) from error
    if not numbers:
        return (QUIT,)
    wrong = next((k for k, number in enumerate(numbers) if not 0 <= number < count), len(numbers))
    return tuple(numbers[:wrong]) or (INVALID,)


def _plan(text: str) -> list[Any]:
    """The executable plan of an answer; it may be a list in a string, and inside `properties`."""
    answer = json.loads(only_json_object(split_reasoning(text)[1]), strict=False)
    plan = _read(answer[PLAN] if PLAN in answer else answer["properties"][PLAN])
    if not isinstance(plan, list | tuple):
        raise TypeError(f"{PLAN} is not a list: {shown(plan)}")
    return list(plan)


def _read(value: Any) -> Any:
    """A value, or the value that a string spells."""
    return ast.literal_eval(value) if isinstance(value, str) else value


def _numbers(item: Any) -> Numbers:
    """One action: a list, a list in a string, or either under `action`."""
    values = _read(item["action"] if isinstance(item, dict) else item)
    if not isinstance(values, list | tuple) or not all(_is_number(value) for value in values):
        raise TypeError(f"an action is a list of numbers, got: {shown(values)}")
    return tuple(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"an action_id is a whole number, got: {shown(value)}")
    return value
