"""Held-out accuracy of decisions: is each part of the teacher's answer predicted from the parts before it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.training.decision_batches import decision_batch, image_tokens
from si_embodied.training.forward import logits_of, read
from si_embodied.training.measure import NEAR
from si_embodied.training.vocabulary import NUMBERS

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.training.decisions import Taught
    from si_embodied.training.material import DecisionPool

_WORD_WEIGHT = 0.4
"""Tokens with at least this weight in the loss are skills, names, views and `done`; the others are the JSON's."""


def measure_decisions(model: Any, held_out: DecisionPool, *, each: int = 48, batch: int = 16) -> dict[str, float]:
    """Accuracy by task, on `each` decisions of each, drawn as in training.

    `… words` is the share of decisions whose skills, names, views and `done` are all right, `… points` that of numbers
    within `NEAR`; each part is predicted given the teacher's parts before it.
    """
    rng, found = np.random.default_rng(0), {}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for task in held_out.tasks:
            chosen = held_out.draw(rng, each, [task])
            words: list[bool] = []
            points: list[bool] = []
            for at in range(0, len(chosen), batch):
                _add_hits(model, chosen[at : at + batch], words, points)
            name = task.partition("/")[2].replace("-v0", "")
            found[f"{name} words"] = round(float(np.mean(words)), 4)
            if points:
                found[f"{name} points"] = round(float(np.mean(points)), 4)
    model.train(was_training)
    return found


def _add_hits(model: Any, decisions: Sequence[Taught], words: list[bool], points: list[bool]) -> None:
    packed_up = decision_batch(decisions)
    packed = packed_up.packed
    hidden = read(model, packed, image_tokens(model, packed_up))
    for row, targets, weights in zip(hidden, packed.targets, packed.weights, strict=True):
        counted = weights >= _WORD_WEIGHT
        logits, told = logits_of(model, row[counted]), targets[counted]
        number = told < NUMBERS
        said = torch.where(number, logits[:, :NUMBERS].argmax(1), logits.argmax(1))
        words.append(bool((said == told)[~number].all()))
        points += ((said - told).abs() <= NEAR)[number].tolist()
