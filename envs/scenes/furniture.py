"""The shapes of furniture: each category as a function of a colour, built from primitives.

Own frame: origin on the floor at the centre of the footprint, front along +x, so +y is the furniture's left.
"""

from __future__ import annotations

from typing import TypeAlias

from si_embodied.envs.scenes.apartment import Part, Rgb

COLOURS: dict[str, Rgb] = {
    "red": (0.78, 0.10, 0.10),
    "blue": (0.12, 0.25, 0.75),
    "green": (0.13, 0.52, 0.20),
    "yellow": (0.93, 0.78, 0.12),
    "orange": (0.92, 0.45, 0.08),
    "purple": (0.48, 0.16, 0.62),
    "pink": (0.93, 0.50, 0.66),
    "white": (0.92, 0.92, 0.90),
    "black": (0.10, 0.10, 0.11),
    "gray": (0.50, 0.51, 0.53),
    "brown": (0.45, 0.27, 0.14),
}
_WHITE, _BLACK, _GRAY, _BROWN = COLOURS["white"], COLOURS["black"], COLOURS["gray"], COLOURS["brown"]
_STEEL: Rgb = (0.66, 0.68, 0.70)
_WOOD: Rgb = (0.62, 0.43, 0.25)
_LEAF: Rgb = (0.16, 0.45, 0.14)
_LINEN: Rgb = (0.94, 0.93, 0.88)
_WATER: Rgb = (0.55, 0.75, 0.85)
_GLOW: Rgb = (1.0, 0.93, 0.70)

Parts: TypeAlias = tuple[Part, ...]


def box(x: float, y: float, z: float, dx: float, dy: float, dz: float, rgb: Rgb) -> Part:
    """A box, given its centre in x and y, its *bottom* in z, and its full sizes."""
    return Part("box", (x, y, z + dz / 2), (dx / 2, dy / 2, dz / 2), rgb)


def post(x: float, y: float, z: float, radius: float, height: float, rgb: Rgb) -> Part:
    """An upright cylinder, given the centre of its bottom."""
    return Part("cylinder", (x, y, z + height / 2), (radius, radius, height / 2), rgb)


def _ball(x: float, y: float, z: float, rx: float, ry: float, rz: float, rgb: Rgb) -> Part:
    """An ellipsoid, given its centre."""
    return Part("ellipsoid", (x, y, z), (rx, ry, rz), rgb)


def _shade(rgb: Rgb, factor: float) -> Rgb:
    r, g, b = (min(1.0, c * factor + (0.06 if factor > 1 else 0.0)) for c in rgb)
    return (r, g, b)


def _legs(dx: float, dy: float, height: float, radius: float, rgb: Rgb) -> Parts:
    return tuple(post(sx * dx, sy * dy, 0.0, radius, height, rgb) for sx in (-1, 1) for sy in (-1, 1))


def chair(c: Rgb) -> Parts:
    """A dining chair: four legs, a seat, a back of two posts and slats."""
    back = tuple(box(-0.19, 0, z, 0.03, 0.40, 0.09, c) for z in (0.58, 0.72, 0.86))
    posts = tuple(box(-0.19, y, 0.0, 0.04, 0.04, 0.95, _shade(c, 0.8)) for y in (-0.19, 0.19))
    front = tuple(box(0.19, y, 0.0, 0.04, 0.04, 0.44, _shade(c, 0.8)) for y in (-0.19, 0.19))
    return (*posts, *front, box(0, 0, 0.43, 0.42, 0.42, 0.05, c), *back)


def stool(c: Rgb) -> Parts:
    """A bar stool with a round seat."""
    return (
        *_legs(0.13, 0.13, 0.62, 0.018, _STEEL),
        post(0, 0, 0.22, 0.16, 0.02, _STEEL),
        post(0, 0, 0.62, 0.19, 0.07, c),
    )


