"""The training loss: what each cell shows, in the language model's own words, and the tokens of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra
from si_embodied.training.architecture import words_of
from si_embodied.training.decision_batches import image_tokens
from si_embodied.training.examples import NO_LABEL
from si_embodied.training.forward import encode_images, logits_of, read
from si_embodied.training.vocabulary import CATEGORIES, COLOURS, NUMBERS

with extra("models"):
    import torch
    from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from si_embodied.training.batches import Batch
    from si_embodied.training.decision_batches import DecisionBatch
    from si_embodied.training.rows import Packed

POINT_SPREAD = 12.0
"""Standard deviation of a coordinate's soft target, of 1000: half the size of a small object. A one-hot target treats
513 and 7 as equally wrong for 512, and takes far longer to learn."""
_SHARPNESS = 24.0  # scale of the cosine similarities with words
_NOTHING = "floor"
_NOTHING_WEIGHT = 0.15


class CellReaders(torch.nn.Module):
    """Two linear maps that read an object's x and y off its cells; only training needs them."""

    def __init__(self, width: int, seed: int) -> None:
        """Start as random rotations, so that x and y do not interfere with each other."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed + 1)
        for name in ("x", "y"):
            rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
            self.register_parameter(name, torch.nn.Parameter(rotation.contiguous()))


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of one step's loss."""

    total: Tensor
    cells: float
    answers: float
    decisions: float
    cell_accuracy: float  # share of the cells with an object whose category and colour are both right


@cache
def _soft_points() -> Tensor:
    """Soft targets (NUMBERS, NUMBERS): row n is a Gaussian around n."""
    numbers = torch.arange(NUMBERS, dtype=torch.float32)
    spread = torch.exp(-0.5 * ((numbers[:, None] - numbers[None]) / POINT_SPREAD) ** 2)
    return spread / spread.sum(dim=1, keepdim=True)


@cache
def _label_words() -> tuple[Tensor, Tensor]:
    return words_of((*CATEGORIES, _NOTHING)), words_of(COLOURS)


def losses(
    model: Any,
    readers: CellReaders,
    batch: Batch,
    decisions: Sequence[DecisionBatch] = (),
    *,
    cell_weight: float,
    bfloat16: bool = False,
) -> Losses:
    """The loss of a step: always the cells; also the answers if the batch has questions, and the decisions.

    With `bfloat16`, the layers compute in it, and the losses in float32.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        tokens = encode_images(model, batch.images, batch.cells).float()
        hidden = None if batch.packed is None else read(model, batch.packed, tokens)
        read_decisions = [read(model, one.packed, image_tokens(model, one)) for one in decisions]
    cells, accuracy = cell_loss(model, readers, tokens.flatten(0, 1), batch.labels.flatten(0, 1))
    answers = decided = torch.zeros(())
    if batch.packed is not None and hidden is not None:
        answers = answer_loss(model, batch.packed, hidden)
    if decisions:
        pairs = zip(decisions, read_decisions, strict=True)
        decided = torch.stack([answer_loss(model, one.packed, hidden) for one, hidden in pairs]).mean()
    alone = batch.packed is None and not decisions
    total = cells if alone else cell_weight * cells + answers + decided
    return Losses(total, float(cells.detach()), float(answers.detach()), float(decided.detach()), accuracy)


def cell_loss(model: Any, readers: CellReaders, tokens: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Classify image tokens (N, width) by cosine similarity with words, and read the object's point off them.

    Returns the loss and the share of object tokens whose category and colour are both right.
    """
    words = model.model.language_model.embed_tokens.weight
    category_words, colour_words = _label_words()
    occupied = labels[:, 0] != NO_LABEL
    direction = functional.normalize(tokens, dim=1)
    categories = _SHARPNESS * direction @ functional.normalize(words[category_words].mean(1), dim=1).T
    wanted = torch.where(occupied, labels[:, 0], len(category_words) - 1)
    weight = torch.where(occupied, 1.0, _NOTHING_WEIGHT)
    loss = (functional.cross_entropy(categories, wanted, reduction="none") * weight).sum() / weight.sum()
    if not bool(occupied.any()):
        return loss, 0.0
    seen, targets = direction[occupied], labels[occupied]
    colours = _SHARPNESS * seen @ functional.normalize(words[colour_words].mean(1), dim=1).T
    loss = loss + functional.cross_entropy(colours, targets[:, 1])
    scaled = seen * seen.shape[1] ** 0.5
    for matrix, column in ((readers.x, 2), (readers.y, 3)):
        predicted = scaled @ matrix @ words[:NUMBERS].T
        loss = loss + 0.5 * functional.cross_entropy(predicted, _soft_points()[targets[:, column]])
    right = (categories[occupied].argmax(1) == targets[:, 0]) & (colours.argmax(1) == targets[:, 1])
    return loss, float(right.float().mean())


def answer_loss(model: Any, packed: Packed, hidden: Tensor) -> Tensor:
    """Weighted cross-entropy of the answers' tokens, with soft targets for coordinates.

    `hidden` (B, L, width) are the last hidden states.
    """
    asked = packed.weights > 0
    logits, targets, weights = logits_of(model, hidden[asked].float()), packed.targets[asked], packed.weights[asked]
    logs = functional.log_softmax(logits, dim=1)
    is_point = targets < NUMBERS
    loss = -logs.gather(1, targets[:, None])[:, 0]
    soft = -(logs[is_point][:, :NUMBERS] * _soft_points()[targets[is_point]]).sum(1)
    loss = loss.masked_scatter(is_point, soft)
    return (loss * weights).sum() / weights.sum()
