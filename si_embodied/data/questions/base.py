"""What a question is, how its types are registered, and what they share: who can be named, what is clearly seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from si_embodied.data.marks import draw_marks, mark_radius
from si_embodied.errors import UnknownNameError
from si_embodied.geometry import project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from si_embodied.data.scenes import Scene, Source
    from si_embodied.data.views import LabelledView, SeenObject

Form: TypeAlias = Literal["choice", "number", "point", "box", "plan"]
"""How an answer is given: a letter, a number, [x, y] or [x0, y0, x1, y1] in 0..1000 of the image, a plan as JSON."""

LETTERS = "ABCDEFGH"
_NEARER_BY = 1.3
CAPABILITIES: dict[str, str] = {
    "metric": "metric measurement",
    "relation": "spatial relations",
    "perspective": "perspective taking",
    "reconstruction": "mental reconstruction",
    "assembly": "deformation and assembly",
    "reasoning": "comprehensive reasoning",
    "grounding": "grounding",
    "planning": "planning",
}


class LeftOut(Exception):
    """No clear question of this type here; the reason is counted."""

    def __init__(self, reason: str) -> None:
        """`reason` is a few words, the same for every case of its kind."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Slot:
    """A question to be made, by its number within its type; balance comes from here and not from chance."""

    number: int

    def content(self, count: int) -> int:
        """Which of `count` answers it is to have."""
        return self.number % count

    def position(self, contents: int, options: int) -> int:
        """Where among `options` the right one stands, independent of `content(contents)`."""
        return (self.number // contents) % options


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question with its answer and all that is needed to score an answer to it."""

    form: Form
    text: str  # without the images' placeholders and without the options
    images: tuple[NDArray[np.uint8], ...]  # each (H, W, 3)
    answer: str
    options: tuple[str, ...] = ()  # the choices' texts; empty texts where the picture shows them
    accepts: Mapping[str, Any] = field(default_factory=dict)  # "box": what a point must hit, "unit": of a number


Ask: TypeAlias = Callable[["Scene", Slot, np.random.Generator], Question]


@dataclass(frozen=True, slots=True)
class QuestionType:
    """A registered way to ask."""

    name: str  # "relation.left_right"
    source: Source
    ask: Ask

    @property
    def capability(self) -> str:
        """The capability's short name: what stands before the dot."""
        return self.name.partition(".")[0]


_TYPES: dict[str, QuestionType] = {}
_F = TypeVar("_F", bound=Ask)


def question(name: str, source: Source) -> Callable[[_F], _F]:
    """Register a function (scene, slot, rng) -> Question, which raises LeftOut where it has nothing clear to ask."""

    def register(ask: _F) -> _F:
        _TYPES[name] = QuestionType(name, source, ask)
        return ask

    return register


def question_types(kinds: Sequence[str] = ()) -> tuple[QuestionType, ...]:
    """The types of the given names or capabilities, all of them by default, in the order of their names.

    Raises:
        UnknownNameError: a kind that is neither.
    """
    import si_embodied.data.questions  # noqa: F401  (registers them)

    for kind in kinds:
        if kind not in _TYPES and kind not in CAPABILITIES:
            raise UnknownNameError("kind of question", kind, [*CAPABILITIES, *_TYPES])
    chosen = (t for t in _TYPES.values() if not kinds or t.name in kinds or t.capability in kinds)
    return tuple(sorted(chosen, key=lambda t: t.name))


# --- building -------------------------------------------------------------------------------------------------------


def choice(
    text: str, images: Sequence[NDArray[np.uint8]], right: str, wrong: Sequence[str], slot: Slot,
    rng: np.random.Generator, contents: int = 1,
) -> Question:  # fmt: skip
    """A multiple-choice question; the right option's place comes from the slot, the others' from the generator."""
    others = [wrong[int(k)] for k in rng.permutation(len(wrong))]
    place = slot.position(contents, len(others) + 1)
    options = (*others[:place], right, *others[place:])
    return Question("choice", text, tuple(images), LETTERS[place], options)


def pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    """One of the items, which must not be empty."""
    return items[int(rng.integers(len(items)))]


def some_view(scene: Scene, rng: np.random.Generator) -> LabelledView:
    """One of the scene's views: a tabletop's is the head's."""
    if not scene.views:
        raise LeftOut("no view with enough to see")
    return (
        scene.views[0] if scene.source in ("tabletop", "sorter") else scene.views[int(rng.integers(len(scene.views)))]
    )


def shuffled(rng: np.random.Generator, items: Sequence[Any]) -> list[Any]:
    """The items in random order."""
    return [items[int(k)] for k in rng.permutation(len(items))]


def some_of(rng: np.random.Generator, items: Sequence[Any], count: int, what: str = "clear objects") -> list[Any]:
    """`count` of the items in random order.

    Raises:
        LeftOut: there are fewer.
    """
    if len(items) < count:
        raise LeftOut(f"fewer than {count} {what}")
    return shuffled(rng, items)[:count]


def nearest_first(things: Sequence[SeenObject], place: NDArray[np.float64]) -> list[SeenObject]:
    """Things by the distance of their middles to a place (2,) of the map; the second is farther by three tenths.

    Raises:
        LeftOut: it is not.
    """
    away = {o.id: float(np.linalg.norm(ground(o) - place)) for o in things}
    ranked = sorted(things, key=lambda o: away[o.id])
    if away[ranked[1].id] < _NEARER_BY * away[ranked[0].id]:
        raise LeftOut("two equally near")
    return ranked


# --- what can be asked about ---------------------------------------------------------------------------------------


def enough_px(view: LabelledView, pixels_at_224: int) -> float:
    """A number of pixels at 224 x 224, at this view's size."""
    return pixels_at_224 * (view.instances.size / 224**2)


def clear_objects(view: LabelledView, pixels_at_224: int = 150) -> list[SeenObject]:
    """Objects of which enough is visible, rugs aside: they lie under everything."""
    enough = enough_px(view, pixels_at_224)
    return [o for o in view.objects if o.pixels >= enough and o.category != "rug"]


def named_objects(view: LabelledView, pixels_at_224: int = 150) -> list[SeenObject]:
    """Clear objects whose name fits nothing else in the scene."""
    return [o for o in clear_objects(view, pixels_at_224) if o.unique]


def table_objects(view: LabelledView) -> list[SeenObject]:
    """What can be picked up from a table, clearly seen; bowls, bins and the sorter aside: their size tells of them."""
    return [o for o in clear_objects(view, 45) if o.category not in ("bowl", "bin", "shape sorter")]


def in_camera(view: LabelledView, thing: SeenObject) -> NDArray[np.float64]:
    """The thing's middle (3,) in the optical frame, metres."""
    return view.frame.T_map_camera.inverse().apply(thing.T_map_object.translation)


def ground(thing: SeenObject) -> NDArray[np.float64]:
    """The thing's middle (2,) on the map."""
    return np.asarray(thing.T_map_object.translation[:2])


def outline_px(view: LabelledView, thing: SeenObject) -> tuple[float, float, float, float] | None:
    """The projected bounding box x0, y0, x1, y1 of the whole thing, seen or not; None if some of it is behind."""
    signs = np.array([[sx, sy, sz] for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)])
    corners = thing.T_map_object.apply(signs * thing.size_m / 2)
    uv = project(view.frame.intrinsics, view.frame.T_map_camera.inverse().apply(corners))
    if not np.isfinite(uv).all():
        return None
    return float(uv[:, 0].min()), float(uv[:, 1].min()), float(uv[:, 0].max()), float(uv[:, 1].max())


