"""An untrained Qwen3-VL of realistic width with a vocabulary of Qwen's size, and its rounds of bench_decoding.py."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoding_peer import Model, Timing, compare, generate, ours
from numpy.typing import NDArray
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from si_embodied import CameraFrame, Intrinsics, Observation, Pose, Task
from si_embodied.memory import Attempt, Memory
from si_embodied.models.constraint import Grammars
from si_embodied.models.families import Qwen3VL
from si_embodied.models.tiny import bias_output, draw_weights
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.plan import plan_schema
from si_embodied.prompts import load_prompt
from si_embodied.types import Code, Outcome, Prompt

ROWS, HIDDEN = 151_936, 512
WORDS = 151_643
"""Qwen's tokens without its special ones."""

_SPECIAL_TOKENS = (
    "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start",
    "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad",
)  # fmt: skip
_BIAS = {"goto": 10.0, "turn": 8.0, "look": 8.0, "forward": 8.0, "stop": -40.0, "st": -40.0, "s": -40.0, "home": -40.0}
"""Logit biases that make the untrained model prefer moving to stopping."""


def qwen3_vl_config(*, depth: int, tied: bool, **token_ids: int) -> Any:
    """The configuration: `depth` decoder layers 512 wide, four vision layers 256 wide, 151,936 vocabulary rows."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": ROWS,
            "hidden_size": HIDDEN,
            "intermediate_size": 3 * HIDDEN,
            "num_hidden_layers": depth,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [12, 10, 10]},
        },
        vision_config={
            "depth": 4,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_heads": 4,
            "patch_size": 16,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 28 * 28,
            "deepstack_visual_indexes": [1, 3],
        },
        tie_word_embeddings=tied,
        **token_ids,
    )


def qwen_sized_tokenizer() -> Any:
    """Qwen's tokenizer with 151,643 tokens of our own: byte pairs of this repository's texts, and invented words.

    No package brings Qwen's vocabulary alone. What the time of a plan depends on is the same: the number of tokens, and
    that the words of prompts and plans are few tokens each.
    """
    root = Path(__file__).parents[1]
    files = (root / "docs").glob("*.md"), (root / "si_embodied").glob("**/*.py"), (root / "si_embodied").glob("**/*.md")
    texts = [file.read_text(encoding="utf-8") for file in sorted(itertools.chain(*files))]
    trained = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    alphabet = ByteLevel.alphabet()
    trained.train_from_iterator(texts, BpeTrainer(min_frequency=3, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocabulary = dict(model["vocab"])
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    for word in map("".join, itertools.product("\u0120", syllables, syllables, syllables)):  # U+0120 stands for a space
        if len(vocabulary) == WORDS:
            break
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=[tuple(pair) for pair in model["merges"]], eos_token="<|im_end|>"
    )
    tokenizer.add_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in _SPECIAL_TOKENS])
    return tokenizer


def large_model(seed: int = 0) -> Model:
    """The untrained model, eight layers deep, biased towards moving."""
    tokenizer = qwen_sized_tokenizer()
    tokens = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    token_ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in tokens.items()}
    config = qwen3_vl_config(depth=8, tied=False, **token_ids)
    model = Qwen3VLForConditionalGeneration(config).eval()
    draw_weights(model, seed)
    with torch.no_grad():
        model.lm_head.weight[:, 0] = 0.0  # also for rows that the tokenizer has no token for
    bias_output(model, tokenizer, _bias)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": 256 * 256, "longest_edge": 448 * 448},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    tokenizer_json = str(tokenizer.backend_tokenizer.to_str())
    family = Qwen3VL(tokenizer_json, processor, config)
    grammars = Grammars(tokenizer_json, vocabulary_size=ROWS, end_token=family.end_token)
    return Model(copy.deepcopy(model), family, grammars, TorchRunner(model))


def _bias(token: str) -> float:
    """A token's logit bias: towards moving, one more subgoal, and the end of a name."""
    if token in _BIAS:
        return _BIAS[token]
    if "{" in token:
        return 24.0
    return 18.0 if token[0] == '"' and "[]" not in token else 0.0