def office_chair(c: Rgb) -> Parts:
    """A swivel chair on a five-armed foot."""
    return (
        box(0, 0, 0.05, 0.56, 0.06, 0.04, _BLACK),
        box(0, 0, 0.05, 0.06, 0.56, 0.04, _BLACK),
        *(_ball(x, y, 0.035, 0.035, 0.035, 0.035, _BLACK) for x, y in ((0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25))),
        post(0, 0, 0.08, 0.03, 0.36, _STEEL),
        box(0, 0, 0.44, 0.48, 0.48, 0.08, c),
        box(-0.22, 0, 0.50, 0.06, 0.44, 0.56, c),
        box(0.0, 0.25, 0.62, 0.28, 0.04, 0.04, _BLACK),
        box(0.0, -0.25, 0.62, 0.28, 0.04, 0.04, _BLACK),
        box(-0.06, 0.25, 0.46, 0.04, 0.04, 0.16, _BLACK),
        box(-0.06, -0.25, 0.46, 0.04, 0.04, 0.16, _BLACK),
    )


def _couch(c: Rgb, width: float, seats: int) -> Parts:
    inner = width - 0.36
    seat = inner / seats
    middles = [(-inner / 2 + seat * (i + 0.5)) for i in range(seats)]
    return (
        box(0, 0, 0.06, 0.84, width - 0.02, 0.22, _shade(c, 0.75)),
        box(-0.33, 0, 0.06, 0.20, width, 0.76, _shade(c, 0.85)),
        *(box(0.02, y, 0.06, 0.86, 0.18, 0.54, _shade(c, 0.9)) for y in (-(width - 0.18) / 2, (width - 0.18) / 2)),
        *(box(0.09, y, 0.28, 0.66, seat - 0.02, 0.16, c) for y in middles),
        *(box(-0.18, y, 0.44, 0.14, seat - 0.04, 0.32, _shade(c, 1.1)) for y in middles),
        *(post(x, y, 0, 0.025, 0.07, _BLACK) for x in (-0.38, 0.38) for y in (-width / 2 + 0.06, width / 2 - 0.06)),
    )


def sofa(c: Rgb) -> Parts:
    """Two seats, arms, a back."""
    return _couch(c, 1.75, 2)


def armchair(c: Rgb) -> Parts:
    """One seat of a sofa."""
    return _couch(c, 0.92, 1)


def table(c: Rgb) -> Parts:
    """A dining table."""
    return (*_legs(0.36, 0.56, 0.72, 0.035, _shade(c, 0.8)), box(0, 0, 0.71, 0.84, 1.24, 0.05, c))


def coffee_table(c: Rgb) -> Parts:
    """A low table with a shelf."""
    return (
        *_legs(0.24, 0.40, 0.40, 0.03, _shade(c, 0.7)),
        box(0, 0, 0.14, 0.46, 0.80, 0.02, _shade(c, 0.8)),
        box(0, 0, 0.39, 0.56, 0.92, 0.04, c),
    )


def desk(c: Rgb) -> Parts:
    """A desk with drawers, a monitor and a keyboard; a person sits at its front."""
    return (
        box(0, 0, 0.70, 0.66, 1.30, 0.04, c),
        box(0, -0.47, 0.0, 0.60, 0.32, 0.70, _shade(c, 0.85)),
        *(box(0.305, -0.47, z, 0.02, 0.28, 0.19, _shade(c, 1.1)) for z in (0.05, 0.27, 0.49)),
        *(post(x, 0.60, 0, 0.03, 0.70, _STEEL) for x in (-0.28, 0.28)),
        box(-0.20, 0.10, 0.74, 0.16, 0.24, 0.02, _BLACK),
        box(-0.22, 0.10, 0.76, 0.03, 0.05, 0.12, _BLACK),
        box(-0.20, 0.10, 0.86, 0.03, 0.56, 0.34, _BLACK),
        box(-0.182, 0.10, 0.885, 0.01, 0.52, 0.29, (0.25, 0.45, 0.70)),
        box(0.10, 0.10, 0.74, 0.15, 0.42, 0.02, _GRAY),
    )


