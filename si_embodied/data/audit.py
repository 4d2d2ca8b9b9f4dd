"""The shortcut audit: how far one gets without looking.

For every type, cross-validated: the best constant answer, and what a multinomial naive Bayes model over the question's
words and pairs of words answers. Neither may be more than 5 points above chance (multiple choice) or above the best
constant (numbers, points, boxes, plans); otherwise the words give the answer away.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.questions.base import LETTERS
from si_embodied.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from si_embodied.data.records import Conversation, Labels

ALLOWED = 0.05
ENOUGH = 300
"""Questions of a type below which its figures are mostly noise: five points are then less than two standard errors."""
_FOLDS, _SMOOTHING, _GRID, _BINS = 5, 0.5, 4, 8
_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
_MIN_IOU = 0.5


@dataclass(frozen=True, slots=True)
class TypeAudit:
    """What can be scored on one type without an image."""

    type: str
    form: str
    count: int
    chance: float  # of multiple choice; elsewhere the best constant's score
    constant: float  # the answer that is right most often in the other folds
    text: float  # the better of the text-only models
    error: float  # standard error of `text`

    @property
    def excess(self) -> float:
        """By how much the better of the two beats chance."""
        return max(self.constant, self.text) - self.chance

    @property
    def passes(self) -> bool:
        """Whether neither is more than 5 points above chance."""
        return self.excess <= ALLOWED


# --- scores ---------------------------------------------------------------------------------------------------------


def mean_relative_accuracy(answer: float, truth: float) -> float:
    """The share of thresholds t in 0.5, 0.55, …, 0.95 with a relative error below 1 - t.

    Yang et al., "Thinking in Space" (VSI-Bench), arXiv 2412.14171, section 3.3.
    """
    if truth == 0:
        return float(answer == 0)
    return float((abs(answer - truth) / abs(truth) < 1 - _THRESHOLDS).mean())


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    either = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)) - both
    return both / either if either > 0 else 0.0


def numbers_in(text: str) -> list[float]:
    """Every number in an answer."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def score(answer: str, labels: Labels) -> float:
    """How right an answer is, 0 to 1: a letter, a number (mean relative accuracy), a point in the box, a box, a plan.

    A plan is right when it has the right skills in the right order and its first point lies near the right one.
    """
    if labels.form == "choice":
        return float(answer.strip()[:1].upper() == labels.answer)
    if labels.form == "plan":
        return _score_plan(answer, labels)
    found = numbers_in(answer)
    if labels.form == "number":
        return mean_relative_accuracy(found[0], float(labels.answer)) if found else 0.0
    if labels.form == "point":
        return float(len(found) == 2 and _is_in(found, labels.accepts["box"]))
    return float(len(found) == 4 and overlap(found, labels.accepts["box"]) >= _MIN_IOU)


