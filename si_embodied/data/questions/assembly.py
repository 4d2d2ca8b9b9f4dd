"""Deformation and assembly: matching holes, rotated figures, missing pieces and folded sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from si_embodied.data.questions.base import (
    LETTERS,
    LeftOut,
    Question,
    Slot,
    balanced_choice,
    pick,
    question,
    some_view,
)
from si_embodied.data.questions.visibility import marked, table_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.data.scenes import Scene

    Cells = NDArray[np.bool_]

_HOLES = {"cube": "the square hole", "cylinder": "the round hole", "long block": "the long hole"}
_COLOURS = ((200, 40, 40), (40, 90, 200), (40, 140, 60), (150, 60, 170), (225, 130, 20))
_PAPER, _LINE, _INK = (250, 250, 246), (150, 150, 150), (30, 30, 30)


@question("assembly.which_hole", "sorter")
def which_hole(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which hole of the shape sorter has the marked object's outline from above, if any."""
    view = some_view(scene, rng)
    if all(o.category != "shape sorter" for o in view.objects):
        raise LeftOut("no shape sorter")
    names = (*_HOLES.values(), "none of them")
    wanted = slot.content(4)
    # Balls are left out: from above a ball has the cylinder's outline, and it fits through more than one hole.
    fitting = [o for o in table_objects(view) if o.category != "ball"]
    fitting = [o for o in fitting if _HOLES.get(o.category, names[3]) == names[wanted]]
    if not fitting:
        raise LeftOut("no object for the wanted hole")
    target = pick(rng, fitting)
    text = "Which hole of the shape sorter has the same outline from above as the marked object?"
    return balanced_choice(text, (marked(view, (target,), ("",)),), names, wanted, slot, rng)


# --- figures ---------------------------------------------------------------------------------------------------------


def polyomino(rng: np.random.Generator, cells: int, side: int = 4) -> Cells:
    """A random connected figure with this many cells, cropped, at most `side` cells long and wide."""
    grid = np.zeros((side, side), bool)
    grid[int(rng.integers(side)), int(rng.integers(side))] = True
    while grid.sum() < cells:
        near = np.zeros_like(grid)
        near[1:] |= grid[:-1]
        near[:-1] |= grid[1:]
        near[:, 1:] |= grid[:, :-1]
        near[:, :-1] |= grid[:, 1:]
        free = np.argwhere(near & ~grid)
        row, column = free[int(rng.integers(len(free)))]
        grid[row, column] = True
    return cropped(grid)


def cropped(grid: Cells) -> Cells:
    """Crop a grid to the smallest rectangle that holds all its cells."""
    rows, columns = np.flatnonzero(grid.any(axis=1)), np.flatnonzero(grid.any(axis=0))
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def turns(figure: Cells) -> list[Cells]:
    """The figure after 0, 1, 2 and 3 clockwise quarter turns."""
    return [np.rot90(figure, -k) for k in range(4)]


def is_among(figure: Cells, others: Sequence[Cells]) -> bool:
    """Whether one of the others equals the figure, cell by cell."""
    return any(figure.shape == o.shape and bool((figure == o).all()) for o in others)


def _handed(rng: np.random.Generator) -> Cells:
    """A figure whose four rotations and their mirror images are eight different figures."""
    for _ in range(200):
        figure = polyomino(rng, 5 + int(rng.integers(3)))
        four, mirrored = turns(figure), turns(figure[:, ::-1])
        if not is_among(figure, four[1:]) and not is_among(figure, mirrored):
            return figure
    raise LeftOut("no figure with a handedness")