def bed(c: Rgb) -> Parts:
    """A headboard at the back, a pillow or two, a coloured blanket."""
    return (
        box(0, 0, 0.10, 1.96, 1.36, 0.20, _WOOD),
        box(-0.97, 0, 0.0, 0.08, 1.42, 0.95, _shade(_WOOD, 0.8)),
        box(0.02, 0, 0.30, 1.90, 1.32, 0.18, _LINEN),
        box(0.27, 0, 0.34, 1.42, 1.37, 0.17, c),
        box(-0.38, 0, 0.48, 0.14, 1.37, 0.05, _shade(c, 1.25)),
        *(_ball(-0.68, y, 0.53, 0.20, 0.28, 0.09, _WHITE) for y in (-0.33, 0.33)),
        *_legs(0.92, 0.62, 0.10, 0.035, _BROWN),
    )


def nightstand(c: Rgb) -> Parts:
    """A small cabinet with a drawer and a reading lamp."""
    return (
        box(0, 0, 0.06, 0.40, 0.42, 0.44, c),
        box(0.205, 0, 0.30, 0.02, 0.36, 0.16, _shade(c, 1.2)),
        _ball(0.225, 0, 0.38, 0.02, 0.02, 0.02, _STEEL),
        *_legs(0.16, 0.17, 0.06, 0.02, _BLACK),
        post(-0.05, 0, 0.50, 0.06, 0.02, _STEEL),
        post(-0.05, 0, 0.52, 0.012, 0.14, _STEEL),
        post(-0.05, 0, 0.66, 0.09, 0.15, _GLOW),
    )


def _front_panels(x: float, width: float, rows: list[tuple[float, float]], columns: int, rgb: Rgb) -> Parts:
    """Doors or drawers with knobs; `rows` are (bottom, height)."""
    each = width / columns
    panels: list[Part] = []
    for bottom, height in rows:
        for i in range(columns):
            y = -width / 2 + each * (i + 0.5)
            panels.append(box(x + 0.01, y, bottom, 0.02, each - 0.03, height, rgb))
            side = 0.0 if columns == 1 or height < 0.3 else (each / 2 - 0.07) * (1 if i % 2 == 0 else -1)
            panels.append(box(x + 0.03, y + side, bottom + height / 2 - 0.05, 0.03, 0.03, 0.10, _STEEL))
    return tuple(panels)


def wardrobe(c: Rgb) -> Parts:
    """A tall cabinet with two doors."""
    return (box(0, 0, 0.0, 0.54, 1.06, 1.95, c), *_front_panels(0.27, 1.02, [(0.08, 1.80)], 2, _shade(c, 1.18)))


def dresser(c: Rgb) -> Parts:
    """A chest of six drawers."""
    rows = [(0.10, 0.20), (0.33, 0.20), (0.56, 0.20)]
    return (box(0, 0, 0.0, 0.42, 1.00, 0.82, c), *_front_panels(0.21, 0.96, rows, 2, _shade(c, 1.2)))


def cupboard(c: Rgb) -> Parts:
    """A kitchen cupboard with a worktop."""
    return (
        box(0, 0, 0.0, 0.56, 0.90, 0.86, c),
        box(0, 0, 0.86, 0.60, 0.94, 0.04, _GRAY),
        *_front_panels(0.28, 0.86, [(0.08, 0.74)], 2, _shade(c, 1.15)),
    )


def filing_cabinet(c: Rgb) -> Parts:
    """Three big drawers in a narrow steel cabinet."""
    rows = [(0.05, 0.30), (0.38, 0.30), (0.71, 0.30)]
    return (box(0, 0, 0.0, 0.54, 0.46, 1.05, c), *_front_panels(0.27, 0.44, rows, 1, _shade(c, 1.25)))


