"""The catalogue of furniture: all categories, and the colours of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from si_embodied.envs.scenes import furniture
from si_embodied.envs.scenes.apartment import Rgb

_BRIGHT = ("red", "blue", "green", "yellow", "orange", "purple", "pink")
_ALL = (*_BRIGHT, "white", "black", "gray", "brown")
_WOODEN = ("brown", "white", "black", "gray")


@dataclass(frozen=True, slots=True)
class Kind:
    """A category of the catalogue."""

    build: Callable[[Rgb], furniture.Parts]
    colours: tuple[str, ...]
    walkable: bool = False


CATALOGUE: dict[str, Kind] = {
    "chair": Kind(furniture.chair, _ALL),
    "stool": Kind(furniture.stool, _ALL),
    "office chair": Kind(furniture.office_chair, (*_BRIGHT, "black", "gray")),
    "sofa": Kind(furniture.sofa, (*_BRIGHT, "gray", "brown")),
    "armchair": Kind(furniture.armchair, (*_BRIGHT, "gray", "brown")),
    "table": Kind(furniture.table, _WOODEN),
    "coffee table": Kind(furniture.coffee_table, _WOODEN),
    "desk": Kind(furniture.desk, ("brown", "white")),
    "bed": Kind(furniture.bed, (*_BRIGHT, "gray")),
    "nightstand": Kind(furniture.nightstand, _WOODEN),
    "wardrobe": Kind(furniture.wardrobe, (*_WOODEN, "blue", "green")),
    "dresser": Kind(furniture.dresser, (*_WOODEN, "blue", "green", "yellow")),
    "cupboard": Kind(furniture.cupboard, ("white", "blue", "green", "brown", "yellow")),
    "filing cabinet": Kind(furniture.filing_cabinet, ("gray", "black", "red", "blue", "green")),
    "bookshelf": Kind(furniture.bookshelf, ("brown", "white", "black")),
    "tv": Kind(furniture.tv, ("brown", "white", "black", "gray")),
    "floor lamp": Kind(furniture.floor_lamp, _ALL),
    "plant": Kind(furniture.plant, (*_BRIGHT, "white", "black", "brown")),
    "fridge": Kind(furniture.fridge, ("white", "gray", "black", "red", "blue")),
    "stove": Kind(furniture.stove, ("white", "gray", "black")),
    "sink": Kind(furniture.sink, ("white", "blue", "green", "brown")),
    "washing machine": Kind(furniture.washing_machine, ("white", "gray")),
    "toilet": Kind(furniture.toilet, ("white", "pink", "green")),
    "bathtub": Kind(furniture.bathtub, ("white", "pink", "blue")),
    "washbasin": Kind(furniture.washbasin, ("white", "pink", "green")),
    "bin": Kind(furniture.bin_, (*_BRIGHT, "gray", "black")),
    "laundry basket": Kind(furniture.laundry_basket, (*_BRIGHT, "white")),
    "suitcase": Kind(furniture.suitcase, _ALL),
    "piano": Kind(furniture.piano, ("black", "brown", "white")),
    "rug": Kind(furniture.rug, (*_BRIGHT, "gray"), walkable=True),
}
