"""The supported model families: Qwen3-VL, Qwen2.5-VL, InternVL and BAGEL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.bagel.config import BagelConfig
from si_embodied.models.bagel.images import BagelImageProcessor
from si_embodied.models.family import Family
from si_embodied.models.image_budget import BAGEL_TOKENS, QWEN_TOKENS, TILES
from si_embodied.models.inputs import EncodedImage, ModelInputs
from si_embodied.models.points import RELATIVE_MAX, Size
from si_embodied.models.regions import json_question, json_schema, read_json, read_ref, ref_question, ref_schema
from si_embodied.types import Prompt

with extra("models"):
    from transformers import AutoConfig, GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.models.family import Segments
    from si_embodied.models.regions import Form, Region

__all__ = ["FAMILIES", "Bagel", "Family", "InternVL", "ModelInputs", "Qwen3VL", "Qwen25VL"]

GROUNDING = "grounding/v1"
"""Prompt version of the families' own grounding questions."""


class _JsonRegions(Family):
    """Common to the families with Qwen's tokens: an object's place is asked for and given in JSON."""

    tokens = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
    grounding_system: ClassVar[str] = ""  # the chat template's default system text

    def grounding_prompt(self, image: NDArray[np.uint8], phrase: str, form: Form = "box") -> Prompt:
        """A question that is answered in JSON."""
        content = (image, json_question(phrase, form))
        return Prompt(GROUNDING, self.grounding_system, content, json_schema(form, self._bounds(image)))

    def read_region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the JSON box or point."""
        return read_json(text, self._bounds(image))

    def _bounds(self, image: NDArray[np.uint8]) -> Size:
        """Upper bounds of x and y of a point in the image."""
        return self.encode_images([image])[0].size_px if self.in_pixels else (RELATIVE_MAX, RELATIVE_MAX)


class _QwenVL(_JsonRegions):
    """Common to Qwen2.5-VL and Qwen3-VL: each image is one grid of patches with its own aspect ratio."""

    budget = QWEN_TOKENS

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
        processor = self.image_processor
        patch, merge = processor.patch_size, processor.merge_size
        least, most = processor.size.shortest_edge, processor.size.longest_edge
        size = {"shortest_edge": least, "longest_edge": max(least, min(most, budget * (patch * merge) ** 2))}
        batch = processor([image], size=size, input_data_format="channels_last", return_tensors="np")
        grids = np.asarray(batch["image_grid_thw"], dtype=np.int64)
        _, rows, columns = (int(value) for value in grids[0])
        return EncodedImage(
            {"pixel_values": np.asarray(batch["pixel_values"], dtype=np.float32), "image_grid_thw": grids},
            int(grids.prod()) // merge**2,
            (columns * patch, rows * patch),
            digest,
        )


class Qwen3VL(_QwenVL):
    """Qwen3-VL: points in 0..1000 relative to the image."""

    model_type = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"


class Qwen25VL(_QwenVL):
    """Qwen2.5-VL: points in pixels of the resized image."""

    model_type = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"
    grounding_system = "You are a helpful assistant."

    @property
    def in_pixels(self) -> bool:
        """It answers in pixels."""
        return True

    def _conversation(self, system: str, content: Segments) -> Segments:
        """ChatML, with the chat template's default system text if there is none."""
        return super()._conversation(system or self.grounding_system, content)


class InternVL(Family):
    """InternVL3 in transformers' own format: square tiles and a thumbnail, points in 0..1000 relative to the image."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"
    tokens = ("<img>", "<IMG_CONTEXT>", "</img>")
    numbers_images = True
    budget = TILES

    @classmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """GOT-OCR2's processor, which tiles like InternVL: of equal ratios, the larger grid only for a large image."""
        return GotOcr2ImageProcessorPil.from_pretrained(str(directory), local_files_only=True)

    @property
    def system_message(self) -> str:
        """The original conversation template's, for checkpoints converted from the original format."""
        return str(getattr(self._config, "system_message", None) or "")

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


class Bagel(_JsonRegions):
    """BAGEL's understanding branch: no roles, and an image is a block of patches at its own aspect ratio.

    The system text, each run of text and the answer are a turn each, without line breaks; images stand between turns.
    How the checkpoint writes points is not known: `point_convention` in config.json says it, 0..1000 by default.
    """

    model_type = "bagel"
    model_class = "BagelForConditionalGeneration"
    blocks = True
    budget = BAGEL_TOKENS

    @classmethod
    def network(cls) -> Any:
        """Built from transformers' parts."""
        from si_embodied.models.bagel import network

        return getattr(network, cls.model_class)

    @classmethod
    def load_image_processor(cls, directory: Path) -> BagelImageProcessor:
        """Ours: BAGEL has none in transformers."""
        return BagelImageProcessor.read(directory)

    @property
    def in_pixels(self) -> bool:
        """As the checkpoint's configuration says."""
        return bool(self._config.point_convention == "pixels")

    def _encode_image(self, image: NDArray[np.uint8], budget: int, digest: bytes) -> EncodedImage:
        """Patches, their positions, and the resized size."""
        patches, positions, size = self.image_processor(image, most_patches=budget)
        return EncodedImage({"pixel_values": patches, "patch_positions": positions}, len(positions), size, digest)

    def _conversation(self, system: str, content: Segments) -> Segments:
        """The system text, the content and the start of the answer."""
        segments, turn = self._turn([system]), list[str | list[int]]()
        for part in content:
            if isinstance(part, str) or part[0] != self._image_tokens[0]:
                turn.append(part)
            else:
                segments += [*self._turn(turn), part]
                turn = []
        return [*segments, *self._turn(turn), [self._turn_start]]

    def _follow_up(self, text: str) -> Segments:
        """A turn of text, and the start of the answer."""
        return [*self._turn([text]), [self._turn_start]]

    def _turn(self, parts: Segments) -> Segments:
        """One turn; nothing if it has no text."""
        return [[self._turn_start], *parts, [self.end_token]] if any(parts) else []


FAMILIES: Mapping[str, type[Family]] = {family.model_type: family for family in (Qwen3VL, Qwen25VL, InternVL, Bagel)}
"""By `model_type`."""

AutoConfig.register(Bagel.model_type, BagelConfig, exist_ok=True)  # transformers has no BAGEL