def bookshelf(c: Rgb) -> Parts:
    """Boards and rows of books in many colours."""
    names = ("red", "blue", "green", "yellow", "white", "brown", "orange", "black")
    books: list[Part] = []
    for row, z in enumerate((0.09, 0.45, 0.81, 1.17, 1.53)):
        y = -0.40
        for i in range(8 if row % 2 else 9):
            width = (0.05, 0.07, 0.04, 0.06)[(i + row) % 4]
            height = (0.27, 0.23, 0.29, 0.25)[(i * 3 + row) % 4]
            books.append(box(0.01, y + width / 2, z, 0.20, width, height, COLOURS[names[(i * 5 + row * 3) % 8]]))
            y += width + 0.012 + (0.12 if (i + row) % 5 == 4 else 0.0)
            if y > 0.34:
                break
    shelves = tuple(box(0, 0, z, 0.30, 0.90, 0.03, c) for z in (0.06, 0.42, 0.78, 1.14, 1.50, 1.86))
    sides = tuple(box(0, y, 0.0, 0.30, 0.03, 1.89, c) for y in (-0.45, 0.45))
    return (*sides, *shelves, box(-0.14, 0, 0.06, 0.02, 0.88, 1.80, _shade(c, 0.7)), *books)


def tv(c: Rgb) -> Parts:
    """A flat screen on a low cabinet of the named colour."""
    return (
        box(0, 0, 0.0, 0.40, 1.30, 0.45, c),
        *_front_panels(0.20, 1.26, [(0.06, 0.34)], 2, _shade(c, 1.2)),
        box(0, 0, 0.45, 0.20, 0.40, 0.02, _BLACK),
        box(0, 0, 0.47, 0.04, 0.10, 0.10, _BLACK),
        box(0, 0, 0.56, 0.05, 1.12, 0.64, _BLACK),
        box(0.022, 0, 0.59, 0.02, 1.06, 0.58, (0.16, 0.22, 0.32)),
    )


def floor_lamp(c: Rgb) -> Parts:
    """A tall lamp with a coloured shade."""
    return (
        post(0, 0, 0, 0.15, 0.03, _BLACK),
        post(0, 0, 0.03, 0.016, 1.35, _BLACK),
        post(0, 0, 1.30, 0.19, 0.28, c),
        post(0, 0, 1.29, 0.16, 0.012, _GLOW),
    )


def plant(c: Rgb) -> Parts:
    """A bush in a pot of the named colour."""
    leaves = (
        (0.0, 0.0, 0.78, 0.17, 0.17, 0.22),
        (0.12, 0.05, 0.66, 0.13, 0.10, 0.17),
        (-0.10, 0.09, 0.70, 0.11, 0.11, 0.18),
        (0.02, -0.13, 0.64, 0.13, 0.10, 0.17),
        (-0.09, -0.06, 0.90, 0.10, 0.10, 0.16),
    )
    greens = (_LEAF, (0.22, 0.55, 0.18), (0.12, 0.38, 0.12), (0.25, 0.50, 0.20), (0.18, 0.52, 0.16))
    return (
        post(0, 0, 0, 0.15, 0.30, c),
        post(0, 0, 0.30, 0.18, 0.05, _shade(c, 1.15)),
        post(0, 0, 0.35, 0.02, 0.25, _BROWN),
        *(_ball(*leaf, green) for leaf, green in zip(leaves, greens, strict=True)),
    )


def fridge(c: Rgb) -> Parts:
    """A fridge over a freezer, with long handles."""
    return (
        box(0, 0, 0.0, 0.60, 0.64, 1.78, _shade(c, 0.9)),
        box(0.31, 0, 0.04, 0.03, 0.62, 0.58, c),
        box(0.31, 0, 0.65, 0.03, 0.62, 1.11, c),
        box(0.34, 0.25, 0.30, 0.03, 0.03, 0.28, _STEEL),
        box(0.34, 0.25, 0.72, 0.03, 0.03, 0.50, _STEEL),
    )


