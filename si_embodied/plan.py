"""The closed plan schema: what a model may answer, and the parser that lets nothing else through."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from si_embodied.embodiment import TaskKind
from si_embodied.errors import PlanParseError

MAX_SUBGOALS = 3
MAX_ANSWER_CHARACTERS = 4000
"""A plan of three subgoals with the longest names is under 500 characters; reasoning adds at most 400."""

Coordinate = Annotated[int, Field(ge=0, le=1000)]
Point = Annotated[tuple[Coordinate, Coordinate], Field(description="x and y, 0..1000 relative to the view")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 -]{0,39}$", max_length=40)]
View = Annotated[int, Field(ge=0, le=7)]


class _Subgoal(BaseModel):
    """Frozen, and closed: a key that the schema does not name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Goto(_Subgoal):
    """Drive up to the object at the point and face it."""

    skill: Literal["goto"] = "goto"
    object: ObjectName
    view: View
    point: Point


class Turn(_Subgoal):
    """Turn on the spot; positive is left."""

    skill: Literal["turn"] = "turn"
    degrees: Annotated[int, Field(ge=-180, le=180)]


class Forward(_Subgoal):
    """Drive straight ahead."""

    skill: Literal["forward"] = "forward"
    centimetres: Annotated[int, Field(ge=5, le=300)]


class Look(_Subgoal):
    """Tilt the head camera one notch."""

    skill: Literal["look"] = "look"
    direction: Literal["up", "down"]


class Explore(_Subgoal):
    """Go where nothing has been seen yet."""

    skill: Literal["explore"] = "explore"


class Stop(_Subgoal):
    """The task is done."""

    skill: Literal["stop"] = "stop"


class Pick(_Subgoal):
    """Grasp the object at the point from above."""

    skill: Literal["pick"] = "pick"
    object: ObjectName
    view: View
    point: Point


class Place(_Subgoal):
    """Put the held object down on what is at the point."""

    skill: Literal["place"] = "place"
    object: ObjectName
    view: View
    point: Point


class Push(_Subgoal):
    """Push the object at the point to another point of the same view."""

    skill: Literal["push"] = "push"
    object: ObjectName
    view: View
    point: Point
    to: Point


class Home(_Subgoal):
    """Bring the arm out of the camera's way."""

    skill: Literal["home"] = "home"


class Navigate(_Subgoal):
    """Drive to a place that the robot knows by its words, seen or not."""

    skill: Literal["navigate"] = "navigate"
    object: ObjectName


class Open(_Subgoal):
    """Open the container at the point."""

    skill: Literal["open"] = "open"
    object: ObjectName
    view: View
    point: Point


class Close(_Subgoal):
    """Close the container at the point."""

    skill: Literal["close"] = "close"
    object: ObjectName
    view: View
    point: Point


NavigationSubgoal: TypeAlias = Goto | Turn | Forward | Look | Explore | Stop
ManipulationSubgoal: TypeAlias = Pick | Place | Push | Home | Stop
RearrangementSubgoal: TypeAlias = Navigate | Goto | Pick | Place | Open | Close | Explore | Stop
Subgoal: TypeAlias = (
    Goto | Turn | Forward | Look | Explore | Stop | Pick | Place | Push | Home | Navigate | Open | Close
)
PointedSubgoal: TypeAlias = Goto | Pick | Place | Push | Open | Close


class NavigationPlan(_Subgoal):
    """A whole answer to a navigation task; no subgoals and `done` means that the task is finished."""

    reasoning: Annotated[str, Field(max_length=400)] | None = None
    subgoals: Annotated[
        tuple[Annotated[NavigationSubgoal, Field(discriminator="skill")], ...], Field(max_length=MAX_SUBGOALS)
    ]
    done: bool


class ManipulationPlan(_Subgoal):
    """A whole answer to a manipulation task; no subgoals and `done` means that the task is finished."""

    reasoning: Annotated[str, Field(max_length=400)] | None = None
    subgoals: Annotated[
        tuple[Annotated[ManipulationSubgoal, Field(discriminator="skill")], ...], Field(max_length=MAX_SUBGOALS)
    ]
    done: bool


