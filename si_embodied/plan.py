"""The closed plan schema, and the parser that rejects every other answer."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, create_model

from si_embodied.embodiment import TaskKind
from si_embodied.errors import PlanParseError
from si_embodied.skills import Shown, Subgoal, skills_of, skills_offered

MAX_SUBGOALS = 3
MAX_ANSWER_CHARACTERS = 4000
"""Generous: three subgoals with the longest names take under 500 characters, and reasoning at most 400 more."""


class Plan(BaseModel):
    """A model's complete answer. `done` without subgoals means the task is finished."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reasoning: Annotated[str, Field(max_length=400)] | None = None
    subgoals: Annotated[tuple[SerializeAsAny[Subgoal], ...], Field(max_length=MAX_SUBGOALS)]
    done: bool

    @property
    def ends(self) -> bool:
        """Whether it ends the task, with nothing to do before."""
        return self.subgoals[0].skill == "stop" if self.subgoals else self.done


def plan_model(kind: TaskKind | None) -> type[Plan]:
    """The pydantic model that validates plans with the skills of one kind of task, or of all (None)."""
    return _plan_model(skills_of(kind))


@functools.cache
def _plan_model(skills: tuple[type[Subgoal], ...]) -> type[Plan]:
    choice = Annotated[Union[skills], Field(discriminator="skill")]  # type: ignore[valid-type]  # noqa: UP007 - a tuple
    subgoals = Annotated[tuple[choice, ...], Field(max_length=MAX_SUBGOALS)]
    return create_model("Plan", __base__=Plan, subgoals=(subgoals, ...))


def plan_from_json(text: str | bytes, kind: TaskKind | None = None) -> Plan:
    """Parse a plan from JSON, allowing the skills of one kind of task, or all of them (None).

    Raises:
        ValidationError: pydantic's; it names the offence.
    """
    read = plan_model(kind).model_validate_json(text)
    return Plan.model_construct(reasoning=read.reasoning, subgoals=read.subgoals, done=read.done)  # validated already


def plan_schema(
    kind: TaskKind,
    views: int,
    *,
    first_view: int = 0,
    shown: Collection[Shown] = (),
    without: Collection[str] = (),
    reasoning: bool = False,
) -> dict[str, Any]:
    """The JSON schema of a plan, in the form a grammar compiler needs: closed, and with every key required.

    Args:
        kind: selects the set of skills.
        views: number of views a subgoal may point at, at least 1.
        first_view: number of the first view in the answer; 1 for prompts that count `Image-1`, `Image-2`, ….
        shown: what the prompt shows of the planner's memory, which offers more skills.
        without: names of skills that are not offered.
        reasoning: whether the answer starts with a short free text.
    """
    schema: dict[str, Any] = json.loads(
        _plan_schema(skills_offered(kind, shown, without), views, first_view, reasoning)
    )
    return schema


@functools.cache
def _plan_schema(skills: tuple[type[Subgoal], ...], views: int, first_view: int, reasoning: bool) -> str:
    """The schema as JSON text. Cached, because building it takes longer than any other step outside the model."""
    schema = _plan_model(skills).model_json_schema()
    if not reasoning:
        del schema["properties"]["reasoning"]
    else:
        schema["properties"]["reasoning"] = {"type": "string", "maxLength": 400}
    definitions = schema.pop("$defs")
    for definition in definitions.values():
        if "view" in definition["properties"]:
            definition["properties"]["view"] |= {"minimum": first_view, "maximum": first_view + views - 1}
    return json.dumps(_closed(schema, definitions))


