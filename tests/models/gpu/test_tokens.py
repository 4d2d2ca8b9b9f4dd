"""Precision, compilation and company change no token that is not a near tie."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.backends import LocalBackend
from si_embodied.models.constraint import Grammars
from si_embodied.models.decoding import Decoded, Decoding, decode
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.torch_runner import TorchRunner

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.types import Prompt

CLEAR = 0.7
"""Probability from which a token's lead is at least log(0.7 / 0.3) = 0.85, beyond what 8 bits of mantissa change."""


@dataclass
class Engine:
    """Decodes with a checkpoint, and shows the probability of every token."""

    path: Path
    device: str
    dtype: str

    def __post_init__(self) -> None:
        self.checkpoint = load_checkpoint(self.path, device=self.device, dtype=self.dtype)
        self.runner = TorchRunner(self.checkpoint.model)
        self.grammars = Grammars(
            self.checkpoint.tokenizer_json, vocabulary_size=self.checkpoint.vocabulary_size,
            end_token=self.checkpoint.family.end_token,
        )  # fmt: skip

    def decode(self, prompt: Prompt) -> Decoded:
        inputs = self.checkpoint.family.encode(prompt)
        constraint = self.grammars.start(self.checkpoint.family.schema(prompt, inputs))
        return decode(self.runner, inputs, constraint, Decoding(max_new_tokens=400))


def _check_equal(exact: Engine, other: Engine, prompts: list[Prompt]) -> int:
    """Compare answers up to the first token that differs, which must be a near tie; returns how many were equal.

    After a tie that was broken differently, the rest of the answers may differ altogether.
    """
    compared = 0
    for prompt in prompts:
        expected, found = exact.decode(prompt), other.decode(prompt)
        for token, same, probability in zip(expected.tokens, found.tokens, expected.probabilities, strict=False):
            if token != same:
                assert probability < CLEAR
                break
            compared += 1
    return compared


def test_bfloat16_writes_what_float32_writes(
    family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt], device: str
) -> None:
    """Wherever float32's token leads clearly."""
    exact, coarse = (Engine(checkpoints[family_name], device, dtype) for dtype in ("float32", "bfloat16"))
    few = prompts if device == "cuda" else prompts[:2]
    assert _check_equal(exact, coarse, few) >= 4 * len(few)


def test_cuda_writes_what_the_cpu_writes(
    family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt], cuda: str
) -> None:
    """In float32, without TensorFloat-32."""
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        exact, other = (Engine(checkpoints[family_name], where, "float32") for where in ("cpu", cuda))
        _check_equal(exact, other, prompts)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def test_compiled_steps_write_the_same(
    family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt], cuda: str
) -> None:
    """Token by token, over six prompts with reuse and drafts between them; on a CPU nothing is compiled."""
    eager, compiled = (
        LocalBackend(checkpoints[family_name], device=cuda, dtype="float32", compiled=each) for each in (False, True)
    )
    for prompt in prompts:
        answers = [backend.generate(prompt, deadline_s=300.0) for backend in (eager, compiled)]
        assert answers[0].text == answers[1].text
        assert answers[0].completion_tokens == answers[1].completion_tokens


def test_robots_that_plan_at_once_get_their_own_answers(
    checkpoints: dict[str, Path], prompts: list[Prompt], device: str
) -> None:
    """Six threads on one model, each its prompt, twice; equal to planning alone, in float32."""
    alone = LocalBackend(checkpoints["qwen3_vl"], device=device, dtype="float32")
    expected = [alone.generate(prompt, deadline_s=60.0).text for prompt in prompts]
    shared = LocalBackend(checkpoints["qwen3_vl"], device=device, dtype="float32")
    with ThreadPoolExecutor(len(prompts)) as robots:
        for _ in range(2):
            found = list(robots.map(lambda prompt: shared.generate(prompt, deadline_s=60.0).text, prompts))
            assert found == expected


@pytest.mark.gpu
def test_every_family_plans_in_half_precision(
    family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt]
) -> None:
    """In the dtype and with the attention kernel that are chosen for this GPU; twice the same."""
    backend = LocalBackend(checkpoints[family_name])
    assert backend.info.dtype in ("bfloat16", "float16")
    texts = [[backend.generate(prompt, deadline_s=60.0).text for prompt in prompts] for _ in range(2)]
    assert texts[0] == texts[1]
