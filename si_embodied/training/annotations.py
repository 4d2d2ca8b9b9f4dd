"""What a training image shows, as a shard's JSON stores it.

Points are x and y in 0..1000 of the image, from its top left corner; `xy` is a position on the map in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Point: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class VisibleObject:
    """One object of which at least one pixel is visible."""

    id: int  # its value in the instance image
    name: str  # "red cube"
    category: str
    colour: str
    pixels: int  # how many are visible in the rendered image
    point: Point  # well inside the largest visible part
    unique: bool  # whether nothing else in the scene has this name
    xy: tuple[float, float]  # its centre


@dataclass(frozen=True, slots=True)
class Container:
    """One container on the table."""

    id: int  # its value in the instance image
    key: str  # unique on this table
    name: str  # "red bowl"; two containers may share it
    kind: str  # bowl, bin or shape sorter
    xy: tuple[float, float]


class FreeSpot(NamedTuple):
    """Where there is room to put one object down beside another."""

    moved: str
    anchor: str
    direction: str  # left, right, front or behind
    point: Point


@dataclass(frozen=True, slots=True)
class TabletopAnnotation:
    """A head camera image of a table."""

    objects: tuple[VisibleObject, ...]
    pick: dict[str, Point]  # by object name, where to grasp it
    into: dict[str, Point | None]  # by container key, where to release an object; None where the view hides it
    onto: dict[str, Point]  # by the supporting object's name
    beside: tuple[FreeSpot, ...]
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class ApartmentAnnotation:
    """A head camera image of a room."""

    objects: tuple[VisibleObject, ...]
    scene_names: tuple[str, ...]  # every unique name in the apartment, in view or not
    camera_xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class HouseholdAnnotation:
    """A head camera image of household objects on furniture."""

    objects: tuple[VisibleObject, ...]  # furniture too
    items: tuple[str, ...]  # every household object in the apartment, in view or not


Annotation: TypeAlias = TabletopAnnotation | ApartmentAnnotation | HouseholdAnnotation


def read_annotation(value: dict[str, Any]) -> Annotation:
    """An annotation from its JSON object, which `dataclasses.asdict` wrote."""
    objects = tuple(VisibleObject(**_tupled(one)) for one in value["objects"])
    if "items" in value:
        return HouseholdAnnotation(objects, tuple(value["items"]))
    if "scene_names" in value:
        return ApartmentAnnotation(objects, tuple(value["scene_names"]), tuple(value["camera_xy"]))
    return TabletopAnnotation(
        objects,
        _tupled(value["pick"]),
        _tupled(value["into"]),
        _tupled(value["onto"]),
        tuple(FreeSpot(moved, anchor, side, tuple(point)) for moved, anchor, side, point in value["beside"]),
        tuple(Container(**_tupled(one)) for one in value["containers"]),
    )


def _tupled(value: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