def stove(c: Rgb) -> Parts:
    """An oven with a window and four burners."""
    burners = ((-0.14, -0.14, 0.09), (-0.14, 0.14, 0.07), (0.13, -0.14, 0.07), (0.13, 0.14, 0.09))
    return (
        box(0, 0, 0.0, 0.58, 0.60, 0.86, c),
        box(0, 0, 0.86, 0.60, 0.62, 0.03, _BLACK),
        *(post(x, y, 0.89, r, 0.012, (0.45, 0.10, 0.08)) for x, y, r in burners),
        box(0.30, 0, 0.14, 0.02, 0.52, 0.52, _shade(c, 0.75)),
        box(0.312, 0, 0.22, 0.01, 0.40, 0.28, (0.05, 0.05, 0.06)),
        box(0.32, 0, 0.62, 0.03, 0.46, 0.03, _STEEL),
        *(Part("cylinder", (0.31, y, 0.76), (0.02, 0.025, 0.025), _BLACK, "x") for y in (-0.2, -0.07, 0.07, 0.2)),
    )


def sink(c: Rgb) -> Parts:
    """A kitchen cabinet with a steel basin and a tap."""
    return (
        box(0, 0, 0.0, 0.56, 0.86, 0.84, c),
        box(-0.26, 0, 0.84, 0.08, 0.90, 0.06, _STEEL),
        box(0.26, 0, 0.84, 0.08, 0.90, 0.06, _STEEL),
        *(box(0, y, 0.84, 0.44, 0.16, 0.06, _STEEL) for y in (-0.37, 0.37)),
        box(0, 0, 0.84, 0.44, 0.58, 0.012, (0.35, 0.38, 0.40)),
        post(-0.26, 0, 0.90, 0.018, 0.24, _STEEL),
        box(-0.17, 0, 1.12, 0.20, 0.03, 0.03, _STEEL),
        *_front_panels(0.28, 0.82, [(0.08, 0.70)], 2, _shade(c, 1.15)),
    )


def washing_machine(c: Rgb) -> Parts:
    """A white box with a round window."""
    return (
        box(0, 0, 0.0, 0.58, 0.60, 0.86, c),
        Part("cylinder", (0.295, 0, 0.42), (0.02, 0.20, 0.20), _STEEL, "x"),
        Part("cylinder", (0.31, 0, 0.42), (0.015, 0.15, 0.15), (0.12, 0.16, 0.22), "x"),
        box(0.295, 0.18, 0.72, 0.015, 0.18, 0.09, _shade(c, 0.7)),
        Part("cylinder", (0.30, -0.05, 0.765), (0.02, 0.04, 0.04), _BLACK, "x"),
    )


def toilet(c: Rgb) -> Parts:
    """A bowl, a seat and a cistern."""
    return (
        box(-0.24, 0, 0.38, 0.18, 0.40, 0.38, c),
        box(-0.24, 0, 0.76, 0.20, 0.42, 0.03, _shade(c, 0.85)),
        box(-0.12, 0, 0.0, 0.30, 0.22, 0.38, c),
        _ball(0.08, 0, 0.27, 0.25, 0.19, 0.15, c),
        Part("ellipsoid", (0.08, 0, 0.40), (0.27, 0.20, 0.035), _shade(c, 0.8)),
        Part("ellipsoid", (0.10, 0, 0.425), (0.17, 0.12, 0.015), (0.25, 0.32, 0.36)),
        box(-0.24, 0, 0.79, 0.04, 0.06, 0.015, _STEEL),
    )


