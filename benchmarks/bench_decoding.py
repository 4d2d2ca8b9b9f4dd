"""Our decoding engine against transformers' `generate`, as ratios within one run.

Both sides get the same model, dtype, prompt and llguidance grammar, and two threads; `generate` has its key/value cache
and takes the grammar as a logits processor. Each prompt is decoded by one and then by the other, in an order that
alternates, and a ratio is of the medians. "total" is from the prompt with its image to the answer's tokens, "decode"
what comes after the prompt has been read. "processor" is the ratio of processor time in total: on a machine that does
other work too it is the steadier of the two. Every answer must be equal, token for token. The last line is JSON.

large: an untrained Qwen3-VL with Qwen's own vocabulary of 151,936 rows and the prompt nav/v1 (system text, a memory of
    four lines, one 448 px image). What the robot saw is a window that pans over a made-up wide picture.
    - first: nothing is known of the prompt.
    - next image: the window has moved, and the memory has one line more. An untrained model's answer to that is another
      one for no reason, so that the draft is of less help than to a trained one, whose plans mostly repeat.
    - unchanged: the memory is the same, the picture is another (the robot stands; noise of one grey level in some
      pixels), and `generate` itself gave the same answer as before. Pictures for which it did not are left out: this
      is what a re-plan costs that confirms the last plan.
    Untrained logits would fill every string to its bound with noise, or plan nothing; a bias in the weights, the same
    for both sides, makes plans of one to three subgoals (about 55 tokens) with short names.
nano: the model that ships, in episodes of Tabletop-v0 and Apartment-v0. The prompts are those that it meets there; each
    is then decoded by both sides, in the order of the episode.
    - first: nothing is known of the prompt.
    - next episode: the same prompts, in a process that has run the episode before: with its last answer as the draft.
    - replan: all but the first of an episode. The pictures are new, for the robot has moved.
nano onnx: the same prompts on ONNX Runtime, of an export made for it, against the same `generate`.

Needs `qwen.tiktoken`, Qwen's vocabulary, which the wheels of `qwen-agent` and `dashscope` bring; neither has to be
installed: `pip download --no-deps qwen-agent`, unpack `qwen_agent/utils/qwen.tiktoken`, and give it with --vocabulary.
Without it the large model is left out, and says so.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor, LogitsProcessorList

from si_embodied.models.constraint import Constraint, Grammars, longest_answer_bytes
from si_embodied.models.decoding import Decoded, Decoding, decode
from si_embodied.models.families import Family, ModelInputs
from si_embodied.models.onnx.export import export_model
from si_embodied.models.onnx.runner import OnnxRunner
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.types import Prompt

LIMITS = {
    "large first total": 0.60,
    "large first decode": 0.50,
    "large next image total": 0.45,
    "large unchanged total": 0.25,
    "nano first total": 0.75,
    "nano replan total": 0.40,
    "nano onnx first total": 0.75,
    "nano onnx replan total": 0.40,
}


_LEAN = {"goto": 10.0, "turn": 8.0, "look": 8.0, "forward": 8.0, "stop": -40.0, "st": -40.0, "s": -40.0, "home": -40.0}
"""Biases of the untrained model, towards moving."""


@dataclass(slots=True)
class Model:
    """What both sides decode with."""

    model: Any
    family: Family
    grammars: Grammars
    runner: TorchRunner | OnnxRunner
    rows: int
    last: tuple[int, ...] = ()

    def forget(self) -> None:
        """Know nothing of the last prompt and its answer."""
        self.runner.forget()
        self.last = ()


@dataclass(slots=True)
class Timing:
    """Seconds of one kind of plan, on both sides."""

    ours_total: list[float] = field(default_factory=list)
    ours_decode: list[float] = field(default_factory=list)
    peer_total: list[float] = field(default_factory=list)
    peer_decode: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    peer_cpu: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)
    parts: list[tuple[float, float, float]] = field(default_factory=list)
    identical: int = 0


class Mask(LogitsProcessor):  # type: ignore[misc]
    """The grammar, as `generate` takes one."""

    def __init__(self, constraint: Constraint, prompt_length: int, end: int) -> None:
        self.constraint, self.seen, self.end = constraint, prompt_length, end
        self.read_at = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Forbid what the grammar does."""
        self.read_at = self.read_at or time.perf_counter()
        self.constraint.accept(input_ids[0, self.seen :].tolist())
        self.seen = input_ids.shape[1]
        if self.constraint.finished:
            allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
            allowed[self.end] = True
        else:
            allowed = torch.from_numpy(self.constraint.allowed())
        return scores.masked_fill_(~allowed, -torch.inf)


