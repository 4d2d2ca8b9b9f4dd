"""A prompt as the inputs of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.models.blocks import extended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.points import Size


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """One image as model inputs."""

    pixels: Mapping[str, NDArray[Any]]  # by the model's argument names
    token_count: int
    size_px: Size  # (width, height), in the pixels that points refer to
    digest: bytes  # of the image and of how it was encoded

    @property
    def size_bytes(self) -> int:
        """Memory of the pixels."""
        return sum(array.nbytes for array in self.pixels.values())


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """A prompt as model inputs."""

    input_ids: NDArray[np.int64]  # (T,)
    is_image: NDArray[np.bool_]  # (T,), where an image feature replaces the token's embedding
    images: tuple[EncodedImage, ...]
    block_ends: NDArray[np.int64] | None = None  # (T,), see `blocks`; None: plain causal attention

    def followed_by(self, tokens: Sequence[int]) -> ModelInputs:
        """The prompt with more tokens of text after it."""
        input_ids = np.append(self.input_ids, np.array(tokens, dtype=np.int64))
        is_image = np.append(self.is_image, np.zeros(len(tokens), dtype=np.bool_))
        ends = None if self.block_ends is None else extended(self.block_ends, len(input_ids))
        return replace(self, input_ids=input_ids, is_image=is_image, block_ends=ends)

    @property
    def pixels(self) -> dict[str, NDArray[Any]]:
        """Those of all images, by the model's argument names; empty without images."""
        names = self.images[0].pixels if self.images else ()
        return {name: np.concatenate([image.pixels[name] for image in self.images]) for name in names}

    @property
    def grids(self) -> NDArray[np.int64] | None:
        """Each image's `image_grid_thw`, the rows and columns of its patches (n, 3); None if there is none."""
        found = [image.pixels["image_grid_thw"] for image in self.images if "image_grid_thw" in image.pixels]
        return np.concatenate(found) if found else None

    @property
    def image_sizes_px(self) -> tuple[Size, ...]:
        """(width, height) of each image, in the pixels that points refer to."""
        return tuple(image.size_px for image in self.images)
