"""What a question is, how a type is registered, and how questions are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from si_embodied.data.records import PLACEHOLDER, Accepts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.data.scenes import Scene, Source
    from si_embodied.data.views import LabelledView

Form: TypeAlias = Literal["choice", "number", "point", "box", "plan"]
"""The form of an answer: a letter, a number, [x, y] or [x0, y0, x1, y1] in 0..1000 of the image, or a plan as JSON."""

LETTERS = "ABCDEFGH"
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
    """The scene has no unambiguous question of this type. The engine counts the reasons in the manifest."""

    def __init__(self, reason: str) -> None:
        """`reason` is a few words, identical for all cases of one kind."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Slot:
    """The number of a question within its type, which determines its answer: balance is planned, not left to chance."""

    number: int

    def content(self, count: int) -> int:
        """Which of `count` possible answers the question must have."""
        return self.number % count

    def position(self, contents: int, options: int) -> int:
        """The index of the right answer among `options`, independent of `content(contents)`."""
        return (self.number // contents) % options


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question with its answer and everything needed to score a reply."""

    form: Form
    text: str  # without image placeholders and options
    images: tuple[NDArray[np.uint8], ...]  # each (H, W, 3)
    answer: str
    options: tuple[str, ...] = ()  # of a choice; empty strings where the image shows the options
    accepts: Accepts = Accepts()


Ask: TypeAlias = Callable[["Scene", Slot, "np.random.Generator"], Question]


@dataclass(frozen=True, slots=True)
class QuestionType:
    """A registered type of question."""

    name: str  # "relation.left_right"
    source: Source
    ask: Ask

    @property
    def capability(self) -> str:
        """The capability's short name, the part of `name` before the dot."""
        return self.name.partition(".")[0]


REGISTERED: dict[str, QuestionType] = {}
"""By name. Complete once `si_embodied.data.questions` is imported."""

_F = TypeVar("_F", bound=Ask)
_T = TypeVar("_T")


def question(name: str, source: Source) -> Callable[[_F], _F]:
    """Register a function (scene, slot, rng) -> Question that raises LeftOut if the scene has no unambiguous case."""

    def register(ask: _F) -> _F:
        REGISTERED[name] = QuestionType(name, source, ask)
        return ask

    return register


def choice(
    text: str, images: Sequence[NDArray[np.uint8]], right: str, wrong: Sequence[str], slot: Slot,
    rng: np.random.Generator, contents: int = 1,
) -> Question:  # fmt: skip
    """A multiple-choice question: the slot sets the letter of the right option, and `rng` shuffles the others."""
    others = shuffled(rng, wrong)
    place = slot.position(contents, len(others) + 1)
    options = (*others[:place], right, *others[place:])
    return Question("choice", text, tuple(images), LETTERS[place], options)


def balanced_choice(
    text: str, images: Sequence[NDArray[np.uint8]], options: Sequence[str], wanted: int, slot: Slot,
    rng: np.random.Generator,
) -> Question:  # fmt: skip
    """A multiple-choice question whose right option, `wanted`, came from `slot.content(len(options))`."""
    wrong = [option for k, option in enumerate(options) if k != wanted]
    return choice(text, images, options[wanted], wrong, slot, rng, len(options))


def full_text(question: Question) -> str:
    """The human turn: a placeholder for each image, the question, its options, and how to answer."""
    count = len(question.images)
    heads = [PLACEHOLDER] if count == 1 else [f"Image-{k}: {PLACEHOLDER}" for k in range(1, count + 1)]
    lines = [*heads, question.text]
    if question.form == "choice":
        lines += [f"{LETTERS[k]}. {option}" for k, option in enumerate(question.options) if option]
        lines.append("Answer with the option's letter.")
    elif question.form == "number":
        lines.append("Answer with a number.")
    return "\n".join(lines)


def pick(rng: np.random.Generator, items: Sequence[_T]) -> _T:
    """A random item of a sequence that is not empty."""
    return items[int(rng.integers(len(items)))]


def shuffled(rng: np.random.Generator, items: Sequence[_T]) -> list[_T]:
    """The items in random order."""
    return [items[int(k)] for k in rng.permutation(len(items))]


def some_of(rng: np.random.Generator, items: Sequence[_T], count: int, what: str = "clear objects") -> list[_T]:
    """`count` of the items in random order.

    Raises:
        LeftOut: there are fewer than `count`.
    """
    if len(items) < count:
        raise LeftOut(f"fewer than {count} {what}")
    return shuffled(rng, items)[:count]


def some_view(scene: Scene, rng: np.random.Generator) -> LabelledView:
    """A random view of the scene; on a tabletop, the head camera's."""
    if not scene.views:
        raise LeftOut("no view with enough to see")
    return scene.views[0] if scene.source in ("tabletop", "sorter") else pick(rng, scene.views)
