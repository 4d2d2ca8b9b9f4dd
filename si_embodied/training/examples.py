"""Training images in memory, with a label for every cell of the vision grid."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.training.annotations import Annotation, TabletopAnnotation, read_annotation
from si_embodied.training.scenes import NOTHING, RENDER_PX, WORLDS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NO_LABEL = -1

_MIN_LABELLED_PX = 20
_MIN_CELL_SHARE, _MIN_OBJECT_SHARE = 0.10, 0.25
"""An object labels a cell if it fills more than the first, or if more than the second of the object lies in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """All images of some shards."""

    world: NDArray[np.uint8]  # (N,), index into `WORLDS`
    images: NDArray[np.uint8]  # (N, H, W, 3), at the model's resolution
    instances: NDArray[np.uint8]  # (N, RENDER_PX, RENDER_PX), object ids
    annotations: tuple[Annotation, ...]
    labels: NDArray[np.int16]  # (N, cells, 4): category, colour, x, y; NO_LABEL in cells without an object
    reasoning: bool = False  # whether the plans drawn for these images begin with their reasoning

    def __len__(self) -> int:
        return len(self.annotations)


def load(
    directory: Path, categories: tuple[str, ...], colours: tuple[str, ...], grid: int, pattern: str = "*"
) -> Labelled:
    """Load the complete shards whose names match a pattern ("tabletop-*"), sorted by name.

    Raises:
        ConfigError: no shard matches.
    """
    files = sorted(directory.glob(f"{pattern}.json"))
    if not files:
        raise ConfigError(f"no shards match {pattern!r} in {directory}: generate the data first")
    parts: list[tuple[Any, ...]] = []
    for file in files:
        shard = json.loads(file.read_text(encoding="utf-8"))
        annotations = [read_annotation(one) for one in shard["images"]]
        with np.load(file.with_suffix(".npz")) as arrays:
            images, instances = arrays["images"], arrays["instances"]
        labels = np.stack(
            [
                cell_labels(instance, annotation, categories, colours, grid)
                for instance, annotation in zip(instances, annotations, strict=True)
            ]
        )
        world = np.full(len(images), WORLDS.index(shard["world"]), np.uint8)
        parts.append((world, images, instances, annotations, labels))
    worlds, pixels, owners, described, cells = zip(*parts, strict=True)
    return Labelled(
        np.concatenate(worlds),
        np.concatenate(pixels),
        np.concatenate(owners),
        tuple(itertools.chain(*described)),
        np.concatenate(cells),
    )


def cell_labels(
    instance: NDArray[np.uint8],
    annotation: Annotation,
    categories: tuple[str, ...],
    colours: tuple[str, ...],
    grid: int,
) -> NDArray[np.int16]:
    """What each cell of an image mostly shows (grid * grid, 4): category, colour, and x and y of the object's point.

    Of several objects in a cell, the one for which the cell matters most wins: the share of the cell that the object
    fills plus the share of the object that lies in the cell.
    """
    picks = annotation.pick if isinstance(annotation, TabletopAnnotation) else {}
    steps = (np.arange(RENDER_PX) * grid) // RENDER_PX
    cell = steps[:, None] * grid + steps[None, :]
    counts = np.bincount((cell.ravel().astype(np.int64) << 8) | instance.ravel(), minlength=grid * grid * 256)
    counts = counts.reshape(grid * grid, 256).astype(np.float64)
    labels = np.full((grid * grid, 4), NO_LABEL, np.int16)
    best = np.zeros(grid * grid)
    area = (RENDER_PX / grid) ** 2
    for one in annotation.objects:
        if one.pixels < _MIN_LABELLED_PX or one.id == NOTHING or one.category not in categories:
            continue
        own = counts[:, one.id]
        filled, share = own / area, own / one.pixels
        score = np.where((filled > _MIN_CELL_SHARE) | (share > _MIN_OBJECT_SHARE), filled + share, 0.0)
        better = score > best
        best = np.where(better, score, best)
        x, y = picks.get(one.name, one.point)
        labels[better] = categories.index(one.category), colours.index(one.colour), x, y
    return labels
