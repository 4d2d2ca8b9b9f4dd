"""The model families: how each writes a conversation, cuts images up, and means a point.

All three speak ChatML. Text that comes from outside (an instruction, a memory) is tokenized with the special tokens
switched off, so that no instruction can close the user's turn or claim to be an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.errors import CheckpointError, MissingExtraError, ObservationError
from si_embodied.models.points import (
    Size,
    answer_to_pixels,
    answer_to_relative,
    pairs_to_pixels,
    pixel_note,
    schema_in_pixels,
    view_sizes,
)

try:
    from tokenizers import Tokenizer
    from transformers import GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "models") from error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.types import Prompt

MAX_TILES_PER_IMAGE = 6
MAX_TILES_PER_PROMPT = 64
"""What SenseNova-SI 1.3 and later were trained with (model cards)."""


def tile_budget(n_images: int) -> int:
    """InternVL: tiles that one of `n_images` may be cut into, its thumbnail not counted."""
    return max(1, min(MAX_TILES_PER_IMAGE, MAX_TILES_PER_PROMPT // max(1, n_images)))


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """A prompt as a model takes it."""

    input_ids: NDArray[np.int64]  # (T,)
    is_image: NDArray[np.bool_]  # (T,), where an image feature stands in for the token
    pixels: Mapping[str, NDArray[Any]]  # by the model's argument names; empty without images
    image_sizes_px: tuple[Size, ...]  # (width, height) of each image as points are meant


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """A prompt's images as a model takes them."""

    pixels: Mapping[str, NDArray[Any]]
    token_counts: tuple[int, ...]
    sizes_px: tuple[Size, ...]


class Family(ABC):
    """One model family; an instance belongs to one checkpoint."""

    model_type: ClassVar[str]  # transformers' name, in config.json
    model_class: ClassVar[str]  # transformers' class
    tokens: ClassVar[tuple[str, str, str]]  # before, for and after an image's features
    turn_tokens: ClassVar[tuple[str, str]] = ("<|im_start|>", "<|im_end|>")

    def __init__(self, tokenizer_json: str, image_processor: Any, config: Any) -> None:
        """Keep what the chat format and the images need.

        Args:
            tokenizer_json: the checkpoint's `tokenizer.json`.
            image_processor: what `load_image_processor` gave.
            config: the model's transformers configuration.

        Raises:
            CheckpointError: the tokenizer lacks a token of the chat format.
        """
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.encode_special_tokens = True
        self._image_processor = image_processor
        self._config = config
        self._turn_start, self.end_token = (self._special(token) for token in self.turn_tokens)
        self._image_tokens = tuple(self._special(token) for token in self.tokens)

    @classmethod
    @abstractmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """The checkpoint's image processor, the PIL one: pixels do not depend on whether torchvision is installed."""

    @abstractmethod
    def _encode_images(self, images: Sequence[NDArray[np.uint8]]) -> _Images:
        """Images to pixels, with how many tokens stand for each."""

    def image_text(self, number: int, count: int) -> tuple[str, str]:
        """Plain text before and after image `number` (from 1) of `count`."""
        return "", ""

    def _notes(self, prompt: Prompt, sizes_px: Sequence[Size]) -> str:
        """What the family adds to the system's text."""
        return ""

    def schema(self, prompt: Prompt, inputs: ModelInputs) -> Mapping[str, Any]:
        """The schema of the answer as this family writes it."""
        return prompt.schema

    def answer(self, text: str, prompt: Prompt, inputs: ModelInputs) -> str:
        """The family's answer with points in 0..1000 relative to their view."""
        return text

    def own_answer(self, text: str, form: str, sizes_px: Sequence[Size]) -> str:
        """An answer with points in 0..1000 as this family writes it; the inverse of `answer`, for training.

        Args:
            text: the answer.
            form: "plan" (JSON whose points stand beside their view) or "points" (pairs of numbers, nothing else).
            sizes_px: of the views, from `ModelInputs.image_sizes_px`.
        """
        return text

    def encode_answer(self, text: str) -> NDArray[np.int64]:
        """The assistant's turn as it is generated: the text, in which nothing is special, and the end of the turn."""
        return np.array(self._tokenize([text, [self.end_token]]), dtype=np.int64)

    def encode_follow_up(self, text: str) -> NDArray[np.int64]:
        """What stands between one answer and the next: a user's turn of text alone."""
        start, end = [self._turn_start], [self.end_token]
        segments: list[str | list[int]] = ["\n", start, f"user\n{text}", end, "\n", start, "assistant\n"]
        return np.array(self._tokenize(segments), dtype=np.int64)

    def encode(self, prompt: Prompt) -> ModelInputs:
        """The conversation up to the assistant's turn.

        Raises:
            ObservationError: an image that is not (H, W, 3) uint8, or too thin for this family.
        """
        images = [_checked(image) for image in prompt.images]
        encoded = self._encode_images(images) if images else _Images({}, (), ())
        before, image_token, after = self._image_tokens
        segments: list[str | list[int]] = []
        if system := "\n".join(text for text in (prompt.system, self._notes(prompt, encoded.sizes_px)) if text):
            segments += [[self._turn_start], f"system\n{system}", [self.end_token], "\n"]
        segments += [[self._turn_start], "user\n"]
        number = 0
        for part in prompt.content:
            if isinstance(part, str):
                segments.append(part)
                continue
            lead, trail = self.image_text(number + 1, len(images))
            count = encoded.token_counts[number]
            segments += [lead, [before, *[image_token] * count, after], trail]
            number += 1
        segments += [[self.end_token], "\n", [self._turn_start], "assistant\n"]
        input_ids = np.array(self._tokenize(segments), dtype=np.int64)
        return ModelInputs(input_ids, input_ids == image_token, encoded.pixels, encoded.sizes_px)

    def _tokenize(self, segments: Sequence[str | list[int]]) -> list[int]:
        """Token ids; neighbouring texts are joined first, as the family's own chat template would have them."""
        ids: list[int] = []
        text = ""
        for segment in [*segments, []]:
            if isinstance(segment, str):
                text += segment
                continue
            if text:
                ids += self._tokenizer.encode(text, add_special_tokens=False).ids
                text = ""
            ids += segment
        return ids

    def _special(self, token: str) -> int:
        """The id of a special token."""
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise CheckpointError(
                f"the tokenizer has no token {token!r}, which the chat format of {self.model_type} needs; "
                "take tokenizer.json from the same checkpoint as the weights"
            )
        return int(number)


