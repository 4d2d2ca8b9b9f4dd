"""The interface of a model family: its chat format, image layout, point convention and grounding questions.

All families but BAGEL use ChatML. External text (instruction, memory) is tokenized with special tokens disabled, so
that no instruction can close the user's turn or pass for an image.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from si_embodied.errors import CheckpointError, ObservationError, extra
from si_embodied.models.blocks import image_blocks
from si_embodied.models.cache_memory import USUAL
from si_embodied.models.convention import PointConvention
from si_embodied.models.inputs import EncodedImage, ModelInputs
from si_embodied.models.prefix import BoundedStore
from si_embodied.models.regions import SpecialToken

with extra("models"):
    from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.models.image_budget import ImageBudget
    from si_embodied.models.regions import Form, Region
    from si_embodied.types import Prompt

Segments: TypeAlias = "list[str | list[int]]"
"""Parts of a prompt: text to be tokenized, and tokens."""


class Family(PointConvention, ABC):
    """One model family; an instance serves one checkpoint."""

    model_type: ClassVar[str]  # transformers' name, in config.json
    model_class: ClassVar[str]  # transformers' class
    tokens: ClassVar[tuple[str, str, str]]  # before, in place of, and after an image's features
    turn_tokens: ClassVar[tuple[str, str]] = ("<|im_start|>", "<|im_end|>")
    numbers_images: ClassVar[bool] = False  # whether it was trained with a number before each of several images
    budget: ImageBudget  # the family's own; an instance may be given another
    blocks: ClassVar[bool] = False  # whether an image and its two markers are a block (`models.blocks`)

    def __init__(self, tokenizer_json: str, image_processor: Any, config: Any) -> None:
        """Set up tokenizer and image processor.

        Args:
            tokenizer_json: the checkpoint's `tokenizer.json`.
            image_processor: from `load_image_processor`.
            config: the model's transformers configuration.

        Raises:
            CheckpointError: the tokenizer is corrupted, or lacks a token of the chat format.
        """
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # the library raises plain `Exception`
            raise CheckpointError(f"tokenizer.json is corrupted ({error}): download it again") from error
        self._tokenizer.encode_special_tokens = True  # special tokens in text are encoded as plain text
        self.image_processor = image_processor
        self._config = config
        self._turn_start, self.end_token = (self._special(token) for token in self.turn_tokens)
        self._image_tokens = tuple(self._special(token) for token in self.tokens)
        self._encoded = BoundedStore[EncodedImage](USUAL.pixels)

    def keep_pixels(self, most_bytes: int) -> None:
        """Limit the memory of images that are kept as model inputs; a remembered view is in many prompts."""
        self._encoded = BoundedStore(most_bytes)

    def check_fits(self, where: Path, rows: int) -> None:
        """Check that the tokenizer is the weights' own: another one's tokens mean something else to the model.

        Args:
            where: the checkpoint's directory, for the message.
            rows: of the model's output layer.

        Raises:
            CheckpointError: it has more tokens than the model, or another number for an image's token.
        """
        tokens, image = self._tokenizer.get_vocab_size(), self._image_tokens[1]
        named = getattr(self._config, "image_token_id", None)
        named = image if named is None else named
        if tokens > rows or named != image:
            raise CheckpointError(
                f"{where}: tokenizer.json has {tokens} tokens, and that of images is {image}; by config.json and the "
                f"weights there are {rows}, and it is {named}: use the tokenizer.json and config.json of the weights' "
                "checkpoint"
            )

    @classmethod
    @abstractmethod
    def load_image_processor(cls, directory: Path) -> Any:
        """The checkpoint's PIL image processor, whose pixels do not depend on torchvision being installed."""

    @abstractmethod
    def _encode_image(self, image: NDArray[np.uint8], budget: int, digest: bytes) -> EncodedImage:
        """Preprocess an image, and count its tokens; `budget` is its share (`ImageBudget`)."""

    @abstractmethod
    def grounding_prompt(self, image: NDArray[np.uint8], phrase: str, form: Form = "box") -> Prompt:
        """A question for the box or point of an object, in the form that the family was trained on.

        A family that knows only boxes is asked for a box, whose centre is the point.

        Args:
            image: (H, W, 3), exactly as it will be encoded: a backend must not downscale it, since points may be in
                pixels.
            phrase: what to look for, "the red cup".
            form: "box" or "point".

        Raises:
            ConfigError: the phrase is empty.
        """

    @abstractmethod
    def read_region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the answer to a grounding prompt; the result is in 0..1000 relative to the image.

        Raises:
            RegionParseError: the answer is not exactly one box or point inside the image.
        """

    @classmethod
    def network(cls) -> Any:
        """The class of the model."""
        import transformers

        return getattr(transformers, cls.model_class)

    @property
    def context_tokens(self) -> int:
        """The most tokens that the model takes, of the prompt and the answer together."""
        return int(self._config.get_text_config().max_position_embeddings)

    @property
    def system_message(self) -> str:
        """System text that precedes a prompt's own."""
        return ""

    def image_text(self, number: int, count: int, *, numbered: bool = False) -> tuple[str, str]:
        """Plain text before and after image `number` (from 1) of `count`: `Image-1: ` and a newline.

        Args:
            number: of the image.
            count: of the prompt's images.
            numbered: whether the prompt refers to its images by number.
        """
        if numbered or (self.numbers_images and count > 1):
            return f"Image-{number}: ", "\n"
        return "", "\n" if self.numbers_images else ""

    def encode_answer(self, text: str) -> NDArray[np.int64]:
        """The assistant's turn as it is generated: the text, tokenized without special tokens, and the end token."""
        return np.array(self._tokenize([text, [self.end_token]]), dtype=np.int64)

    def encode_follow_up(self, text: str) -> NDArray[np.int64]:
        """The tokens between two answers: a text-only user turn and the start of the assistant's."""
        return np.array(self._tokenize(self._follow_up(text)), dtype=np.int64)

    def encode(self, prompt: Prompt) -> ModelInputs:
        """The conversation up to the start of the assistant's turn.

        Raises:
            ObservationError: an image is not (H, W, 3) uint8, or its aspect ratio is too extreme for this family.
        """
        encoded = self.encode_images([_checked(image) for image in prompt.images])
        parts = (self.system_message, prompt.system, self._notes(prompt, [image.size_px for image in encoded]))
        system = "\n".join(text for text in parts if text)
        segments = self._conversation(system, self._content(prompt, encoded))
        input_ids = np.array(self._tokenize(segments), dtype=np.int64)
        is_image = input_ids == self._image_tokens[1]
        return ModelInputs(input_ids, is_image, encoded, image_blocks(is_image) if self.blocks else None)

    def _content(self, prompt: Prompt, images: Sequence[EncodedImage]) -> Segments:
        """What the user shows and says."""
        before, image_token, after = self._image_tokens
        segments: Segments = []
        number = 0
        for part in prompt.content:
            if isinstance(part, str):
                segments.append([self._special(part)] if isinstance(part, SpecialToken) else part)
                continue
            lead, trail = self.image_text(number + 1, len(images), numbered=prompt.numbered)
            segments += [lead, [before, *[image_token] * images[number].token_count, after], trail]
            number += 1
        return segments

    def _conversation(self, system: str, content: Segments) -> Segments:
        """ChatML: the system's turn, if it has text, the user's, and the start of the assistant's."""
        start, end = [self._turn_start], [self.end_token]
        first: Segments = [start, f"system\n{system}", end, "\n"] if system else []
        return [*first, start, "user\n", *content, end, "\n", start, "assistant\n"]

    def _follow_up(self, text: str) -> Segments:
        """What follows an answer in ChatML."""
        start, end = [self._turn_start], [self.end_token]
        return ["\n", start, f"user\n{text}", end, "\n", start, "assistant\n"]

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> tuple[EncodedImage, ...]:
        """A prompt's images as model inputs. Recently seen ones come from a bounded store, keyed by their content.

        Raises:
            ObservationError: an image's aspect ratio is too extreme for this family.
        """
        budget = self.budget.share(len(images))
        return tuple(self._encode(image, budget) for image in images)

    def _encode(self, image: NDArray[np.uint8], budget: int) -> EncodedImage:
        digest = hashlib.sha256(np.ascontiguousarray(image).data)
        digest.update(f"{image.shape}{budget}".encode())
        encoded = self._encoded.get(digest.digest())
        if encoded is None:
            try:
                encoded = self._encode_image(image, budget, digest.digest())
            except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
                size = f"{image.shape[1]}x{image.shape[0]}"
                words = f"{self.model_type} does not accept an image ({error}); size (W x H): {size}"
                raise ObservationError(words) from error
            self._encoded.put(encoded.digest, encoded, encoded.size_bytes)
        return encoded

    def _tokenize(self, segments: Sequence[str | list[int]]) -> list[int]:
        """Token ids; adjacent texts are joined first, as in the family's own chat template."""
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
                "use the tokenizer.json of the same checkpoint as the weights"
            )
        return int(number)


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, if it is (H, W, 3) uint8."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ObservationError(f"expected a prompt's images to be (H, W, 3) uint8, got: {image.shape} {image.dtype}")
    return image