def generate(model: Model, prompt: Prompt) -> tuple[tuple[int, ...], float, float]:
    """The answer of transformers, and its seconds in all and after the prefill."""
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
    return tuple(token for token in new if token != model.family.end_token), ended - started, ended - mask.read_at


def ours(model: Model, prompt: Prompt) -> tuple[Decoded, float]:
    """Our answer, with the last one as its draft, and its seconds."""
    started = time.perf_counter()
    inputs: ModelInputs = model.family.encode(prompt)
    schema = model.family.schema(prompt, inputs)
    options = Decoding(max_new_tokens=longest_answer_bytes(schema))
    decoded = decode(model.runner, inputs, model.grammars.start(schema), options, last_answer=model.last)
    model.last = decoded.tokens
    return decoded, time.perf_counter() - started


def compare(model: Model, prompt: Prompt, timing: Timing) -> None:
    """Decode one prompt on both sides."""
    ours_first = len(timing.tokens) % 2 == 0
    for is_ours in (ours_first, not ours_first):
        started = time.process_time()
        if is_ours:
            decoded, ours_s = ours(model, prompt)
        else:
            theirs, total_s, decode_s = generate(model, prompt)
        (timing.ours_cpu if is_ours else timing.peer_cpu).append(time.process_time() - started)
    timing.ours_total.append(ours_s)
    timing.ours_decode.append(decoded.decode_s)
    timing.peer_total.append(total_s)
    timing.peer_decode.append(decode_s)
    timing.tokens.append(len(decoded.tokens))
    timing.steps.append(decoded.model_steps)
    timing.accepted.append(decoded.accepted_tokens)
    timing.reused.append(decoded.reused_tokens)
    timing.parts.append((decoded.vision_s, decoded.prefill_s, decoded.decode_s))
    timing.identical += decoded.tokens == theirs


# --- the large model ------------------------------------------------------------------------------------------------


def find_vocabulary() -> Path | None:
    """`qwen.tiktoken` of an installed package."""
    for package, path in (("qwen_agent", "utils"), ("dashscope", "resources")):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin).parent / path / "qwen.tiktoken"
            if file.is_file():
                return file
    return None


def qwen_tokenizer(vocabulary: Path) -> Any:
    """Qwen's tokenizer, from the ranks of its byte pairs."""
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    lines = (line.split() for line in vocabulary.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    converter = TikTokenConverter()
    converter.load_tiktoken_bpe = lambda _: ranks
    vocab, merges = converter.extract_vocab_merges_from_model("")
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>")
    names = "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end"
    names += " vision_start vision_end vision_pad image_pad video_pad"
    tokenizer.add_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names.split()])
    return tokenizer


