"""The shortcut audit: how well can the questions be answered without the images?

For every type it cross-validates the best constant answer and a multinomial naive Bayes model over the question's words
and word pairs. Neither may score more than 5 points above chance (multiple choice) or above the best constant (numbers,
points, boxes, plans); otherwise the wording gives the answer away.
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

from si_embodied.data.questions import LETTERS
from si_embodied.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from si_embodied.data.records import Conversation, Labels

ALLOWED = 0.05
ENOUGH = 300
"""Below this many questions, a type's figures are mostly noise: 5 points are less than two standard errors."""
_FOLDS, _SMOOTHING, _GRID, _BINS = 5, 0.5, 4, 8
_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
_MIN_IOU = 0.5


@dataclass(frozen=True, slots=True)
class TypeAudit:
    """The scores that one type yields without images."""

    type: str
    form: str
    count: int
    chance: float  # of a multiple choice; for other forms, the best constant's score
    constant: float  # score of the answer that scores best on the other folds
    text: float  # score of the better text-only model
    error: float  # standard error of `text`

    @property
    def excess(self) -> float:
        """How far the better of the two is above chance."""
        return max(self.constant, self.text) - self.chance

    @property
    def passes(self) -> bool:
        """Whether neither is more than `ALLOWED` above chance."""
        return self.excess <= ALLOWED


# --- scores ---------------------------------------------------------------------------------------------------------


def mean_relative_accuracy(answer: float, truth: float) -> float:
    """The share of thresholds t in 0.5, 0.55, …, 0.95 for which the relative error is below 1 - t.

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
    """All numbers in a text."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def score(answer: str, labels: Labels) -> float:
    """The score of an answer, 0 to 1.

    A letter must match, and a number scores its mean relative accuracy. A point must lie in the accepted box, and a box
    must overlap it with an IoU of at least 0.5. A plan must have the right skills in order and its first point in the
    accepted box.
    """
    if labels.form == "choice":
        return float(answer.strip()[:1].upper() == labels.answer)
    if labels.form == "plan":
        return _score_plan(answer, labels)
    found = numbers_in(answer)
    if labels.form == "number":
        return mean_relative_accuracy(found[0], float(labels.answer)) if found else 0.0
    if labels.form == "point":
        return float(len(found) == 2 and _is_in(found, labels.box))
    return float(len(found) == 4 and overlap(found, labels.box) >= _MIN_IOU)


def _is_in(point: Sequence[float], box: Sequence[float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _score_plan(answer: str, labels: Labels) -> float:
    try:
        subgoals = json.loads(answer)["subgoals"]
        skills = [subgoal["skill"] for subgoal in subgoals]
        point = subgoals[0].get("point") if subgoals else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0
    if skills != list(labels.accepts.skills or ()):
        return 0.0
    box = labels.accepts.box
    return float(box is None or (isinstance(point, list) and len(point) == 2 and _is_in(point, box)))


# --- text-only models -----------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words and word pairs of a text, in lower case."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


class NaiveBayes:
    """Multinomial naive Bayes over counts, with additive smoothing."""

    def __init__(self, bags: Sequence[Sequence[str]], classes: NDArray[np.int64]) -> None:
        """Fit to bags of words and their classes 0..K-1."""
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
        """Log posterior (K,) of a bag, up to a constant; unknown words are ignored."""
        known = [self._index[word] for word in bag if word in self._index]
        return np.asarray(self._prior + self._log[:, known].sum(axis=1))


_Entry = tuple[str, "Labels"]


def _folds(count: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    order = np.random.default_rng(0).permutation(count)
    parts = np.array_split(order, _FOLDS)
    return [(np.concatenate([p for j, p in enumerate(parts) if j != k]), parts[k]) for k in range(_FOLDS)]


def _classes(train: Sequence[Labels]) -> tuple[NDArray[np.int64], list[str]]:
    """The class of each answer, and the answer to give for each class."""
    form = train[0].form
    if form == "choice":
        names = sorted({labels.answer for labels in train})
        return np.array([names.index(labels.answer) for labels in train]), names
    if form == "number":
        values = np.array([float(labels.answer) for labels in train])
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        keys: list[object] = np.searchsorted(edges, values).tolist()
    elif form == "plan":
        keys = [(labels.accepts.skills, _cell(labels.accepts.box)) for labels in train]
    else:
        keys = [_cell(labels.box) for labels in train]
    names_of = sorted(set(keys), key=repr)
    classes = np.array([names_of.index(key) for key in keys])
    groups = [[train[i] for i in np.flatnonzero(classes == k)] for k in range(len(names_of))]
    return classes, [_typical(group) for group in groups]


def _cell(box: Sequence[float] | None) -> tuple[int, int] | None:
    """The cell of a coarse grid over the image that contains the box's centre."""
    if box is None:
        return None
    column, row = (min(_GRID - 1, int((box[i] + box[i + 2]) / 2 / 1000 * _GRID)) for i in (0, 1))
    return column, row


def _typical(group: Sequence[Labels]) -> str:
    """The best single answer to a group of questions."""
    form = group[0].form
    if form == "number":
        return str(float(np.median([float(labels.answer) for labels in group])))
    if form == "point":
        return str([float(v) for v in np.median([numbers_in(labels.answer) for labels in group], axis=0)])
    if form == "box":
        return str([float(v) for v in np.median([labels.box for labels in group], axis=0)])
    skills, boxes = group[0].accepts.skills or (), [x.accepts.box for x in group if x.accepts.box]
    middle = np.median(boxes, axis=0) if boxes else None
    point = [] if middle is None else [float(middle[0] + middle[2]) / 2, float(middle[1] + middle[3]) / 2]
    subgoals = [{"skill": skill, "point": point} if k == 0 else {"skill": skill} for k, skill in enumerate(skills)]
    return json.dumps({"subgoals": subgoals})


def _constant(train: Sequence[Labels], answers: Sequence[str]) -> str:
    """The answer with the highest total score on the training folds."""
    everything = [] if train[0].form in ("choice", "plan") else [_typical(train)]
    return max([*answers, *everything], key=lambda a: sum(score(a, labels) for labels in train))


def _by_options(train: Sequence[_Entry]) -> Callable[[str, Labels], str]:
    """A model that picks the option whose words are most typical of right options, given the question."""

    def bags(text: str, labels: Labels) -> list[list[str]]:
        asked = set(words_of(text.partition("\nA. ")[0]))
        # An option's words, each also marked if the question contains it.
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
    """Audit the questions of one type, each given as (human turn, labels).

    Raises:
        DataError: there are too few to cross-validate.
    """
    if len(entries) < 2 * _FOLDS:
        raise DataError(
            f"{len(entries)} questions of type {name!r}: an audit needs at least {2 * _FOLDS}, generate more"
        )
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
    """Audit every type of a data set; returns them sorted by name."""
    groups: dict[str, list[_Entry]] = defaultdict(list)
    for entry, labels in dataset:
        groups[labels.type].append((entry.question, labels))
    return [audit_type(name, groups[name]) for name in sorted(groups)]