def _is_in(point: Sequence[float], box: Sequence[float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _score_plan(answer: str, labels: Labels) -> float:
    try:
        subgoals = json.loads(answer)["subgoals"]
        skills = [subgoal["skill"] for subgoal in subgoals]
        point = subgoals[0].get("point") if subgoals else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0
    if skills != labels.accepts["skills"]:
        return 0.0
    box = labels.accepts.get("box")
    return float(box is None or (isinstance(point, list) and len(point) == 2 and _is_in(point, box)))


# --- models that do not look ----------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Words and pairs of words, in lower case."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


class NaiveBayes:
    """Multinomial naive Bayes over counts, with additive smoothing."""

    def __init__(self, bags: Sequence[Sequence[str]], classes: NDArray[np.int64]) -> None:
        """Learn from bags of words and their classes 0..K-1."""
        seen = Counter(word for bag in bags for word in set(bag))
        self._index = {word: i for i, word in enumerate(sorted(w for w, n in seen.items() if n > 1))}
        count = int(classes.max()) + 1
        totals = np.full((count, len(self._index) + 1), _SMOOTHING)
        for bag, k in zip(bags, classes, strict=True):
            for word in bag:
                totals[k, self._index.get(word, -1)] += 1
        self._log = np.log(totals) - np.log(totals.sum(axis=1, keepdims=True))
        self._prior = np.log(np.bincount(classes, minlength=count) + _SMOOTHING)

    def scores(self, bag: Sequence[str]) -> NDArray[np.float64]:
        """Log posterior (K,) of a bag, up to a constant; words never seen say nothing."""
        known = [self._index[word] for word in bag if word in self._index]
        return np.asarray(self._prior + self._log[:, known].sum(axis=1))


_Entry = tuple[str, "Labels"]


def _folds(count: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    order = np.random.default_rng(0).permutation(count)
    parts = np.array_split(order, _FOLDS)
    return [(np.concatenate([p for j, p in enumerate(parts) if j != k]), parts[k]) for k in range(_FOLDS)]


def _classes(train: Sequence[Labels]) -> tuple[NDArray[np.int64], list[str]]:
    """A class for each answer, and for each class the answer to give for it."""
    form = train[0].form
    if form == "choice":
        names = sorted({labels.answer for labels in train})
        return np.array([names.index(labels.answer) for labels in train]), names
    if form == "number":
        values = np.array([float(labels.answer) for labels in train])
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        keys: list[object] = np.searchsorted(edges, values).tolist()
    elif form == "plan":
        keys = [(tuple(labels.accepts["skills"]), _cell(labels.accepts.get("box"))) for labels in train]
    else:
        keys = [_cell(labels.accepts["box"]) for labels in train]
    names_of = sorted(set(keys), key=repr)
    classes = np.array([names_of.index(key) for key in keys])
    groups = [[train[i] for i in np.flatnonzero(classes == k)] for k in range(len(names_of))]
    return classes, [_typical(group) for group in groups]


def _cell(box: Sequence[float] | None) -> tuple[int, int] | None:
    """Which cell of a coarse grid over the image a box's middle is in."""
    if box is None:
        return None
    column, row = (min(_GRID - 1, int((box[i] + box[i + 2]) / 2 / 1000 * _GRID)) for i in (0, 1))
    return column, row


def _typical(group: Sequence[Labels]) -> str:
    """The answer to give when one knows no more than that it is one of these."""
    form = group[0].form
    if form == "number":
        return str(float(np.median([float(labels.answer) for labels in group])))
    if form == "point":
        return str([float(v) for v in np.median([numbers_in(labels.answer) for labels in group], axis=0)])
    if form == "box":
        return str([float(v) for v in np.median([labels.accepts["box"] for labels in group], axis=0)])
    skills, boxes = group[0].accepts["skills"], [x.accepts["box"] for x in group if "box" in x.accepts]
    middle = np.median(boxes, axis=0) if boxes else None
    point = [] if middle is None else [float(middle[0] + middle[2]) / 2, float(middle[1] + middle[3]) / 2]
    first = {"skill": skills[0], "point": point}
    return json.dumps({"subgoals": [first, *({"skill": skill} for skill in skills[1:])]})


def _constant(train: Sequence[Labels], answers: Sequence[str]) -> str:
    """The answer that would have scored most on the other folds."""
    everything = [] if train[0].form in ("choice", "plan") else [_typical(train)]
    return max([*answers, *everything], key=lambda a: sum(score(a, labels) for labels in train))


def _by_options(train: Sequence[_Entry]) -> Callable[[str, Labels], str]:
    """A model of what right options sound like, given the question: it takes the likeliest of those on offer."""

    def bags(text: str, labels: Labels) -> list[list[str]]:
        asked = set(words_of(text.partition("\nA. ")[0]))
        # An option's words, and whether the question has them too.
        return [[*words_of(o), *(f"{w} asked" for w in words_of(o) if w in asked)] for o in labels.options]

    everything, right = [], []
    for text, labels in train:
        for k, bag in enumerate(bags(text, labels)):
            everything.append(bag)
            right.append(int(LETTERS[k] == labels.answer))
    model = NaiveBayes(everything, np.array(right))

    def answer(text: str, labels: Labels) -> str:
        odds = [float(np.diff(model.scores(bag))[0]) for bag in bags(text, labels)]
        return LETTERS[int(np.argmax(odds))]

    return answer


def audit_type(name: str, entries: Sequence[_Entry]) -> TypeAudit:
    """Audit the questions of one type: (human text, labels) of each.

    Raises:
        DataError: too few to cross-validate.
    """
    if len(entries) < 2 * _FOLDS:
        raise DataError(f"{len(entries)} questions of type {name!r}: at least {2 * _FOLDS} are needed for an audit")
    form, count = entries[0][1].form, len(entries)
    bags = [words_of(text) for text, _ in entries]
    constant, text_scores, option_scores = np.zeros(count), np.zeros(count), np.zeros(count)
    for train, test in _folds(count):
        known = [entries[i] for i in train]
        classes, answers = _classes([labels for _, labels in known])
        fixed = _constant([labels for _, labels in known], answers)
        model = NaiveBayes([bags[i] for i in train], classes)
        with_options = _by_options(known) if form == "choice" and any(entries[0][1].options) else None
        for i in test:
            text, labels = entries[i]
            constant[i] = score(fixed, labels)
            text_scores[i] = score(answers[int(np.argmax(model.scores(bags[i])))], labels)
            if with_options is not None:
                option_scores[i] = score(with_options(text, labels), labels)
    best = max(text_scores, option_scores, key=lambda s: float(s.mean()))
    is_choice = form == "choice"
    chance = float(np.mean([1 / len(labels.options) for _, labels in entries])) if is_choice else float(constant.mean())
    error = float(best.std()) / math.sqrt(count)
    return TypeAudit(name, form, count, chance, float(constant.mean()), float(best.mean()), error)


def audit(dataset: Iterable[tuple[Conversation, Labels]]) -> list[TypeAudit]:
    """Audit every type of a data set, in the order of their names."""
    groups: dict[str, list[_Entry]] = defaultdict(list)
    for entry, labels in dataset:
        groups[labels.type].append((entry.question, labels))
    return [audit_type(name, groups[name]) for name in sorted(groups)]
