"""One prompt decoded by our engine and by transformers' `generate`, with the same model and grammar, both timed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from si_embodied.models.constraint import Constraint, Grammars, longest_answer_bytes
from si_embodied.models.decoding import Decoded, Decoding, decode
from si_embodied.models.families import Family
from si_embodied.models.lanes import Lane
from si_embodied.models.onnx.runner import OnnxRunner
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.types import Prompt


@dataclass(slots=True)
class Model:
    """What both sides decode with."""

    model: Any  # transformers', as transformers makes it
    family: Family
    grammars: Grammars
    runner: TorchRunner | OnnxRunner
    plain: OnnxRunner | None = None  # of a runner with other weights than `model`: the same, to decode plainly
    lane: Lane = field(init=False)  # keeps our last answers, the next one's drafts

    def __post_init__(self) -> None:
        self.lane = Lane(self.runner, 0)

    def forget(self) -> None:
        """Forget the last prompts and answers."""
        self.runner.forget()
        self.lane.answers.clear()


@dataclass(slots=True)
class Timing:
    """One kind of plan, timed on both sides: seconds and counts, one entry per prompt."""

    ours_total: list[float] = field(default_factory=list)
    ours_decode: list[float] = field(default_factory=list)
    peer_total: list[float] = field(default_factory=list)
    peer_decode: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    peer_cpu: list[float] = field(default_factory=list)
    ours: list[Decoded] = field(default_factory=list)
    identical: int = 0  # answers equal token for token


class Mask(LogitsProcessor):  # type: ignore[misc]
    """The grammar as a logits processor for `generate`."""

    def __init__(self, constraint: Constraint, prompt_length: int, end: int) -> None:
        self.constraint, self.seen, self.end = constraint, prompt_length, end
        self.prefilled_at = 0.0  # seconds; `generate` calls this first when the prompt has been read

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the tokens that the grammar forbids."""
        self.prefilled_at = self.prefilled_at or time.perf_counter()
        self.constraint.accept(input_ids[0, self.seen :].tolist())
        self.seen = input_ids.shape[1]
        if self.constraint.finished:
            allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
            allowed[self.end] = True
        else:
            allowed = torch.from_numpy(self.constraint.allowed())
        return scores.masked_fill_(~allowed, -torch.inf)


def generate(model: Model, prompt: Prompt) -> tuple[tuple[int, ...], float, float]:
    """The answer of transformers' `generate`, and its seconds in total and after the prefill."""
    started = time.perf_counter()
    inputs = model.family.encode(prompt)
    schema = model.family.schema(prompt, inputs)
    mask = Mask(model.grammars.start(schema), len(inputs.input_ids), model.family.end_token)
    arguments = {name: torch.from_numpy(array) for name, array in inputs.pixels.items()}
    if "image_grid_thw" in arguments:
        arguments["mm_token_type_ids"] = torch.from_numpy(inputs.is_image.astype(np.int32))[None]
    input_ids = torch.from_numpy(inputs.input_ids)[None]
    output = model.model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        logits_processor=LogitsProcessorList([mask]),
        do_sample=False,
        use_cache=True,
        max_new_tokens=longest_answer_bytes(schema) + 1,
        eos_token_id=model.family.end_token,
        pad_token_id=model.family.end_token,
        **arguments,
    )
    ended = time.perf_counter()
    new = [int(token) for token in output[0, len(inputs.input_ids) :]]
    answer = tuple(token for token in new if token != model.family.end_token)
    return answer, ended - started, ended - mask.prefilled_at


def ours(model: Model, prompt: Prompt, plain: OnnxRunner | None = None) -> tuple[Decoded, float]:
    """Our answer, drafted from the last ones, and its seconds; with `plain`, that runner's without reuse and drafts."""
    started = time.perf_counter()
    inputs = model.family.encode(prompt)
    schema = model.family.schema(prompt, inputs)
    options = Decoding(max_new_tokens=longest_answer_bytes(schema), reuse=plain is None, drafts=plain is None)
    key = json.dumps(schema)
    earlier = model.lane.earlier(key)
    decoded = decode(plain or model.runner, inputs, model.grammars.start(schema), options, earlier=earlier)
    if plain is None:
        model.lane.keep_answer(key, decoded.tokens)
    return decoded, time.perf_counter() - started


def compare(model: Model, prompt: Prompt, timing: Timing) -> None:
    """Decode one prompt on both sides, in an order that alternates from prompt to prompt."""
    if len(timing.ours) % 2 == 0:
        decoded = _time_ours(model, prompt, timing)
        answer = _time_peer(model, prompt, timing)
    else:
        answer = _time_peer(model, prompt, timing)
        decoded = _time_ours(model, prompt, timing)
    if model.plain is not None:
        answer = ours(model, prompt, model.plain)[0].tokens
    timing.identical += decoded.tokens == answer


def _time_ours(model: Model, prompt: Prompt, timing: Timing) -> Decoded:
    started = time.process_time()
    decoded, total_s = ours(model, prompt)
    timing.ours_cpu.append(time.process_time() - started)
    timing.ours_total.append(total_s)
    timing.ours_decode.append(decoded.decode_s)
    timing.ours.append(decoded)
    return decoded


def _time_peer(model: Model, prompt: Prompt, timing: Timing) -> tuple[int, ...]:
    started = time.process_time()
    answer, total_s, decode_s = generate(model, prompt)
    timing.peer_cpu.append(time.process_time() - started)
    timing.peer_total.append(total_s)
    timing.peer_decode.append(decode_s)
    return answer
