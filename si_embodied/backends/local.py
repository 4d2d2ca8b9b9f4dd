"""A checkpoint on this machine: its family's images and chat format, and answers held to their schema."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.backends.base import BackendInfo
from si_embodied.config import checkpoint_prompts
from si_embodied.errors import ConfigError, DeadlineExceeded, extra
from si_embodied.models.constraint import Grammars, longest_answer_bytes
from si_embodied.models.decoding import Decoding, decode
from si_embodied.models.hub import resolve_model
from si_embodied.models.opening import open_model
from si_embodied.types import Completion

with extra("models"):
    from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.models.families import Family
    from si_embodied.models.footprint import Weights
    from si_embodied.types import Prompt

_LOG = logging.getLogger(__name__)


_ANSWERS_KEPT = 16


class LocalBackend:
    """Answers of a Hugging Face checkpoint: greedy, or drawn with a seed; the same prompt gives the same answer."""

    def __init__(
        self,
        directory: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        weights: Weights = "full",
        max_new_tokens: int | None = None,
        image_size: int | None = None,
        decoding: Decoding | None = None,
        compiled: bool = False,
    ) -> None:
        """Load the checkpoint.

        Args:
            directory: a local model directory of a supported family, `owner/name[@revision]` on the hub, or what
                `si-embodied models export` wrote, which runs on ONNX Runtime.
            device: "auto", "cpu", "cuda", "cuda:1"; of an export its execution providers, as "tensorrt,cuda,cpu".
            dtype: "auto", "float32", "bfloat16", "float16".
            weights: "full", or on CUDA "8bit" or "4bit".
            max_new_tokens: give up on longer answers; by default the longest answer that the prompt's schema allows.
            image_size: longest side, in pixels, that an image is reduced to first; by default it is kept.
            decoding: reuse, drafts, temperature and seed; its other fields are set for each prompt.
            compiled: have torch compile the steps, which pays on CUDA alone and takes a minute first.

        Raises:
            CheckpointError: the directory cannot be loaded.
            ConfigError: no such device, dtype or weights, or a number below 1.
            MissingExtraError: torch, transformers, llguidance, or what `weights` needs is not installed.
        """
        for name, value in (("max_new_tokens", max_new_tokens), ("image_size", image_size)):
            if value is not None and value < 1:
                raise ConfigError(f"expected {name} to be at least 1, got: {value}")
        prompts = checkpoint_prompts(resolve_model(directory))
        model = open_model(directory, device=device, dtype=dtype, weights=weights, compiled=compiled)
        self._family, self._runner = model.family, model.runner
        self._grammars = Grammars(
            model.tokenizer_json, vocabulary_size=model.vocabulary_size, end_token=model.family.end_token
        )
        self._max_new_tokens, self._image_size = max_new_tokens, image_size
        self._decoding = decoding or Decoding()
        self._canceled = threading.Event()
        self._answers: OrderedDict[str, tuple[int, ...]] = OrderedDict()  # the last one by schema, as the next's draft
        self._lock = threading.Lock()  # of the model: its caches are of one prompt at a time
        self.info = BackendInfo(model.name, model.kernel, model.dtype, prompts)
        _LOG.info("%s: attention kernel %s, dtype %s", self.info.model, self.info.kernel, self.info.dtype)

    @property
    def family(self) -> Family:
        """How this checkpoint writes a conversation."""
        return self._family

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The whole answer, always one that fits the prompt's schema. Threads take turns.

        Latency by part: "vision" is image layout, tokenization and vision tower; "prefill"; "decode". Counts: "steps"
        of the model after the prefill, "reused" tokens of the prompt, "drafted" and "accepted" tokens of the answer.

        Raises:
            DeadlineExceeded: not done in time; checked before every pass through the model, and while another thread's
                prompt is answered.
            BackendError: the model failed, the answer was longer than `max_new_tokens`, or `cancel` was called.
            ConfigError: the prompt's schema cannot be decoded or leaves something unbounded.
        """
        started = time.monotonic()
        if not deadline_s > 0:
            raise DeadlineExceeded(f"no time to answer: deadline_s is {deadline_s}")
        if not self._lock.acquire(timeout=deadline_s):
            raise DeadlineExceeded(f"the model was busy with another prompt for {deadline_s:.1f} s")
        try:
            return self._generate(prompt, started, started + deadline_s)
        finally:
            self._lock.release()

    def _generate(self, prompt: Prompt, started: float, deadline: float) -> Completion:
        canceled = self._canceled = threading.Event()
        if self._image_size is not None:
            prompt = replace(prompt, content=tuple(_reduced(part, self._image_size) for part in prompt.content))
        inputs = self._family.encode(prompt)
        schema = self._family.schema(prompt, inputs)
        constraint = self._grammars.start(schema)
        prepared_s = time.monotonic() - started
        options = replace(
            self._decoding,
            max_new_tokens=self._max_new_tokens or longest_answer_bytes(schema),
            deadline=deadline,
            canceled=canceled,
        )
        key = json.dumps(schema)
        decoded = decode(self._runner, inputs, constraint, options, last_answer=self._answers.get(key, ()))
        self._keep_answer(key, decoded.tokens)
        return Completion(
            self._family.answer(self._grammars.text(decoded.tokens), prompt, inputs),
            prompt_tokens=len(inputs.input_ids),
            completion_tokens=len(decoded.tokens),
            latency_s={
                "vision": prepared_s + decoded.vision_s,
                "prefill": decoded.prefill_s,
                "decode": decoded.decode_s,
            },
            counts={
                "steps": decoded.model_steps,
                "reused": decoded.reused_tokens,
                "drafted": decoded.drafted_tokens,
                "accepted": decoded.accepted_tokens,
            },
        )

    def cancel(self) -> None:
        """Abort the answer in progress, from any thread; no effect when there is none."""
        self._canceled.set()

    def close(self) -> None:
        """Abort the answer in progress and forget the cached ones; the memory goes with the last reference."""
        self.cancel()
        self._answers.clear()

    def _keep_answer(self, key: str, tokens: tuple[int, ...]) -> None:
        """Remember an answer as the next one's draft, and forget those of schemas not asked for lately."""
        self._answers[key] = tokens
        self._answers.move_to_end(key)
        if len(self._answers) > _ANSWERS_KEPT:
            self._answers.popitem(last=False)


def _reduced(part: str | NDArray[np.uint8], longest_px: int) -> str | NDArray[np.uint8]:
    """An image with its longest side at most `longest_px`; text and small images as they are."""
    if isinstance(part, str) or part.ndim != 3 or max(part.shape[:2]) <= longest_px:
        return part
    height, width = part.shape[:2]
    scale = longest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))
