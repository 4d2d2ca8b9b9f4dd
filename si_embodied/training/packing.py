"""Sequence packing: several examples in one row, each with its own positions and blind to the others.

A row holds no padding. Each example's text positions start at 0, from which transformers' attention masks (and ours in
`models.bagel`) tell the examples apart; Qwen's three rotary positions come along. Every pack shows an image, if need be
a blank one without a loss: with FSDP all GPUs must run the same layers, and train the same ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError, extra
from si_embodied.runs import write_json
from si_embodied.training.conversations import NO_LOSS, Example, Examples, joined_pixels
from si_embodied.types import Prompt

with extra("train"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from si_embodied.models.families import Family

_BLANK_PX = 56


class Packs(torch.utils.data.Dataset[list[Example]]):
    """Examples by pack."""

    def __init__(self, examples: Examples, plan: Sequence[Sequence[int]]) -> None:
        """`plan` has the indices of each pack's examples."""
        self._examples, self._plan = examples, plan

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> list[Example]:
        return [self._examples[each] for each in self._plan[index]]


class Order(torch.utils.data.Sampler[int]):
    """The packs of an epoch in random order, without the few that fill no step: a function of seed and epoch.

    Every step thus has the same number of packs, which any number of processes can divide alike.
    """

    def __init__(self, packs: int, batch: int, seed: int) -> None:
        """Set up.

        Raises:
            ConfigError: fewer packs than a step takes.
        """
        if packs < batch:
            raise ConfigError(f"a step takes {batch} packs, but the data fill {packs}: lower --batch or --pack-tokens")
        self._packs, self._batch, self._seed, self._epoch = packs, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._packs // self._batch * self._batch

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._packs)
        return iter(order[: len(self)].tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Packer:
    """Collates one pack into a row."""

    blank: Example  # a blank image
    rope_index: Callable[..., Any] | None  # Qwen's `get_rope_index`; None for families with one position a token

    def __call__(self, packs: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """The model's arguments: input_ids and labels (1, T), position_ids (1, T) or Qwen's (4, 1, T), and pixels."""
        (pack,) = packs
        examples = pack if any(example.pixels for example in pack) else [*pack, self.blank]
        positions = torch.cat([self._positions(example) for example in examples], dim=-1)
        return {
            "input_ids": _row([example.input_ids for example in examples]),
            "labels": _row([example.labels for example in examples]),
            "position_ids": positions,
            **joined_pixels(examples),
        }

    def _positions(self, example: Example) -> torch.Tensor:
        text = torch.arange(len(example.input_ids))[None]
        if self.rope_index is None:
            return text
        grids = example.pixels.get("image_grid_thw")
        rotary, _ = self.rope_index(
            torch.from_numpy(example.input_ids)[None],
            torch.from_numpy(example.is_image.astype(np.int32))[None],
            image_grid_thw=None if grids is None else torch.from_numpy(grids),
        )
        return torch.cat([text[None], rotary])


def _row(arrays: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(arrays))[None]


def blank_example(family: Family) -> Example:
    """A blank image, and nothing to answer."""
    image = np.zeros((_BLANK_PX, _BLANK_PX, 3), np.uint8)
    inputs = family.encode(Prompt("tuning", "", (image,), {}))
    labels = np.full_like(inputs.input_ids, NO_LOSS)
    return Example(inputs.input_ids, labels, inputs.is_image, dict(inputs.pixels))


def make_plan(examples: Examples, pack_tokens: int, seed: int, file: Path, workers: int) -> list[list[int]]:
    """Which examples go into which pack: in random order, each pack is filled up to `pack_tokens`.

    A longer example is a pack of its own, and so is every example if `pack_tokens` is 0.

    Args:
        examples: the data.
        pack_tokens: tokens of a pack.
        seed: of the order.
        file: where the examples' lengths are kept, because measuring them encodes every image once.
        workers: processes that measure.

    Raises:
        DataError: an example cannot be encoded.
    """
    if not pack_tokens:
        return [[index] for index in range(len(examples))]
    if not file.is_file():
        write_json(file, {"lengths": measure(examples, workers)})
    lengths = json.loads(file.read_text(encoding="utf-8"))["lengths"]
    plan: list[list[int]] = []
    room = 0
    for index in np.random.default_rng(seed).permutation(len(examples)).tolist():
        if lengths[index] > room:
            plan.append([])
            room = pack_tokens
        plan[-1].append(index)
        room -= lengths[index]
    return plan


def measure(examples: Examples, workers: int) -> list[int]:
    """The examples' lengths, tokens."""
    loader = torch.utils.data.DataLoader(_Lengths(examples), batch_size=None, num_workers=workers)
    return [int(length) for length in loader]


class _Lengths(torch.utils.data.Dataset[int]):
    """The length of each example, so that a worker sends no more than that."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> int:
        return len(self._examples[index].input_ids)
