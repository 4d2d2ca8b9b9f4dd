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
    model: Any, readers: CellReaders, batch: Batch, decisions: DecisionBatch | None = None, *, cell_weight: float
) -> Losses:
    """The loss of a step: always the cells; also the answers if the batch has questions, and the decisions."""
    tokens = encode_images(model, batch.images, batch.cells)
    cells, accuracy = cell_loss(model, readers, tokens.flatten(0, 1), batch.labels.flatten(0, 1))
    answers = torch.zeros(()) if batch.packed is None else answer_loss(model, batch.packed, tokens)
    decided = torch.zeros(())
    if decisions is not None:
        decided = answer_loss(model, decisions.packed, image_tokens(model, decisions))
    alone = batch.packed is None and decisions is None
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


def answer_loss(model: Any, packed: Packed, image_tokens: Tensor) -> Tensor:
    """Weighted cross-entropy of the answers' tokens, with soft targets for coordinates."""
    hidden = read(model, packed, image_tokens)
    asked = packed.weights > 0
    logits, targets, weights = logits_of(model, hidden[asked]), packed.targets[asked], packed.weights[asked]
    logs = functional.log_softmax(logits, dim=1)
    is_point = targets < NUMBERS
    loss = -logs.gather(1, targets[:, None])[:, 0]
    soft = -(logs[is_point][:, :NUMBERS] * _soft_points()[targets[is_point]]).sum(1)
    loss = loss.masked_scatter(is_point, soft)
    return (loss * weights).sum() / weights.sum()
