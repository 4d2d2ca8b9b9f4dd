"""The supported model families: Qwen3-VL, Qwen2.5-VL and InternVL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.family import EncodedImage, Family, ModelInputs
from si_embodied.models.points import (
    RELATIVE_MAX,
    Size,
    answer_to_pixels,
    answer_to_relative,
    pairs_to_pixels,
    pixel_note,
    schema_in_pixels,
    view_sizes,
)
from si_embodied.models.regions import json_question, json_schema, read_json, read_ref, ref_question, ref_schema
from si_embodied.types import Prompt

with extra("models"):
    from transformers import GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.models.regions import Form, Region

__all__ = ["FAMILIES", "Family", "InternVL", "ModelInputs", "Qwen3VL", "Qwen25VL", "tile_budget"]

GROUNDING = "grounding/v1"
"""Prompt version of the families' own grounding questions."""

MAX_TILES_PER_IMAGE = 6
MAX_TILES_PER_PROMPT = 64
"""Limits used in training SenseNova-SI 1.3 and later (model cards)."""


def tile_budget(n_images: int) -> int:
    """InternVL: maximum number of tiles for each of `n_images`, not counting its thumbnail."""
    return max(1, min(MAX_TILES_PER_IMAGE, MAX_TILES_PER_PROMPT // max(1, n_images)))


class _QwenVL(Family):
    """Common to Qwen2.5-VL and Qwen3-VL: each image is one grid of patches with its own aspect ratio."""

    tokens = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
    grounding_system: ClassVar[str] = ""  # the chat template's default system text

    @classmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """Qwen2-VL's image processor, which its successors also use.

        Raises:
            CheckpointError: its settings lack the limits of an image's area, without which it fails on every image.
        """
        processor = Qwen2VLImageProcessorPil.from_pretrained(str(directory), local_files_only=True)
        least, most = (getattr(processor.size, name, None) for name in ("shortest_edge", "longest_edge"))
        if type(least) is not int or type(most) is not int or not 0 < least <= most:
            raise CheckpointError(
                f"{directory}: the image processor needs size.shortest_edge and size.longest_edge, the least and most "
                f"pixels of an image, got: {least} and {most}; download preprocessor_config.json again"
            )
        return processor

    def _encode_image(self, image: NDArray[np.uint8], budget: int, digest: bytes) -> EncodedImage:
        """Patches, their grid, and the resized size."""
        batch = self.image_processor([image], input_data_format="channels_last", return_tensors="np")
        grids = np.asarray(batch["image_grid_thw"], dtype=np.int64)
        patch, merge = self.image_processor.patch_size, self.image_processor.merge_size
        _, rows, columns = (int(value) for value in grids[0])
        return EncodedImage(
            {"pixel_values": np.asarray(batch["pixel_values"], dtype=np.float32), "image_grid_thw": grids},
            int(grids.prod()) // merge**2,
            (columns * patch, rows * patch),
            digest,
        )

    def grounding_prompt(self, image: NDArray[np.uint8], phrase: str, form: Form = "box") -> Prompt:
        """A question that is answered in JSON."""
        content = (image, json_question(phrase, form))
        return Prompt(GROUNDING, self.grounding_system, content, json_schema(form, self._bounds(image)))

    def read_region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the JSON box or point."""
        return read_json(text, self._bounds(image))

    def _bounds(self, image: NDArray[np.uint8]) -> Size:
        """Upper bounds of x and y of a point in the image."""
        return RELATIVE_MAX, RELATIVE_MAX


class Qwen3VL(_QwenVL):
    """Qwen3-VL: points in 0..1000 relative to the image."""

    model_type = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"


class Qwen25VL(_QwenVL):
    """Qwen2.5-VL: points in pixels of the resized image."""

    model_type = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"
    grounding_system = "You are a helpful assistant."

    def _notes(self, prompt: Prompt, sizes_px: Sequence[Size]) -> str:
        """The pixel convention, which overrides the prompt's 0..1000, with the view sizes, unknown to the model."""
        sizes = view_sizes(prompt.schema, sizes_px)
        return pixel_note(sizes) if sizes else ""

    def schema(self, prompt: Prompt, inputs: ModelInputs) -> Mapping[str, Any]:
        """Points bounded by the pixels of their own view."""
        return schema_in_pixels(prompt.schema, view_sizes(prompt.schema, inputs.image_sizes_px))

    def answer(self, text: str, prompt: Prompt, inputs: ModelInputs) -> str:
        """Convert pixels to 0..1000."""
        if prompt.schema.get("type") == "text":  # a letter or a number
            return text
        return answer_to_relative(text, view_sizes(prompt.schema, inputs.image_sizes_px))

    def own_answer(self, text: str, form: str, sizes_px: Sequence[Size]) -> str:
        """Convert 0..1000 to pixels."""
        return answer_to_pixels(text, dict(enumerate(sizes_px))) if form == "plan" else pairs_to_pixels(text, sizes_px)

    def _bounds(self, image: NDArray[np.uint8]) -> Size:
        """Width and height of the image after resizing."""
        return self.encode_images([image])[0].size_px


class InternVL(Family):
    """InternVL3 in transformers' own format: square tiles and a thumbnail, points in 0..1000 relative to the image."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"
    tokens = ("<img>", "<IMG_CONTEXT>", "</img>")
    numbers_images = True

    @classmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """GOT-OCR2's processor, which tiles like InternVL: of equal ratios, the larger grid only for a large image."""
        return GotOcr2ImageProcessorPil.from_pretrained(str(directory), local_files_only=True)

    @property
    def system_message(self) -> str:
        """The original conversation template's, for checkpoints converted from the original format."""
        return str(getattr(self._config, "system_message", None) or "")

    def _budget(self, count: int) -> int:
        """The most tiles of an image."""
        return tile_budget(count)

    def _encode_image(self, image: NDArray[np.uint8], budget: int, digest: bytes) -> EncodedImage:
        """The image's tiles."""
        batch = self.image_processor(
            [image],
            crop_to_patches=True,
            min_patches=1,
            max_patches=budget,
            input_data_format="channels_last",
            return_tensors="np",
        )
        vision = self._config.vision_config
        tokens_per_tile = int((vision.image_size[0] // vision.patch_size[0] * self._config.downsample_ratio) ** 2)
        return EncodedImage(
            {"pixel_values": np.asarray(batch["pixel_values"], dtype=np.float32)},
            int(batch["num_patches"][0]) * tokens_per_tile,
            (int(image.shape[1]), int(image.shape[0])),
            digest,
        )

    def grounding_prompt(self, image: NDArray[np.uint8], phrase: str, form: Form = "box") -> Prompt:
        """The RefCOCO question for a box; a point is the box's centre."""
        return Prompt(GROUNDING, "", (image, *ref_question(phrase)), ref_schema())

    def read_region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the box `[[x1, y1, x2, y2]]`."""
        return read_ref(text)


FAMILIES: Mapping[str, type[Family]] = {family.model_type: family for family in (Qwen3VL, Qwen25VL, InternVL)}