class Sheet:
    """A square image with figures made of cells; positions and sizes are shares of its side."""

    def __init__(self, size: int) -> None:
        """A blank image of `size` x `size` pixels."""
        self._image = Image.new("RGB", (size, size), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._size = size
        self._font = ImageFont.load_default(size=max(8, size // 16))

    def cells(self, centre: tuple[float, float], cell: float, figure: Cells, colour: tuple[int, int, int]) -> None:
        """Draw a figure around a centre."""
        rows, columns = figure.shape
        side = cell * self._size
        x0, y0 = centre[0] * self._size - columns * side / 2, centre[1] * self._size - rows * side / 2
        for r, c in np.argwhere(figure):
            corner = (x0 + c * side, y0 + r * side, x0 + (c + 1) * side, y0 + (r + 1) * side)
            self._draw.rectangle(corner, fill=colour, outline=_PAPER)

    def frame(self, centre: tuple[float, float], half: tuple[float, float]) -> None:
        """Draw a thin rectangle around a centre."""
        (x, y), (w, h) = centre, half
        corner = tuple(s * self._size for s in (x - w, y - h, x + w, y + h))
        self._draw.rectangle(corner, outline=_LINE)

    def line(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        """Draw a dashed line."""
        for k in range(0, 10, 2):
            p, q = ((np.array(a) + (np.array(b) - a) * s / 10) * self._size for s in (k, k + 1))
            self._draw.line((*p, *q), fill=_INK, width=2)

    def text(self, at: tuple[float, float], words: str) -> None:
        """Write text centred on a position."""
        self._draw.text((at[0] * self._size, at[1] * self._size), words, fill=_INK, font=self._font, anchor="mm")

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The image (size, size, 3)."""
        return np.array(self._image)


def _panel(sheet: Sheet, figures: Sequence[Cells], cell: float, colour: tuple[int, int, int]) -> None:
    """Draw four lettered figures in the lower half."""
    for k, figure in enumerate(figures):
        x = 0.125 + 0.25 * k
        sheet.cells((x, 0.72), cell, figure, colour)
        sheet.text((x, 0.94), LETTERS[k])


def _lettered(text: str, sheet: Sheet, place: int) -> Question:
    return Question("choice", text, (sheet.rgb,), LETTERS[place], ("",) * 4)


@question("assembly.turned_figure", "figures")
def turned_figure(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of four figures is the upper one after a quarter, half or three-quarter turn; the others are mirrored."""
    figure, colour = _handed(rng), pick(rng, _COLOURS)
    right = turns(figure)[1 + int(rng.integers(3))]
    mirrored = turns(figure[:, ::-1])
    place = slot.position(1, 4)
    wrong = [mirrored[int(k)] for k in rng.permutation(4)[:3]]
    sheet = Sheet(scene.image_size)
    sheet.cells((0.5, 0.24), 0.075, figure, colour)
    _panel(sheet, [*wrong[:place], right, *wrong[place:]], 0.052, colour)
    return _lettered("Which of the figures A to D is the upper figure, turned but not mirrored?", sheet, place)


@question("assembly.turn_angle", "figures")
def turn_angle(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """By how much the left figure was rotated clockwise to give the right one, or whether it was mirrored."""
    figure, colour = _handed(rng), pick(rng, _COLOURS)
    names = ("90 degrees clockwise", "180 degrees", "90 degrees counter-clockwise", "it is a mirror image")
    wanted = slot.content(4)
    after = turns(figure)[wanted + 1] if wanted < 3 else turns(figure[:, ::-1])[int(rng.integers(4))]
    sheet = Sheet(scene.image_size)
    for x, shown in ((0.26, figure), (0.74, after)):
        sheet.frame((x, 0.5), (0.22, 0.22))
        sheet.cells((x, 0.5), 0.09, shown, colour)
    text = "By how much was the left figure turned to give the right one?"
    return balanced_choice(text, (sheet.rgb,), names, wanted, slot, rng)


@question("assembly.missing_piece", "figures")
def missing_piece(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of four pieces with equally many cells fills a board's hole without being turned."""
    cells, colour = 4 + int(rng.integers(2)), pick(rng, _COLOURS)
    pieces: list[Cells] = []
    for _ in range(100):
        piece = polyomino(rng, cells, 3)
        if not is_among(piece, pieces):
            pieces.append(piece)
        if len(pieces) == 4:
            break
    else:
        raise LeftOut("too few different pieces")
    right, wrong, place = pieces[0], pieces[1:], slot.position(1, 4)
    board = np.ones((5, 5), bool)
    row, column = (1 + int(rng.integers(4 - side)) for side in right.shape)
    board[row : row + right.shape[0], column : column + right.shape[1]] &= ~right
    sheet = Sheet(scene.image_size)
    sheet.cells((0.5, 0.27), 0.085, board, colour)
    _panel(sheet, [*wrong[:place], right, *wrong[place:]], 0.06, colour)
    return _lettered("Which of the pieces A to D fills the hole in the board without being turned?", sheet, place)


@question("assembly.folded_sheet", "figures")
def folded_sheet(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Where wet ink is after a sheet is folded in half and opened: on its own half, and mirrored on the other."""
    sideways = bool(rng.random() < 0.5)  # the fold runs from top to bottom
    half = np.zeros((4, 2), bool)
    half.ravel()[rng.permutation(8)[: 2 + int(rng.integers(2))]] = True

    def opened(other: Cells) -> Cells:
        whole = np.concatenate([half, other], axis=1)
        return np.asarray(whole if sideways else whole.T)

    right = opened(half[:, ::-1])
    other_halves = [half, half[::-1], half[::-1, ::-1]]
    for _ in range(8):
        moved = half[:, ::-1].ravel()[rng.permutation(8)].reshape(4, 2)
        other_halves.append(moved)
    wrong: list[Cells] = []
    for other in other_halves:
        figure = opened(other)
        if not is_among(figure, [right, *wrong]):
            wrong.append(figure)
    if len(wrong) < 3:
        raise LeftOut("too few different sheets")
    wrong, place = wrong[:3], slot.position(1, 4)
    sheet, colour = Sheet(scene.image_size), pick(rng, _COLOURS)
    sheet.frame((0.5, 0.26), (0.2, 0.2))
    sheet.cells((0.5, 0.26), 0.1, opened(np.zeros((4, 2), bool)), colour)
    sheet.line(*(((0.5, 0.06), (0.5, 0.46)) if sideways else ((0.3, 0.26), (0.7, 0.26))))
    for k in range(4):
        sheet.frame((0.125 + 0.25 * k, 0.72), (0.1, 0.1))
    _panel(sheet, [*wrong[:place], right, *wrong[place:]], 0.05, colour)
    text = (
        "A sheet with wet ink on one half is folded along the dashed line and opened again. "
        "Which of A to D does it look like?"
    )
    return _lettered(text, sheet, place)