class RearrangementPlan(_Subgoal):
    """A whole answer for a robot of skills; no subgoals and `done` means that the task is finished."""

    reasoning: Annotated[str, Field(max_length=400)] | None = None
    subgoals: Annotated[
        tuple[Annotated[RearrangementSubgoal, Field(discriminator="skill")], ...], Field(max_length=MAX_SUBGOALS)
    ]
    done: bool


Plan: TypeAlias = NavigationPlan | ManipulationPlan | RearrangementPlan

PLANS: Mapping[TaskKind, type[Plan]] = {
    "navigation": NavigationPlan,
    "manipulation": ManipulationPlan,
    "rearrangement": RearrangementPlan,
}


def plan_schema(kind: TaskKind, views: int, *, reasoning: bool = False) -> dict[str, Any]:
    """The JSON schema of an answer about `views` images, as a grammar compiler wants it: closed, every key required.

    Args:
        kind: which set of skills.
        views: how many views a subgoal may name, at least 1.
        reasoning: whether the answer starts with a short free text.
    """
    schema: dict[str, Any] = json.loads(_plan_schema(kind, views, reasoning))
    return schema


@functools.cache
def _plan_schema(kind: TaskKind, views: int, reasoning: bool) -> str:
    """The schema as JSON: making it takes longer than all else around a plan."""
    schema = PLANS[kind].model_json_schema()
    if not reasoning:
        del schema["properties"]["reasoning"]
    else:
        schema["properties"]["reasoning"] = {"type": "string", "maxLength": 400}
    definitions = schema.pop("$defs")
    for definition in definitions.values():
        if "view" in definition["properties"]:
            definition["properties"]["view"]["maximum"] = views - 1

    def closed(node: Any) -> Any:
        """Inline the definitions, require every key, and drop what only documents."""
        if isinstance(node, list):
            return [closed(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return closed(definitions[node["$ref"].rsplit("/", 1)[1]])
        kept = {
            "anyOf" if key == "oneOf" else key: (
                {name: closed(value) for name, value in child.items()} if key == "properties" else closed(child)
            )
            for key, child in node.items()
            if key not in ("title", "description", "default", "discriminator")
        }
        if "properties" in kept:
            kept["required"] = list(kept["properties"])
        return kept

    return json.dumps(closed(schema))


def with_names(schema: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The schema of `plan_schema` where the object of a skill is one of its names; a skill without any is left out.

    Args:
        schema: of an answer.
        names: by skill; the object of a skill that is not among them stays free.
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


def view_count(schema: Any) -> int:
    """One more than the highest view that an answer of a JSON schema may name; 0 where nothing names a view."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        own = 0
        if isinstance(properties, Mapping) and isinstance(properties.get("view"), Mapping):
            own = int(properties["view"].get("maximum", -1)) + 1
        return max([own, *(view_count(child) for child in schema.values())])
    if isinstance(schema, list):
        return max((view_count(child) for child in schema), default=0)
    return 0


def parse_plan(text: str, kind: TaskKind, views: int) -> Plan:
    """The plan in a model's answer: one JSON object of the closed schema, alone or in one code fence.

    Raises:
        PlanParseError: anything else, naming the offence; no other exception, whatever the text.
    """
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise PlanParseError(f"longer than {MAX_ANSWER_CHARACTERS} characters", text)
    body = without_fence(text)
    if not body.startswith("{"):
        raise PlanParseError("expected one JSON object that starts with '{'", text)
    try:
        plan = PLANS[kind].model_validate_json(body.encode("utf-8"))
    except UnicodeEncodeError:
        raise PlanParseError("the text is not valid unicode", text) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "answer"
        raise PlanParseError(f"{where}: {first['msg']}", text) from None
    for index, subgoal in enumerate(plan.subgoals):
        if isinstance(subgoal, PointedSubgoal) and subgoal.view >= views:
            raise PlanParseError(f"subgoals.{index}.view: there are {views} views (0..{views - 1})", text)
    return plan


def without_fence(text: str) -> str:
    """An answer without the white space and the one code fence that models like to put around JSON."""
    body = text.strip()
    return body[3:-3].removeprefix("json").strip() if body.startswith("```") and body.endswith("```") else body


def plan_text(plan: Plan) -> str:
    """The plan as the terse JSON that a model is asked to write."""
    return plan.model_dump_json(exclude_none=True)