def is_whole(view: LabelledView, thing: SeenObject, share: float = 0.75) -> bool:
    """Whether (nearly) all of a thing's extent is in the picture and in sight."""
    whole = outline_px(view, thing)
    if whole is None:
        return False
    width, height = view.frame.intrinsics.width, view.frame.intrinsics.height
    if whole[0] < 0 or whole[1] < 0 or whole[2] > width - 1 or whole[3] > height - 1:
        return False
    x0, y0, x1, y1 = thing.box_px
    return x1 - x0 >= share * (whole[2] - whole[0]) and y1 - y0 >= share * (whole[3] - whole[1])


def on_own_pixel(view: LabelledView, thing: SeenObject) -> tuple[float, float]:
    """Where to put a mark so that it lies on the thing."""
    del view
    return thing.point_px


def apart(view: LabelledView, points: Sequence[tuple[float, float]], radii: float = 2.4) -> bool:
    """Whether marks at these pixels would not touch each other."""
    p = np.array(points)
    gaps = np.linalg.norm(p[:, None] - p[None], axis=-1)[np.triu_indices(len(p), 1)]
    return not len(gaps) or bool(gaps.min() >= radii * mark_radius(view.frame.intrinsics.width))


def marked(view: LabelledView, things: Sequence[SeenObject], texts: Sequence[str]) -> NDArray[np.uint8]:
    """The view's picture with a mark on each thing.

    Raises:
        LeftOut: the marks would touch.
    """
    points = [on_own_pixel(view, thing) for thing in things]
    if not apart(view, points):
        raise LeftOut("marks too close together")
    return draw_marks(view.frame.rgb, [(u, v, text) for (u, v), text in zip(points, texts, strict=True)])


def relative_1000(view: LabelledView, u: float, v: float) -> tuple[int, int]:
    """A pixel in 0..1000 of its image."""
    from si_embodied.grounding import point_of

    return point_of(u, v, view.frame.intrinsics.width, view.frame.intrinsics.height)


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """A x b on the map: positive when b is to the left of a."""
    return float(a[0] * b[1] - a[1] * b[0])


def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Signed angle from a to b on the map, degrees, left positive, in (-180, 180]."""
    return float(np.degrees(np.arctan2(cross(a, b), float(a @ b))))
