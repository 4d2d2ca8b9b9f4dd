"""Language rearrangement: what is asked, and the predicates that say how far it is done.

The kinds are EmbodiedBench's EB-Habitat at the level of skills; the places and things are our apartments'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from si_embodied.embodiment import SKILL_WORDS
from si_embodied.envs.habitat.household import CONTAINERS, SURFACES, THING_COLOURS, THINGS, Thing
from si_embodied.envs.scenes.tasks import unique_phrases
from si_embodied.errors import UnknownNameError

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.embodiment import SkillVerb
    from si_embodied.envs.scenes.apartment import Apartment

RearrangeTaskName: TypeAlias = Literal["base", "swap", "clear", "store"]
REARRANGE_TASKS: tuple[RearrangeTaskName, ...] = get_args(RearrangeTaskName)

HAND = "hand"
_THINGS = 5  # in a flat


@dataclass(frozen=True, slots=True)
class At:
    """A thing is on a surface or in a container."""

    thing: str
    place: str  # a furniture's name


@dataclass(frozen=True, slots=True)
class Closed:
    """A container is closed."""

    place: str


Predicate: TypeAlias = At | Closed


@dataclass(frozen=True)
class RearrangeTask:
    """Things in their places, and what is asked."""

    name: RearrangeTaskName
    instruction: str
    conditions: tuple[Predicate, ...]
    things: tuple[Thing, ...]
    start: Mapping[str, str]  # thing -> furniture
    places: Mapping[str, str]  # furniture that takes things -> its words, unique in the flat


def holds(predicate: Predicate, where: Mapping[str, str], opened: frozenset[str]) -> bool:
    """Whether a predicate is true of where things are and of what stands open."""
    if isinstance(predicate, At):
        return where[predicate.thing] == predicate.place
    return predicate.place not in opened


def draw_rearrangement(
    apartment: Apartment, name: str, room: Mapping[str, int], rng: np.random.Generator
) -> RearrangeTask | None:
    """A task of a kind in an apartment, None where it has not the furniture for one.

    Args:
        apartment: where.
        name: the kind.
        room: how many things each piece of furniture takes that can be driven to.
        rng: draws.

    Raises:
        UnknownNameError: no such kind of task.
    """
    if name not in _DRAWERS:
        raise UnknownNameError("task", name, REARRANGE_TASKS)
    phrases = unique_phrases(apartment)
    pieces = {piece.name: piece for piece in apartment.furniture if piece.name in phrases}
    surfaces = [key for key, piece in pieces.items() if piece.category in SURFACES and room.get(key, 0) >= 2]
    containers = [key for key, piece in pieces.items() if piece.category in CONTAINERS and room.get(key, 0)]
    if len(surfaces) < 3 or (name == "store" and not containers):
        return None
    places = {key: phrases[key] for key in (*surfaces, *containers)}
    things = _draw_things(rng)
    instruction, conditions, start = _DRAWERS[name](rng, things, surfaces, containers, places)
    asked = set(start.values())
    others = [place for place in surfaces if place not in asked]  # for what the task is not about
    for thing in sorted({thing.name for thing in things} - set(start)):
        start[thing] = others[int(rng.integers(len(others)))]
    load = Counter(start.values())
    load.update(condition.place for condition in conditions if isinstance(condition, At))
    if any(count > room.get(place, 0) for place, count in load.items()):
        return None
    return RearrangeTask(name, instruction, conditions, things, start, places)  # type: ignore[arg-type]


def _draw_things(rng: np.random.Generator) -> tuple[Thing, ...]:
    """Of different categories, so that each is known by its words."""
    categories = [list(THINGS)[int(i)] for i in rng.permutation(len(THINGS))[:_THINGS]]
    return tuple(Thing(c, THING_COLOURS[int(rng.integers(len(THING_COLOURS)))]) for c in categories)


_Drawn: TypeAlias = tuple[str, tuple[Predicate, ...], dict[str, str]]
_Names: TypeAlias = list[str]


def _two(rng: np.random.Generator, names: _Names) -> tuple[str, str]:
    first, second = (names[int(i)] for i in rng.permutation(len(names))[:2])
    return first, second


def _base(
    rng: np.random.Generator, things: tuple[Thing, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    thing = things[0]
    source, target = _two(rng, surfaces)
    text = f"put the {thing.phrase} on the {words[target]}"
    return text, (At(thing.name, target),), {thing.name: source}


def _swap(
    rng: np.random.Generator, things: tuple[Thing, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    a, b = things[:2]
    first, second = _two(rng, surfaces)
    text = f"swap the {a.phrase} on the {words[first]} and the {b.phrase} on the {words[second]}"
    return text, (At(a.name, second), At(b.name, first)), {a.name: first, b.name: second}


def _clear(
    rng: np.random.Generator, things: tuple[Thing, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    source, target = _two(rng, surfaces)
    moved = things[: int(rng.integers(2, 4))]
    text = f"bring everything from the {words[source]} to the {words[target]}"
    return text, tuple(At(thing.name, target) for thing in moved), {thing.name: source for thing in moved}


def _store(
    rng: np.random.Generator,
    things: tuple[Thing, ...],
    surfaces: _Names,
    containers: _Names,
    words: Mapping[str, str],
) -> _Drawn:
    thing, place = things[0], containers[int(rng.integers(len(containers)))]
    source = surfaces[int(rng.integers(len(surfaces)))]
    text = f"put the {thing.phrase} in the {words[place]} and close it"
    return text, (At(thing.name, place), Closed(place)), {thing.name: source}


_DRAWERS: dict[str, Callable[..., _Drawn]] = {"base": _base, "swap": _swap, "clear": _clear, "store": _store}


# --- the language of skills -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Skill:
    """One action: a verb and what it is about."""

    verb: SkillVerb
    target: str  # a furniture's or a thing's name
    text: str  # "pick up the red mug"


def skills_of(task: RearrangeTask, apartment: Apartment) -> tuple[Skill, ...]:
    """Every skill that can be named in an episode, in an order that says nothing of the task."""

    def make() -> Iterator[Skill]:
        places = sorted(task.places.items(), key=lambda item: item[1])
        containers = [item for item in places if apartment.piece(item[0]).category in CONTAINERS]
        groups: tuple[tuple[SkillVerb, list[tuple[str, str]]], ...] = (
            ("navigate", places),
            ("pick", sorted((thing.name, thing.phrase) for thing in task.things)),
            ("place", places),
            ("open", containers),
            ("close", containers),
        )
        for verb, targets in groups:
            for name, words in targets:
                yield Skill(verb, name, SKILL_WORDS[verb].format(words))

    return tuple(make())
