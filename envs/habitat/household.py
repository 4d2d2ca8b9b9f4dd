"""Household objects that a robot carries from one piece of furniture to another, and the furniture that holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.scenes.apartment import Part, Rgb
from si_embodied.envs.scenes.furniture import COLOURS, Parts, box, post

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.scenes.apartment import Furniture

SURFACES = frozenset(
    {"table", "coffee table", "desk", "sofa", "armchair", "bed", "nightstand", "dresser", "cupboard", "stove"}
    | {"washing machine", "piano", "bathtub"}
)
"""Categories of furniture with a surface to put objects on."""

CONTAINERS = frozenset({"fridge", "wardrobe", "filing cabinet"})
"""Categories of furniture to put objects in; they open and close."""

TRAY_DEPTH_M, TRAY_WIDTH_M, TRAY_HEIGHT_M = 0.30, 0.40, 0.55
"""Size of the tray that an open container extends at its front, with its contents; and the tray's height."""

ITEMS: dict[str, Callable[[Rgb], Parts]] = {
    "mug": lambda c: (
        post(0, 0, 0.0, 0.04, 0.09, c),
        post(0, 0, 0.09, 0.034, 0.002, COLOURS["brown"]),
        Part("box", (0.055, 0.0, 0.05), (0.015, 0.006, 0.025), c),
    ),
    "bowl": lambda c: (
        post(0, 0, 0.0, 0.035, 0.02, c),
        post(0, 0, 0.02, 0.07, 0.035, c),
        post(0, 0, 0.055, 0.062, 0.002, COLOURS["white"]),
    ),
    "ball": lambda c: (Part("sphere", (0.0, 0.0, 0.055), (0.055, 0.055, 0.055), c),),
    "book": lambda c: (box(0, 0, 0.0, 0.15, 0.21, 0.035, c),),
    "can": lambda c: (post(0, 0, 0.0, 0.034, 0.12, c), post(0, 0, 0.12, 0.030, 0.004, COLOURS["gray"])),
    "bottle": lambda c: (post(0, 0, 0.0, 0.04, 0.17, c), post(0, 0, 0.17, 0.016, 0.07, c)),
    "box": lambda c: (box(0, 0, 0.0, 0.16, 0.12, 0.12, c),),
}
"""The shape of each category as a function of its colour; the origin is the centre of the bottom."""
ITEM_COLOURS = ("red", "blue", "green", "yellow", "orange", "purple")


@dataclass(frozen=True, slots=True)
class Item:
    """One object to carry."""

    category: str
    colour: str

    @property
    def name(self) -> str:
        """Unique in its apartment, because each item has its own category: "red_mug"."""
        return f"{self.colour}_{self.category}"

    @property
    def phrase(self) -> str:
        """Noun phrase: "red mug"."""
        return f"{self.colour} {self.category}"

    @property
    def parts(self) -> Parts:
        """The primitives; the origin is the centre of the bottom."""
        return ITEMS[self.category](COLOURS[self.colour])


def tray(rgb: Rgb) -> Parts:
    """An open container's tray, extended along x; the origin is the middle of its edge at the container's front."""
    board = Part("box", (TRAY_DEPTH_M / 2, 0.0, -0.01), (TRAY_DEPTH_M / 2, TRAY_WIDTH_M / 2, 0.01), rgb)
    face = Part("box", (TRAY_DEPTH_M, 0.0, 0.03), (0.01, TRAY_WIDTH_M / 2, 0.05), rgb)
    return (board, face)


def taking_area(piece: Furniture) -> NDArray[np.float64]:
    """(2, 2), the lowest and highest map xy of a piece of furniture; a container's includes its tray."""
    area = np.array([bound[:2] for bound in piece.bounds])
    if piece.category in CONTAINERS:
        out = TRAY_DEPTH_M * np.asarray(piece.front)
        area += np.minimum(out, 0.0), np.maximum(out, 0.0)
    return area