class _QwenVL(Family):
    """What Qwen2.5-VL and Qwen3-VL share: one grid of patches an image, at its own aspect ratio."""

    tokens = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")

    @classmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """Qwen2-VL's image processor, which its successors kept."""
        return Qwen2VLImageProcessorPil.from_pretrained(str(directory), local_files_only=True)

    def _encode_images(self, images: Sequence[NDArray[np.uint8]]) -> _Images:
        """Patches, their grids, and the size that each image was resized to."""
        try:
            batch = self._image_processor(list(images), input_data_format="channels_last", return_tensors="np")
        except ValueError as error:
            shapes = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in images)
            raise ObservationError(f"an image does not fit {self.model_type} ({error}); sizes: {shapes}") from error
        grids = np.asarray(batch["image_grid_thw"], dtype=np.int64)
        patch, merge = self._image_processor.patch_size, self._image_processor.merge_size
        return _Images(
            {"pixel_values": np.asarray(batch["pixel_values"], dtype=np.float32), "image_grid_thw": grids},
            tuple(int(grid.prod()) // merge**2 for grid in grids),
            tuple((int(columns) * patch, int(rows) * patch) for _, rows, columns in grids),
        )


class Qwen3VL(_QwenVL):
    """Qwen3-VL: points in 0..1000 relative to the image."""

    model_type = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"


class Qwen25VL(_QwenVL):
    """Qwen2.5-VL: points in pixels of the resized image."""

    model_type = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"

    def _notes(self, prompt: Prompt, sizes_px: Sequence[Size]) -> str:
        """The convention, which amends the prompt's 0..1000, and the sizes, which the model cannot know otherwise."""
        sizes = view_sizes(prompt.schema, sizes_px)
        return pixel_note(sizes) if sizes else ""

    def schema(self, prompt: Prompt, inputs: ModelInputs) -> Mapping[str, Any]:
        """Points bounded by the pixels of their own view."""
        return schema_in_pixels(prompt.schema, view_sizes(prompt.schema, inputs.image_sizes_px))

    def answer(self, text: str, prompt: Prompt, inputs: ModelInputs) -> str:
        """Pixels to 0..1000."""
        if prompt.schema.get("type") == "text":  # a letter or a number
            return text
        return answer_to_relative(text, view_sizes(prompt.schema, inputs.image_sizes_px))

    def own_answer(self, text: str, form: str, sizes_px: Sequence[Size]) -> str:
        """0..1000 to pixels."""
        return answer_to_pixels(text, sizes_px) if form == "plan" else pairs_to_pixels(text, sizes_px)


class InternVL(Family):
    """InternVL3 in transformers' own format: square tiles and a thumbnail, points in 0..1000 relative to the image."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"
    tokens = ("<img>", "<IMG_CONTEXT>", "</img>")

    @classmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """The tiling of GOT-OCR2, which is InternVL's: of equal grids the bigger only for an image that fills it."""
        return GotOcr2ImageProcessorPil.from_pretrained(str(directory), local_files_only=True)

    def image_text(self, number: int, count: int) -> tuple[str, str]:
        """Several images are numbered, as in training: `Image-1: <image>` and a new line."""
        return (f"Image-{number}: " if count > 1 else ""), "\n"

    def _encode_images(self, images: Sequence[NDArray[np.uint8]]) -> _Images:
        """Tiles of all images, one after another."""
        batch = self._image_processor(
            list(images),
            crop_to_patches=True,
            min_patches=1,
            max_patches=tile_budget(len(images)),
            input_data_format="channels_last",
            return_tensors="np",
        )
        vision = self._config.vision_config
        tokens_per_tile = int((vision.image_size[0] // vision.patch_size[0] * self._config.downsample_ratio) ** 2)
        return _Images(
            {"pixel_values": np.asarray(batch["pixel_values"], dtype=np.float32)},
            tuple(int(tiles) * tokens_per_tile for tiles in batch["num_patches"]),
            tuple((int(image.shape[1]), int(image.shape[0])) for image in images),
        )


FAMILIES: Mapping[str, type[Family]] = {family.model_type: family for family in (Qwen3VL, Qwen25VL, InternVL)}


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image, or why it is none."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ObservationError(f"a prompt's image is (H, W, 3) uint8, got: {image.shape} {image.dtype}")
    return image
