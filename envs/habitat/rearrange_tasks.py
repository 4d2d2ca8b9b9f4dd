"""Language rearrangement: the tasks, and the predicates that measure their progress.

The tasks follow EmbodiedBench's EB-Habitat at the level of skills, with the furniture and items of our apartments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from si_embodied.embodiment import SKILL_WORDS
from si_embodied.envs.habitat.household import CONTAINERS, ITEM_COLOURS, ITEMS, SURFACES, Item
from si_embodied.envs.scenes.tasks import unique_phrases
from si_embodied.errors import UnknownNameError

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.embodiment import SkillVerb
    from si_embodied.envs.scenes.apartment import Apartment

RearrangeTaskName: TypeAlias = Literal["base", "swap", "clear", "store"]
REARRANGE_TASKS: tuple[RearrangeTaskName, ...] = get_args(RearrangeTaskName)

HAND = "hand"
_ITEMS = 5  # per apartment


@dataclass(frozen=True, slots=True)
class At:
    """An item is on a surface or in a container."""

    item: str
    place: str  # name of the furniture


@dataclass(frozen=True, slots=True)
class Closed:
    """A container is closed."""

    place: str


Predicate: TypeAlias = At | Closed


@dataclass(frozen=True)
class RearrangeTask:
    """An instruction, the items with their initial places, and the conditions of success."""

    name: RearrangeTaskName
    instruction: str
    conditions: tuple[Predicate, ...]
    items: tuple[Item, ...]
    start: Mapping[str, str]  # item -> furniture
    places: Mapping[str, str]  # furniture that can hold items -> its noun phrase, unique in the apartment


def holds(predicate: Predicate, where: Mapping[str, str], opened: frozenset[str]) -> bool:
    """Whether a predicate holds, given where the items are and which containers are open."""
    if isinstance(predicate, At):
        return where[predicate.item] == predicate.place
    return predicate.place not in opened


def draw_rearrangement(
    apartment: Apartment, name: str, room: Mapping[str, int], rng: np.random.Generator
) -> RearrangeTask | None:
    """Draw a task in an apartment; None if the apartment lacks the furniture for it, or the draw does not fit.

    Args:
        apartment: where the task takes place.
        name: one of `REARRANGE_TASKS`.
        room: for each piece of furniture that the robot can drive to, how many items it can hold.
        rng: source of randomness.

    Raises:
        UnknownNameError: unknown task.
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
    items = _draw_items(rng)
    instruction, conditions, start = _DRAWERS[name](rng, items, surfaces, containers, places)
    taken = set(start.values())
    others = [place for place in surfaces if place not in taken]  # for the items that the task is not about
    for item in sorted({item.name for item in items} - set(start)):
        start[item] = others[int(rng.integers(len(others)))]
    load = Counter(start.values())
    load.update(condition.place for condition in conditions if isinstance(condition, At))
    if any(count > room.get(place, 0) for place, count in load.items()):
        return None
    return RearrangeTask(name, instruction, conditions, items, start, places)  # type: ignore[arg-type]


def _draw_items(rng: np.random.Generator) -> tuple[Item, ...]:
    """Items of different categories, so that the noun phrase identifies each."""
    categories = [list(ITEMS)[int(i)] for i in rng.permutation(len(ITEMS))[:_ITEMS]]
    return tuple(Item(c, ITEM_COLOURS[int(rng.integers(len(ITEM_COLOURS)))]) for c in categories)


_Drawn: TypeAlias = tuple[str, tuple[Predicate, ...], dict[str, str]]
_Names: TypeAlias = list[str]


def _two(rng: np.random.Generator, names: _Names) -> tuple[str, str]:
    first, second = (names[int(i)] for i in rng.permutation(len(names))[:2])
    return first, second


def _base(
    rng: np.random.Generator, items: tuple[Item, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    item = items[0]
    source, target = _two(rng, surfaces)
    text = f"put the {item.phrase} on the {words[target]}"
    return text, (At(item.name, target),), {item.name: source}


def _swap(
    rng: np.random.Generator, items: tuple[Item, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    a, b = items[:2]
    first, second = _two(rng, surfaces)
    text = f"swap the {a.phrase} on the {words[first]} and the {b.phrase} on the {words[second]}"
    return text, (At(a.name, second), At(b.name, first)), {a.name: first, b.name: second}


def _clear(
    rng: np.random.Generator, items: tuple[Item, ...], surfaces: _Names, _: _Names, words: Mapping[str, str]
) -> _Drawn:
    source, target = _two(rng, surfaces)
    moved = items[: int(rng.integers(2, 4))]
    text = f"bring everything from the {words[source]} to the {words[target]}"
    return text, tuple(At(item.name, target) for item in moved), {item.name: source for item in moved}


def _store(
    rng: np.random.Generator,
    items: tuple[Item, ...],
    surfaces: _Names,
    containers: _Names,
    words: Mapping[str, str],
) -> _Drawn:
    item, place = items[0], containers[int(rng.integers(len(containers)))]
    source = surfaces[int(rng.integers(len(surfaces)))]
    text = f"put the {item.phrase} in the {words[place]} and close it"
    return text, (At(item.name, place), Closed(place)), {item.name: source}


_DRAWERS: dict[str, Callable[..., _Drawn]] = {"base": _base, "swap": _swap, "clear": _clear, "store": _store}


# --- the language of skills -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Skill:
    """One action: a verb and its target."""

    verb: SkillVerb
    target: str  # name of a piece of furniture or an item
    text: str  # "pick up the red mug"


def skills_of(task: RearrangeTask, apartment: Apartment) -> tuple[Skill, ...]:
    """All skills of an episode, in an order that reveals nothing about the task."""

    def make() -> Iterator[Skill]:
        places = sorted(task.places.items(), key=lambda item: item[1])
        containers = [item for item in places if apartment.piece(item[0]).category in CONTAINERS]
        groups: tuple[tuple[SkillVerb, list[tuple[str, str]]], ...] = (
            ("navigate", places),
            ("pick", sorted((item.name, item.phrase) for item in task.items)),
            ("place", places),
            ("open", containers),
            ("close", containers),
        )
        for verb, targets in groups:
            for name, words in targets:
                yield Skill(verb, name, SKILL_WORDS[verb].format(words))

    return tuple(make())
