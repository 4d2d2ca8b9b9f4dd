"""A checkpoint on this machine: its family's images and chat format, and answers held to their schema."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import ConfigError, DeadlineExceeded, MissingExtraError
from si_embodied.models.constraint import Grammars, longest_answer_bytes
from si_embodied.models.decoding import Decoding, decode
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.types import Completion

try:
    from PIL import Image
except ModuleNotFoundError as error:
    raise MissingExtraError("pillow", "models") from error

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.models.families import Family
    from si_embodied.types import Prompt

_LOG = logging.getLogger(__name__)


class LocalBackend:
    """Greedy answers of a Hugging Face checkpoint; the same prompt gives the same answer."""

    def __init__(
        self,
        directory: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int | None = None,
        image_size: int | None = None,
    ) -> None:
        """Load the checkpoint.

        Args:
            directory: a local model directory of a supported family.
            device: "auto", "cpu", "cuda", "cuda:1".
            dtype: "auto", "float32", "bfloat16", "float16".
            max_new_tokens: give up on longer answers; by default the longest answer that the prompt's schema allows.
            image_size: longest side, in pixels, that an image is reduced to first; by default it is kept.

        Raises:
            CheckpointError: the directory cannot be loaded.
            ConfigError: no such device or dtype, or a number below 1.
            MissingExtraError: torch, transformers or llguidance is not installed.
        """
        for name, value in (("max_new_tokens", max_new_tokens), ("image_size", image_size)):
            if value is not None and value < 1:
                raise ConfigError(f"expected {name} to be at least 1, got: {value}")
        checkpoint = load_checkpoint(directory, device=device, dtype=dtype)
        self._family = checkpoint.family
        self._runner = TorchRunner(checkpoint.model)
        self._grammars = Grammars(
            checkpoint.tokenizer_json,
            vocabulary_size=checkpoint.vocabulary_size,
            end_token=checkpoint.family.end_token,
        )
        self._max_new_tokens, self._image_size = max_new_tokens, image_size
        self.info = BackendInfo(
            model=checkpoint.directory.resolve().name, kernel=checkpoint.kernel, dtype=checkpoint.dtype
        )
        _LOG.info("%s: attention kernel %s, dtype %s", self.info.model, self.info.kernel, self.info.dtype)

    @property
    def family(self) -> Family:
        """How this checkpoint writes a conversation."""
        return self._family

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The whole answer, always one that fits the prompt's schema.

        Latency by part: "vision" is image layout, tokenization and vision tower; "prefill"; "decode".

        Raises:
            DeadlineExceeded: not done in time; looked at before every pass through the model.
            BackendError: the model failed, or the answer was longer than `max_new_tokens`.
            ConfigError: the prompt's schema cannot be decoded or leaves something unbounded.
        """
        started = time.monotonic()
        if not deadline_s > 0:
            raise DeadlineExceeded(f"no time to answer: deadline_s is {deadline_s}")
        if self._image_size is not None:
            prompt = replace(prompt, content=tuple(_reduced(part, self._image_size) for part in prompt.content))
        inputs = self._family.encode(prompt)
        schema = self._family.schema(prompt, inputs)
        constraint = self._grammars.start(schema)
        prepared_s = time.monotonic() - started
        options = Decoding(
            max_new_tokens=self._max_new_tokens or longest_answer_bytes(schema), deadline=started + deadline_s
        )
        decoded = decode(self._runner, inputs, constraint, options)
        return Completion(
            self._family.answer(self._grammars.text(decoded.tokens), prompt, inputs),
            prompt_tokens=len(inputs.input_ids),
            completion_tokens=len(decoded.tokens),
            latency_s={
                "vision": prepared_s + decoded.vision_s,
                "prefill": decoded.prefill_s,
                "decode": decoded.decode_s,
            },
        )


def _reduced(part: str | NDArray[np.uint8], longest_px: int) -> str | NDArray[np.uint8]:
    """An image with its longest side at most `longest_px`; text and small images as they are."""
    if isinstance(part, str) or part.ndim != 3 or max(part.shape[:2]) <= longest_px:
        return part
    height, width = part.shape[:2]
    scale = longest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))
