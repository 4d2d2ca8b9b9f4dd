"""Runs a checkpoint on this machine, with its family's image layout and chat format and schema-constrained decoding."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.backends.base import BackendInfo
from si_embodied.certainty import Certainty, Token, certainty_of
from si_embodied.config import checkpoint_prompts
from si_embodied.errors import ConfigError, DeadlineExceeded, PromptTooLong, extra
from si_embodied.models.cache_memory import CACHE_MB, CacheMemory
from si_embodied.models.constraint import Grammars, longest_answer_bytes
from si_embodied.models.decoding import Decoding, decode
from si_embodied.models.hub import resolve_model
from si_embodied.models.lanes import LANES, Lanes
from si_embodied.models.opening import open_model
from si_embodied.models.thinking import ANSWER_TOKENS, TAG_TOKENS, Thinking, decode_after_thinking
from si_embodied.models.writing import ModelWriting
from si_embodied.thinking import asked_to_think, inside_answer, thought_in
from si_embodied.types import Completion

with extra("models"):
    from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.backends.base import Backend
    from si_embodied.conversation import Conversation
    from si_embodied.models.decoding import Decoded
    from si_embodied.models.families import Family, ModelInputs
    from si_embodied.models.footprint import Weights
    from si_embodied.models.image_budget import ImageBudget
    from si_embodied.models.lanes import Lane
    from si_embodied.types import Prompt

_LOG = logging.getLogger(__name__)


class LocalBackend:
    """A Hugging Face checkpoint, decoded greedily or sampled with a seed. The same prompt gives the same answer."""

    def __init__(
        self,
        directory: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        weights: Weights = "full",
        adapter: str | Path = "",
        thinking_tokens: int = 0,
        max_new_tokens: int | None = None,
        image_size: int | None = None,
        image_budget: ImageBudget | None = None,
        decoding: Decoding | None = None,
        compiled: bool = False,
        lanes: int = LANES,
        cache_mb: int = CACHE_MB,
    ) -> None:
        """Load the checkpoint.

        Args:
            directory: a local model directory of a supported family, `owner/name[@revision]` on the hub, or the output
                of `si-embodied models export`, which runs on ONNX Runtime.
            device: "auto", "cpu", "cuda" or "cuda:1"; for an ONNX export, its execution providers:
                "tensorrt,cuda,cpu".
            dtype: "auto", "float32", "bfloat16" or "float16".
            weights: "full"; on CUDA also "8bit" or "4bit".
            adapter: the directory of a LoRA adapter to merge into the weights; empty: none.
            thinking_tokens: above 0, the model is asked to think first, for at most so many tokens (`thinking`).
            max_new_tokens: fail on longer answers. Defaults to the longest answer that the prompt's schema allows.
            image_size: downscale images to this longest side, in pixels. By default images keep their size.
            image_budget: how large the images of a prompt may be. Defaults to the family's own.
            decoding: reuse, drafts, temperature and seed. Its other fields are set for each prompt.
            compiled: compile the decoding steps with torch. Faster on CUDA only; the first call takes about a minute.
            lanes: the most prompts that are answered at once, for as many calling threads. With an export it is one.
            cache_mb: memory of what is kept between prompts, in MiB (`CacheMemory`). With 0, only the last prompt's
                key/value cache.

        Raises:
            CheckpointError: the directory cannot be loaded, or the adapter does not fit it.
            ConfigError: an unknown device, dtype or weights, an adapter with an export or quantized weights, or a
                number out of range.
            MissingExtraError: torch, transformers, llguidance, or a library that `weights` or `adapter` needs is not
                installed.
        """
        for name, value in (("max_new_tokens", max_new_tokens), ("image_size", image_size), ("lanes", lanes)):
            if value is not None and value < 1:
                raise ConfigError(f"expected {name} to be at least 1, got: {value}")
        for name, value in (("thinking_tokens", thinking_tokens), ("cache_mb", cache_mb)):
            if value < 0:
                raise ConfigError(f"expected {name} to be at least 0, got: {value}")
        memory = CacheMemory.of(cache_mb)
        prompts = checkpoint_prompts(resolve_model(directory))
        model = open_model(
            directory, device=device, dtype=dtype, weights=weights, adapter=adapter, compiled=compiled, memory=memory
        )  # fmt: skip
        self._family = model.family
        self._lanes = Lanes(model.runner, most=lanes, cache_bytes=memory.prompts)
        if image_budget is not None:
            self._family.budget = image_budget
        self._grammars = Grammars(
            model.tokenizer_json, vocabulary_size=model.vocabulary_size, end_token=model.family.end_token
        )
        self._max_new_tokens, self._image_size = max_new_tokens, image_size
        self._thinking_tokens = thinking_tokens
        self._decoding = decoding or Decoding()
        self._running: set[threading.Event] = set()  # one event per call of `generate`, set to abort it
        self.info = BackendInfo(model.name, model.kernel, model.dtype, prompts)
        _LOG.info("%s: attention kernel %s, dtype %s", self.info.model, self.info.kernel, self.info.dtype)

    @property
    def family(self) -> Family:
        """The model family, which defines the chat format and the image layout."""
        return self._family

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete the prompt. The answer always fits the prompt's schema.

        Any number of threads may call this at once. Up to `lanes` prompts share the model's forward passes; further
        ones wait. A prompt continues the kept cache with the longest common prefix, which is that of its robot's last
        prompt. Each answer is that of the prompt alone: other prompts change at most the rounding of its logits.

        Latency stages: "vision" (image layout, tokenization, waiting for a lane, vision tower), "prefill", "think" (if
        the model is asked to), "decode". Counts: "thought" is the number of tokens that were thought, with their tags;
        "steps" is the number of model steps of the answer after the prefill; "reused" counts prompt tokens; "drafted"
        and "accepted" count answer tokens.

        Raises:
            DeadlineExceeded: the deadline passed. It is checked before every layer of images and prompt, before every
                decoding step, and while waiting for other threads' prompts.
            PromptTooLong: prompt and answer do not fit into the model's context.
            BackendError: the model failed, the answer was longer than `max_new_tokens`, or `cancel` was called.
            ConfigError: the prompt's schema is not supported or is unbounded.
        """
        return self._complete(prompt, deadline_s, set())

    def _complete(self, prompt: Prompt, deadline_s: float, running: set[threading.Event]) -> Completion:
        """Complete the prompt; in the meantime, an event that aborts it is in `running`."""
        started = time.monotonic()
        if not deadline_s > 0:
            raise DeadlineExceeded(f"no time left to answer: deadline_s is {deadline_s}")
        canceled = threading.Event()
        for events in (self._running, running):
            events.add(canceled)
        try:
            return self._generate(prompt, started, started + deadline_s, canceled)
        finally:
            for events in (self._running, running):
                events.discard(canceled)

    def _generate(self, prompt: Prompt, started: float, deadline: float, canceled: threading.Event) -> Completion:
        if self._image_size is not None:
            prompt = replace(prompt, content=tuple(_reduced(part, self._image_size) for part in prompt.content))
        if self._thinking_tokens:
            prompt = asked_to_think(prompt)
        inputs = self._family.encode(prompt)
        schema = self._family.schema(prompt, inputs)
        longest = self._max_new_tokens or longest_answer_bytes(schema)
        spare = self._spare_tokens(inputs, min(longest, ANSWER_TOKENS))
        options = replace(self._decoding, max_new_tokens=longest, deadline=deadline, canceled=canceled)
        with self._lanes.take(inputs, deadline=deadline) as lane:
            prepared_s = time.monotonic() - started
            decoded = self._decode(lane, inputs, schema, options, spare)
        text = self._grammars.text(decoded.tokens)
        thinks = {"think": decoded.think_s} if decoded.thoughts else {}
        return Completion(
            self._family.answer(inside_answer(text) if decoded.thoughts else text, prompt, inputs),
            prompt_tokens=len(inputs.input_ids),
            completion_tokens=len(decoded.thoughts) + len(decoded.tokens),
            latency_s={
                "vision": prepared_s + decoded.vision_s,
                "prefill": decoded.prefill_s,
                **thinks,
                "decode": decoded.decode_s,
            },
            thought=thought_in(self._grammars.text(decoded.thoughts)),
            counts={
                "thought": len(decoded.thoughts),
                "steps": decoded.model_steps,
                "reused": decoded.reused_tokens,
                "drafted": decoded.drafted_tokens,
                "accepted": decoded.accepted_tokens,
            },
            certainty=self._certainty(decoded, text),
        )

    def _spare_tokens(self, inputs: ModelInputs, answer: int) -> int:
        """How many tokens the model's context has left for thinking, beside a prompt and an answer."""
        context, prompt = self._family.context_tokens, len(inputs.input_ids)
        if prompt + answer > context:
            raise PromptTooLong(
                f"the prompt has {prompt} tokens ({int(inputs.is_image.sum())} of them for {len(inputs.images)} images)"
                f" and its answer needs {answer}, but the model's context is {context}; show fewer or smaller images "
                "(image_size, image_budget), or less text"
            )
        return context - prompt - answer - TAG_TOKENS

    def _decode(
        self, lane: Lane, inputs: ModelInputs, schema: Mapping[str, Any], options: Decoding, spare: int
    ) -> Decoded:
        """Decode the answer, after thinking if the model is to and has room for it."""
        key, constraint = json.dumps(schema), self._grammars.start(schema)
        earlier, budget = lane.earlier(key), min(self._thinking_tokens, spare)
        if budget > 0:
            thinking = Thinking.up_to(budget, self._grammars)
            decoded = decode_after_thinking(lane.runner, inputs, thinking, constraint, options, earlier=earlier)
        else:
            decoded = decode(lane.runner, inputs, constraint, options, earlier=earlier)
        lane.keep_answer(key, decoded.tokens)
        return decoded

    def _certainty(self, decoded: Decoded, text: str) -> Certainty | None:
        chosen = zip(decoded.tokens, decoded.probabilities, strict=True)
        return certainty_of([Token(self._grammars.token_bytes(token), each) for token, each in chosen], text)

    def write(self, conversation: Conversation, *, interrupted: threading.Event) -> ModelWriting:
        """Begin the answer to a conversation (see `Writer`). Points are in the family's own convention."""
        if (longest_px := self._image_size) is not None:
            turns = (
                replace(turn, content=tuple(_reduced(part, longest_px) for part in turn.content))
                for turn in conversation.turns
            )
            conversation = replace(conversation, turns=tuple(turns))
        return ModelWriting(
            self._family, self._lanes, self._grammars, conversation, interrupted, self._thinking_tokens
        )  # fmt: skip

    @property
    def lanes(self) -> int:
        """How many prompts are answered at once."""
        return self._lanes.most

    def caller(self) -> Backend:
        """This backend as one of its callers sees it; see `SharedBackend`."""
        return _Caller(self)

    def forget(self) -> None:
        """Drop the kept caches; see `SharedBackend`."""
        self._lanes.clear()

    def cancel(self) -> None:
        """Abort the answers in progress, also those that wait for the model. Any thread may call this."""
        for canceled in tuple(self._running):
            canceled.set()

    def close(self) -> None:
        """Abort the answers in progress and drop the kept caches. Memory is freed with the last reference."""
        self.cancel()
        self.forget()


class _Caller:
    """One of several callers of a backend."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend, self.info = backend, backend.info
        self._running: set[threading.Event] = set()

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """See `LocalBackend.generate`."""
        return self._backend._complete(prompt, deadline_s, self._running)

    def cancel(self) -> None:
        """Abort what this caller has asked for."""
        for canceled in tuple(self._running):
            canceled.set()

    def close(self) -> None:
        """Abort what this caller has asked for; the backend stays open."""
        self.cancel()


def _reduced(part: str | NDArray[np.uint8], longest_px: int) -> str | NDArray[np.uint8]:
    """Downscale an image so its longest side is at most `longest_px`; return text and small images unchanged."""
    if isinstance(part, str) or part.ndim != 3 or max(part.shape[:2]) <= longest_px:
        return part
    height, width = part.shape[:2]
    scale = longest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))