def panorama(rng: np.random.Generator, width: int, height: int = 448) -> NDArray[np.uint8]:
    """A wide image (height, width, 3) of floor, wall and coloured boxes."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[: height // 2], picture[height // 2 :] = rng.integers(90, 220, 3), rng.integers(40, 160, 3)
    for _ in range(width // 24):
        x, y = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        picture[y : y + int(rng.integers(20, 160)), x : x + int(rng.integers(20, 160))] = rng.integers(0, 256, 3)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def large_prompt(window: NDArray[np.uint8], lines: int) -> Prompt:
    """nav/v1 as the planner renders it, with `lines` lines of memory."""
    done = ("goto red chair: done", "turn -90: done", "goto kitchen door: failed (unreachable)", "explore: done")
    memory = "\n".join(f"{number + 1}. {done[number % len(done)]}" for number in range(lines))
    template = load_prompt("nav/v1")
    before, after = template.user.split("$views")
    task = "go to the blue armchair that is left of the bookcase, then look at the clock"
    text = before.replace("$instruction", task).replace("$memory", memory)
    content = (text, "View 0 (head camera): ", window, "\n", after.lstrip("\n"))
    return Prompt("nav/v1", template.system, content, plan_schema("navigation", 1))


def remembering_prompt(views: Sequence[NDArray[np.uint8]], window: NDArray[np.uint8], lines: int) -> Prompt:
    """nav/v2 with remembered views, and `lines` lines of memory."""
    camera = Intrinsics.from_vertical_fov(448, 448, 1.2)
    frames = [
        CameraFrame("head", float(k), rgb, None, camera, Pose.identity()) for k, rgb in enumerate((*views, window))
    ]
    observation = Observation(float(len(views)), (frames[-1],), Pose.identity(), keyframes=tuple(frames[:-1]))
    memory = Memory()
    for number in range(lines):
        memory = memory.add(Attempt(f"goto thing {number}", None, Pose.identity(), Outcome(Code.OK)))
    task = Task("go to the blue armchair that is left of the bookcase, then look at the clock", "navigation")
    return load_prompt("nav/v2").render(task, observation, memory)


def run_large(rounds: int) -> dict[str, Timing]:
    """Rounds of a first plan, re-plans on the next image, that confirm the plan, and with four remembered views."""
    model = large_model()
    parameters = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
    print(f"large: {parameters:.0f} M parameters, {ROWS} rows")
    rng = np.random.default_rng(0)
    timings = {"first": Timing(), "next image": Timing(), "unchanged": Timing(), "four views": Timing()}
    wide = panorama(rng, 448 + 40 * rounds)
    warm = large_prompt(panorama(rng, 448), 4)
    ours(model, warm)
    generate(model, warm)
    views = [panorama(rng, 448) for _ in range(4)]
    tried = 0
    for number in range(rounds):
        lines = 4 + number % 8
        first = wide[:, 40 * number : 40 * number + 448]
        model.forget()
        compare(model, large_prompt(first, lines), timings["first"])
        following = wide[:, 40 * number + 20 : 40 * number + 468]
        compare(model, large_prompt(following, lines + 1), timings["next image"])
        for same in _unchanged(model, following, lines + 1, rng):
            tried += 1
            if same is not None:
                compare(model, same, timings["unchanged"])
                break
        ours(model, remembering_prompt(views, first, lines))
        compare(model, remembering_prompt(views, following, lines + 1), timings["four views"])
    print(f"large: {len(timings['unchanged'].ours)} of {tried} noisy images left the answer unchanged")
    return {f"large {kind}": timing for kind, timing in timings.items()}


def _unchanged(
    model: Model, window: NDArray[np.uint8], lines: int, rng: np.random.Generator
) -> Iterator[Prompt | None]:
    """Prompts with less and less noise in the same view; None where `generate` gave another answer than before."""
    _, last = model.lane.answers[0]
    for count in (256, 64, 16, 4):
        noisy = window.copy()
        rows, columns = rng.integers(0, window.shape[0], count), rng.integers(0, window.shape[1], count)
        noisy[rows, columns] ^= 1
        prompt = large_prompt(noisy, lines)
        yield prompt if generate(model, prompt)[0] == last else None
