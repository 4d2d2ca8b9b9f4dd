"""Navigation tasks in an apartment, with instructions that are unambiguous."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from si_embodied.envs.scenes.relations import between, nearest, side_of
from si_embodied.errors import UnknownNameError

if TYPE_CHECKING:
    from si_embodied.envs.scenes.apartment import Apartment, Furniture

NavigationTaskName: TypeAlias = Literal["objectnav", "spatial", "route"]
NAVIGATION_TASKS: tuple[NavigationTaskName, ...] = get_args(NavigationTaskName)

# Categories that a person might call by the same word: a red armchair makes "the red chair" ambiguous.
_FAMILIES = {
    "armchair": "chair",
    "office chair": "chair",
    "stool": "chair",
    "coffee table": "table",
    "desk": "table",
    "washbasin": "sink",
    "nightstand": "dresser",
    "cupboard": "dresser",
    "filing cabinet": "dresser",
    "wardrobe": "dresser",
    "laundry basket": "bin",
}
# Categories with a front, unlike a plant or a stool: a person can face them.
_WITH_FRONT = frozenset(
    {"sofa", "armchair", "desk", "bed", "wardrobe", "dresser", "cupboard", "filing cabinet", "bookshelf", "tv"}
    | {"fridge", "stove", "sink", "washing machine", "toilet", "bathtub", "washbasin", "piano"}
)
# Only a small part of these shows their colour, so the category alone must identify them.
_NAMED_BY_CATEGORY_ONLY = ("bookshelf", "tv", "desk")


@dataclass(frozen=True, slots=True)
class NavigationTask:
    """An instruction, and its goals in order."""

    name: NavigationTaskName
    instruction: str
    goals: tuple[str, ...]  # names of furniture: one, or two to three for a route
    relation: str = ""  # of a spatial task: "left", "right", "between", "nearest"
    anchors: tuple[str, ...] = ()  # reference objects of the relation: names of furniture, or "door"


def family(category: str) -> str:
    """The word that a person might use for a category; categories that are easily confused share it."""
    return _FAMILIES.get(category, category)


def has_front(category: str) -> bool:
    """Whether furniture of this category has a front, and so a left and a right."""
    return category in _WITH_FRONT


def _targets(apartment: Apartment) -> list[Furniture]:
    return [piece for piece in apartment.furniture if not piece.walkable]


def unique_phrases(apartment: Apartment) -> dict[str, str]:
    """Furniture name -> noun phrase that fits no other furniture in the apartment, with the colour or without."""
    targets = _targets(apartment)
    categories = Counter(family(p.category) for p in targets)
    looks = Counter((family(p.category), p.colour) for p in targets)
    phrases: dict[str, str] = {}
    for piece in targets:
        if piece.category in _NAMED_BY_CATEGORY_ONLY:
            if sum(p.category == piece.category for p in targets) == 1:
                phrases[piece.name] = piece.category
        elif categories[family(piece.category)] == 1 or looks[family(piece.category), piece.colour] == 1:
            phrases[piece.name] = piece.phrase
    return phrases


def _objectnav(apartment: Apartment, rng: np.random.Generator) -> list[NavigationTask]:
    verbs = ("find", "go to", "drive to", "look for")
    verb = verbs[int(rng.integers(len(verbs)))]
    phrases = unique_phrases(apartment)
    return [NavigationTask("objectnav", f"{verb} the {words}", (name,)) for name, words in phrases.items()]


def _spatial(apartment: Apartment, rng: np.random.Generator) -> list[NavigationTask]:
    del rng
    phrases, targets, tasks = unique_phrases(apartment), _targets(apartment), []
    by_category: dict[str, list[Furniture]] = {}
    for piece in targets:
        by_category.setdefault(piece.category, []).append(piece)

    def add(instruction: str, goal: Furniture | None, relation: str, anchors: tuple[str, ...]) -> None:
        if goal is not None:
            tasks.append(NavigationTask("spatial", instruction, (goal.name,), relation, anchors))

    for category, group in by_category.items():
        if len(group) < 2:
            continue
        for index, room in enumerate(apartment.rooms):
            here = [p for p in group if p.room == index]
            anchors = [p for p in targets if p.room == index and p.name in phrases and p.category != category]
            for anchor in anchors:
                words = phrases[anchor.name]
                if len(here) >= 2 and anchor.category in _WITH_FRONT:
                    for side in ("left", "right"):
                        text = f"in the {room.name}, facing the {words}, go to the {category} on its {side}"
                        add(text, side_of(here, anchor, side), side, (anchor.name,))
                point = (float(anchor.centre[0]), float(anchor.centre[1]))
                goal = nearest(group, point)
                add(
                    f"go to the {category} nearest to the {words}",
                    goal if goal in here else None,
                    "nearest",
                    (anchor.name,),
                )
            for a, b in itertools.combinations(anchors, 2):
                text = f"go to the {category} between the {phrases[a.name]} and the {phrases[b.name]}"
                add(text, between(group, a, b), "between", (a.name, b.name))
            doors = [door for door in apartment.doors if index in door.rooms]
            if len(doors) == 1 and len(here) >= 2:
                goal = nearest(here, (doors[0].x_m, doors[0].y_m))
                add(f"in the {room.name}, go to the {category} nearest to the door", goal, "nearest", ("door",))
    return tasks


def _route(apartment: Apartment, rng: np.random.Generator) -> list[NavigationTask]:
    """Routes with goals in different rooms, each the only one of its category in its room."""
    targets = _targets(apartment)
    in_room = Counter((p.room, family(p.category)) for p in targets)
    alone = [p for p in targets if in_room[p.room, family(p.category)] == 1]
    count = 3 if len(apartment.rooms) > 2 and rng.random() < 0.5 else 2
    tasks = []
    for _ in range(20):
        rooms = [int(i) for i in rng.permutation(len(apartment.rooms))[:count]]
        choices = [[p for p in alone if p.room == room] for room in rooms]
        if not all(choices):
            continue
        goals = [some[int(rng.integers(len(some)))] for some in choices]
        if len({p.category for p in goals}) < count:
            continue
        legs = [f"to the {p.category} in the {apartment.rooms[p.room].name}" for p in goals]
        text = f"go {legs[0]}, then " + (f"{legs[1]}, and then {legs[2]}" if count == 3 else legs[1])
        tasks.append(NavigationTask("route", text, tuple(p.name for p in goals)))
    return tasks


_DRAWERS = {"objectnav": _objectnav, "spatial": _spatial, "route": _route}


def task_candidates(apartment: Apartment, name: str, rng: np.random.Generator) -> list[NavigationTask]:
    """All unambiguous tasks of a kind in an apartment, in random order.

    Spatial tasks alternate between their relations, so that a frequent relation does not crowd out the others.

    Raises:
        UnknownNameError: unknown task.
    """
    if name not in _DRAWERS:
        raise UnknownNameError("task", name, NAVIGATION_TASKS)
    tasks = _DRAWERS[name](apartment, rng)
    tasks = [tasks[int(i)] for i in rng.permutation(len(tasks))]
    if name != "spatial":
        return tasks
    relations = [("left", "right"), ("between",), ("nearest",)]
    relations = [relations[int(i)] for i in rng.permutation(len(relations))]
    groups = [[task for task in tasks if task.relation in relation] for relation in relations]
    rounds = itertools.zip_longest(*groups)
    return [task for turn in rounds for task in turn if task is not None]