def bathtub(c: Rgb) -> Parts:
    """A tub with water and a tap; its long side is its front."""
    return (
        *(box(x, 0, 0.0, 0.07, 1.56, 0.56, c) for x in (-0.34, 0.34)),
        *(box(0, y, 0.0, 0.64, 0.08, 0.56, c) for y in (-0.74, 0.74)),
        box(0, 0, 0.0, 0.62, 1.42, 0.36, _WATER),
        post(0, -0.74, 0.56, 0.025, 0.20, _STEEL),
        box(0, -0.66, 0.72, 0.04, 0.18, 0.03, _STEEL),
    )


def washbasin(c: Rgb) -> Parts:
    """A basin on a column with a mirror above."""
    return (
        post(-0.10, 0, 0.0, 0.09, 0.70, c),
        box(0, 0, 0.70, 0.44, 0.56, 0.14, c),
        Part("ellipsoid", (0.03, 0, 0.845), (0.15, 0.20, 0.012), _WATER),
        post(-0.17, 0, 0.84, 0.016, 0.14, _STEEL),
        box(-0.12, 0, 0.97, 0.13, 0.03, 0.025, _STEEL),
        box(-0.21, 0, 1.22, 0.02, 0.56, 0.70, (0.70, 0.82, 0.88)),
        box(-0.215, 0, 1.19, 0.02, 0.62, 0.76, _STEEL),
    )


def bin_(c: Rgb) -> Parts:
    """A pedal bin."""
    return (
        post(0, 0, 0, 0.15, 0.46, c),
        post(0, 0, 0.46, 0.16, 0.03, _BLACK),
        _ball(0, 0, 0.49, 0.145, 0.145, 0.05, _shade(c, 0.7)),
    )


def laundry_basket(c: Rgb) -> Parts:
    """A basket with clothes in it."""
    bars = tuple(box(0, 0, z, 0.46, 0.46, 0.05, _shade(c, 0.75)) for z in (0.06, 0.22, 0.38))
    return (
        box(0, 0, 0.0, 0.43, 0.43, 0.46, c),
        *bars,
        _ball(0.05, 0.06, 0.47, 0.14, 0.12, 0.08, _WHITE),
        _ball(-0.07, -0.06, 0.47, 0.12, 0.13, 0.07, COLOURS["blue"]),
    )


def suitcase(c: Rgb) -> Parts:
    """A suitcase on wheels with its handle out."""
    return (
        box(0, 0, 0.05, 0.26, 0.44, 0.62, c),
        *(box(0.131, y, 0.09, 0.012, 0.03, 0.54, _shade(c, 0.7)) for y in (-0.14, 0, 0.14)),
        *(_ball(x, y, 0.03, 0.03, 0.03, 0.03, _BLACK) for x in (-0.1, 0.1) for y in (-0.18, 0.18)),
        *(box(-0.08, y, 0.67, 0.02, 0.02, 0.28, _STEEL) for y in (-0.10, 0.10)),
        box(-0.08, 0, 0.94, 0.04, 0.24, 0.03, _BLACK),
    )


def piano(c: Rgb) -> Parts:
    """An upright piano with keys."""
    blacks = tuple(box(0.19, -0.56 + 0.112 * i, 0.745, 0.10, 0.04, 0.015, _BLACK) for i in range(11))
    return (
        box(-0.14, 0, 0.0, 0.30, 1.40, 1.15, c),
        box(0.12, 0, 0.62, 0.34, 1.40, 0.09, _shade(c, 0.9)),
        box(0.20, 0, 0.71, 0.17, 1.26, 0.035, _WHITE),
        *blacks,
        *(box(0.24, y, 0.0, 0.07, 0.07, 0.62, c) for y in (-0.64, 0.64)),
        box(0.02, 0, 0.86, 0.02, 0.50, 0.24, _LINEN),
    )


def rug(c: Rgb) -> Parts:
    """A flat rug with a border; the robot can drive over it."""
    return (
        box(0, 0, 0.0, 1.50, 2.00, 0.008, _shade(c, 0.7)),
        box(0, 0, 0.008, 1.26, 1.76, 0.004, c),
    )