def large_model(vocabulary: Path, seed: int = 0) -> Model:
    """An untrained Qwen3-VL: eight layers of 512, four of 256 for vision, 151,936 rows in and out."""
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from si_embodied.models.families import Qwen3VL

    tokenizer = qwen_tokenizer(vocabulary)
    identify = tokenizer.convert_tokens_to_ids
    rows, hidden, depth = 151_936, 512, 8
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": rows,
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
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
            "out_hidden_size": hidden,
            "num_position_embeddings": 28 * 28,
            "deepstack_visual_indexes": [1, 3],
        },
        image_token_id=identify("<|image_pad|>"),
        video_token_id=identify("<|video_pad|>"),
        vision_start_token_id=identify("<|vision_start|>"),
        vision_end_token_id=identify("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    _draw_weights(model, tokenizer, seed)
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
    grammars = Grammars(tokenizer_json, vocabulary_size=rows, end_token=family.end_token)
    return Model(model, family, grammars, TorchRunner(model), rows)


def _draw_weights(model: Any, tokenizer: Any, seed: int) -> None:
    """Normal weights scaled by the fan-in, attention sharp enough that answers depend on what is shown, and a lean.

    Channel 0 of the residual stream is a constant that no layer writes to: column 0 of the output layer is a bias.
    """
    generator = torch.Generator().manual_seed(seed)
    text = model.model.language_model
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                width = 1.0 if name.endswith("embed_tokens.weight") else parameter[0].numel() ** -0.5
                parameter.normal_(0.0, width, generator=generator)
        text.embed_tokens.weight[:, 0] = 1.0
        for layer in text.layers:
            layer.self_attn.q_norm.weight.fill_(4.0)
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        for token, number in tokenizer.get_vocab().items():
            model.lm_head.weight[number, 0] = _LEAN.get(token) or _lean_of_punctuation(token)


def _lean_of_punctuation(token: str) -> float:
    """Towards one more subgoal, and towards the end of a name."""
    if "{" in token:
        return 24.0
    return 18.0 if token[0] == '"' and "[]" not in token else 0.0


def panorama(rng: np.random.Generator, width: int, height: int = 448) -> NDArray[np.uint8]:
    """A wide picture of floor, wall and things."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[: height // 2], picture[height // 2 :] = rng.integers(90, 220, 3), rng.integers(40, 160, 3)
    for _ in range(width // 24):
        x, y = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        picture[y : y + int(rng.integers(20, 160)), x : x + int(rng.integers(20, 160))] = rng.integers(0, 256, 3)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def large_prompt(window: NDArray[np.uint8], lines: int) -> Prompt:
    """nav/v1 as the planner renders it."""
    from si_embodied.plan import plan_schema
    from si_embodied.prompts import load_prompt

    done = ("goto red chair: done", "turn -90: done", "goto kitchen door: failed (unreachable)", "explore: done")
    memory = "\n".join(f"{number + 1}. {done[number % len(done)]}" for number in range(lines))
    template = load_prompt("nav/v1")
    before, after = template.user.split("$views")
    task = "go to the blue armchair that is left of the bookcase, then look at the clock"
    text = before.replace("$instruction", task).replace("$memory", memory)
    content = (text, "View 0 (head camera): ", window, "\n", after.lstrip("\n"))
    return Prompt("nav/v1", template.system, content, plan_schema("navigation", 1))


def run_large(vocabulary: Path, rounds: int) -> dict[str, Timing]:
    """Rounds of a first plan, a re-plan on the next image and a re-plan that confirms it."""
    model = large_model(vocabulary)
    parameters = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
    print(f"large: {parameters:.0f} M parameters, {model.rows} rows")
    rng = np.random.default_rng(0)
    timings = {"first": Timing(), "next image": Timing(), "unchanged": Timing()}
    wide = panorama(rng, 448 + 40 * rounds)
    warm = large_prompt(panorama(rng, 448), 4)
    ours(model, warm)
    generate(model, warm)
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
    print(f"large: {len(timings['unchanged'].tokens)} of {tried} noisy pictures left the answer unchanged")
    return {f"large {kind}": timing for kind, timing in timings.items()}


def _unchanged(
    model: Model, window: NDArray[np.uint8], lines: int, rng: np.random.Generator
) -> Iterator[Prompt | None]:
    """Pictures of the same view, None where the answer is another."""
    last = model.last
    for count in (256, 64, 16, 4):
        noisy = window.copy()
        rows, columns = rng.integers(0, window.shape[0], count), rng.integers(0, window.shape[1], count)
        noisy[rows, columns] ^= 1
        prompt = large_prompt(noisy, lines)
        yield prompt if generate(model, prompt)[0] == last else None


# --- the model that ships -------------------------------------------------------------------------------------------


class Recorder:
    """A backend that keeps what it was asked."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.info, self.prompts = backend, backend.info, list[Prompt]()

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Any:
        """Pass on."""
        self.prompts.append(prompt)
        return self.backend.generate(prompt, deadline_s=deadline_s)


def record_episodes(replans: int) -> list[list[Prompt]]:
    """Prompts of episodes by episode: 20 on the table, which mostly plan once, and in apartments until it is enough."""
    from si_embodied.backends.local import LocalBackend
    from si_embodied.config import CHECKPOINT_SETTINGS, load_planner_config
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.episode import run_episode
    from si_embodied.evaluation.registry import make_env, observe
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.planner import Planner
    from si_embodied.policies.planner_policy import SpatialPlannerPolicy

    config = load_planner_config(shipped_checkpoint() / CHECKPOINT_SETTINGS)
    recorder = Recorder(LocalBackend(shipped_checkpoint(), device="cpu"))
    episodes: list[list[Prompt]] = []
    for name, most in (("si_embodied/Tabletop-v0", 20), ("si_embodied/Apartment-v0", replans)):
        env: Any = make_env(EvaluationConfig(env=name, policy="planner"))
        policy = SpatialPlannerPolicy(Planner(recorder, env.unwrapped.embodiment, config))
        for seed in range(most):
            if sum(len(episode) - 1 for episode in episodes) >= replans:
                break
            recorder.prompts = []
            run_episode(env, policy, seed, observe=observe, step_limit=120)
            if recorder.prompts:
                episodes.append(recorder.prompts[:26])
        env.close()
    return episodes


def run_nano(replans: int, folder: Path) -> dict[str, Timing]:
    """First plans and re-plans of the model that ships, with torch and, exported into `folder`, with ONNX Runtime."""
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.models.loading import load_checkpoint

    checkpoint = load_checkpoint(shipped_checkpoint(), device="cpu")
    grammars = Grammars(
        checkpoint.tokenizer_json, vocabulary_size=checkpoint.vocabulary_size, end_token=checkpoint.family.end_token
    )
    export_model(shipped_checkpoint(), folder)
    runners: dict[str, TorchRunner | OnnxRunner] = {
        "nano": TorchRunner(checkpoint.model),
        "nano onnx": OnnxRunner(folder, threads=2),
    }
    episodes = record_episodes(replans)
    timings: dict[str, Timing] = {}
    for name, runner in runners.items():
        model = Model(checkpoint.model, checkpoint.family, grammars, runner, checkpoint.vocabulary_size)
        compare(model, episodes[0][0], Timing())
        known = {kind: timings.setdefault(f"{name} {kind}", Timing()) for kind in ("next episode", "first", "replan")}
        for episode in episodes:
            compare(model, episode[0], known["next episode"])
            model.forget()
            for index, prompt in enumerate(episode):
                compare(model, prompt, known["replan" if index else "first"])
    return timings


def report(name: str, timing: Timing) -> dict[str, Any]:
    """Print a kind of plan, and give it back as JSON."""
    total = statistics.median(timing.ours_total) / statistics.median(timing.peer_total)
    decoding = statistics.median(timing.ours_decode) / statistics.median(timing.peer_decode)
    processor = statistics.median(timing.ours_cpu) / statistics.median(timing.peer_cpu)
    vision, prefill, rest = (statistics.median(part) * 1e3 for part in zip(*timing.parts, strict=True))
    middle = {
        key: statistics.median(getattr(timing, key))
        for key in ("ours_total", "peer_total", "tokens", "steps", "accepted", "reused")
    }
    print(
        f"{name}: total {total:.2f}{_verdict(f'{name} total', total)}, "
        f"decode {decoding:.2f}{_verdict(f'{name} decode', decoding)} of generate's, processor {processor:.2f} "
        f"({middle['ours_total'] * 1e3:.0f} of {middle['peer_total'] * 1e3:.0f} ms); "
        f"vision {vision:.0f}, prefill {prefill:.0f}, decode {rest:.0f} ms; {middle['tokens']:.0f} tokens in "
        f"{middle['steps']:.0f} steps, {middle['accepted']:.0f} drafted and accepted, {middle['reused']:.0f} reused; "
        f"{timing.identical} of {len(timing.tokens)} identical"
    )
    return {
        "total_ratio": total,
        "decode_ratio": decoding,
        "processor_ratio": processor,
        "ours_ms": statistics.median(timing.ours_total) * 1e3,
        "generate_ms": statistics.median(timing.peer_total) * 1e3,
        "n": len(timing.tokens),
        "identical": timing.identical,
    }


def _verdict(key: str, ratio: float) -> str:
    if key not in LIMITS:
        return ""
    return f" ({'within' if ratio <= LIMITS[key] else 'OVER'} {LIMITS[key]:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, help="qwen.tiktoken; by default of an installed package")
    parser.add_argument("--rounds", type=int, default=7, help="of the large model; 0 leaves it out")
    parser.add_argument("--replans", type=int, default=100, help="of the model that ships; 0 leaves it out")
    args = parser.parse_args(arguments)
    torch.set_num_threads(2)
    timings: dict[str, Timing] = {}
    vocabulary = args.vocabulary or find_vocabulary()
    if args.rounds and vocabulary is not None:
        timings |= run_large(vocabulary, args.rounds)
    elif args.rounds:
        print("large: left out, there is no qwen.tiktoken; the beginning of this file says where to get it")
    if args.replans:
        with tempfile.TemporaryDirectory() as folder:
            timings |= run_nano(args.replans, Path(folder))
    result = {name: report(name, timing) for name, timing in timings.items()}
    cases = sum(entry["n"] for entry in result.values())
    identical = sum(entry["identical"] for entry in result.values())
    print(f"token for token identical: {identical} of {cases}")
    print(json.dumps({"benchmark": "decoding", "limits": LIMITS, "cases": cases, "identical": identical, **result}))


if __name__ == "__main__":
    main()