def _closed(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Inline the definitions, require every key, and drop titles, descriptions and defaults."""
    if isinstance(node, list):
        return [_closed(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _closed(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    kept: dict[str, Any] = {}
    for key, child in node.items():
        if key == "properties":  # its keys are names of properties, not schema keywords
            kept[key] = {name: _closed(value, definitions) for name, value in child.items()}
        elif key not in ("title", "description", "default", "discriminator"):
            kept["anyOf" if key == "oneOf" else key] = _closed(child, definitions)
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
    return kept


def with_names(schema: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Restrict the objects in a plan schema to known names.

    Args:
        schema: from `plan_schema`.
        names: allowed objects by skill. A skill with an empty list is removed; a skill that is not listed keeps its
            free object name.
    """

    def named(choice: dict[str, Any]) -> dict[str, Any]:
        known = names.get(choice["properties"]["skill"]["const"])
        if known is None:
            return choice
        return {**choice, "properties": {**choice["properties"], "object": {"enum": list(dict.fromkeys(known))}}}

    properties = schema["properties"]
    choices = properties["subgoals"]["items"]["anyOf"]
    kept = [named(choice) for choice in choices if names.get(choice["properties"]["skill"]["const"], "any")]
    subgoals = {**properties["subgoals"], "items": {"anyOf": kept}}
    return {**schema, "properties": {**properties, "subgoals": subgoals}}


def going_on(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A plan schema (from `plan_schema`) without the plans that end the task."""
    properties = schema["properties"]
    choices = properties["subgoals"]["items"]["anyOf"]
    kept = [choice for choice in choices if choice["properties"]["skill"]["const"] != "stop"]
    subgoals = {**properties["subgoals"], "items": {"anyOf": kept}, "minItems": 1}
    return {**schema, "properties": {**properties, "subgoals": subgoals, "done": {"const": False}}}


def view_numbers(schema: Any) -> range:
    """The numbers of the views that a plan of this JSON schema may point at; empty if it cannot point at any."""
    found = range(0)
    children: list[Any] = list(schema) if isinstance(schema, list) else []
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and isinstance(properties.get("view"), Mapping):
            view = properties["view"]
            found = range(int(view.get("minimum", 0)), int(view.get("maximum", -1)) + 1)
        children = list(schema.values())
    return max([found, *map(view_numbers, children)], key=len)


def parse_plan(text: str, kind: TaskKind | None, views: int | Mapping[int, int]) -> Plan:
    """Parse a model's answer: one JSON object of the plan schema, optionally in a code fence.

    Args:
        text: the answer.
        kind: selects the set of skills; None for those of all kinds of task.
        views: number of views the model saw, counted from 0, or the index of each view by its number in the answer.
            The plan has the indices.

    Raises:
        PlanParseError: the answer is anything else; names the offence. No other exception is raised for any text.
    """
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise PlanParseError(f"longer than {MAX_ANSWER_CHARACTERS} characters", text)
    body = without_fence(text)
    if not body.startswith("{"):
        raise PlanParseError("expected one JSON object that starts with '{'", text)
    try:
        plan = plan_from_json(body.encode("utf-8"), kind)
    except UnicodeEncodeError:
        raise PlanParseError("the text is not valid unicode", text) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "answer"
        raise PlanParseError(f"{where}: {first['msg']}", text) from None
    try:
        json.loads(body, object_pairs_hook=_without_duplicates)  # pydantic keeps the last of two equal keys
    except ValueError as error:
        raise PlanParseError(str(error), text) from None
    known = {view: view for view in range(views)} if isinstance(views, int) else views
    for index, subgoal in enumerate(plan.subgoals):
        if getattr(subgoal, "view", None) not in (None, *known):
            words = f"there are {len(known)} views ({min(known)}..{max(known)})" if known else "there is no view"
            raise PlanParseError(f"subgoals.{index}.view: {words}", text)
    return plan if all(number == index for number, index in known.items()) else _with_indices(plan, known)


def _with_indices(plan: Plan, views: Mapping[int, int]) -> Plan:
    """The plan with the indices of its views instead of their numbers."""
    subgoals = tuple(
        each.model_copy(update={"view": views[each.view]}) if hasattr(each, "view") else each for each in plan.subgoals
    )
    return plan.model_copy(update={"subgoals": subgoals})


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """One JSON object; raises `ValueError` if a key appears twice, which leaves open what the model meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key appears twice in {{{', '.join(key for key, _ in pairs)}}}")
    return found


def without_fence(text: str) -> str:
    """Strip the white space and the code fence that models often put around JSON."""
    body = text.strip()
    return body[3:-3].removeprefix("json").strip() if body.startswith("```") and body.endswith("```") else body


def plan_text(plan: Plan) -> str:
    """Write the plan as compact JSON, in the form expected of a model."""
    return plan.model_dump_json(exclude_none=True)
