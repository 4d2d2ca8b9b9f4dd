"""Our decoding engine against transformers' `generate`, as ratios within one run.

Both sides get the same weights, dtype, prompt and llguidance grammar, and two threads; `generate` runs the model as
transformers makes it, has its key/value cache, and takes the grammar as a logits processor. Each prompt is decoded by
one and then by the other, in an order that alternates, and a ratio is of the medians. "total" runs from the prompt with
its image to the answer's tokens; "decode" is what follows the prefill. "processor" is the ratio of total CPU time,
which is the steadier of the two on a machine that is also doing other work. Every answer must be equal, token for
token. The last line is JSON.

large: an untrained Qwen3-VL with 151,936 rows, as Qwen has, a vocabulary of that size made for this benchmark, and the
    prompt nav/v1 (system text, a memory of four lines, one 448 px image). The image is a window that pans over a
    synthetic panorama.
    - first: nothing of the prompt is cached.
    - next image: the window has moved, and the memory has one more line. An untrained model changes its answer for no
      reason, so the draft helps it less than a trained model, whose plans mostly repeat.
    - unchanged: the memory is the same and the image is new (the robot stands; noise of one grey level in some pixels),
      and `generate` itself gave the same answer as before. Images for which it did not are left out: this is the cost
      of a re-plan that confirms the last plan.
    - four views: the prompt nav/v2 with four remembered views, of which nothing has changed since the plan before; the
      present image and a line of memory are new.
    Untrained logits would fill every string to its bound with noise, or plan nothing; a bias in the weights, the same
    for both sides, makes plans of one to three subgoals (30 to 90 tokens) with short names.
nano: si-nano, the checkpoint in the package, on prompts recorded in episodes of Tabletop-v0 and Apartment-v0. Each is
    decoded by both sides, in the order of the episodes, in one process, which drafts from its earlier answers too.
    - next episode: the first prompt of each episode.
    - replan: all others. The images are new, because the robot has moved.
    - first: the first prompts again, with nothing cached and no answer to draft from.
nano onnx, nano int8: the same prompts with exports on ONNX Runtime, against the same `generate`. Eight bits may choose
    other tokens, so int8's answers must be those of the same export decoded plainly: without reuse and drafts.

The published figures are of `--rounds 6 --replans 100`, ten minutes; 100 rounds take an hour.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from decoding_peer import Model, Timing, compare
from untrained_qwen3_vl import run_large

from si_embodied.backends.local import LocalBackend
from si_embodied.config import CHECKPOINT_SETTINGS, load_planner_config
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import make_env, observe
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.constraint import Grammars
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.onnx.export import export_model
from si_embodied.models.onnx.manifest import Precision
from si_embodied.models.onnx.runner import OnnxRunner
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.types import Prompt

LIMITS = {
    "large first total": 0.25,
    "large next image total": 0.20,
    "large unchanged total": 0.06,
    "large four views total": 0.25,
    "nano replan total": 0.50,
    "nano int8 replan total": 0.40,
}


PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


class Recorder:
    """A backend that records its prompts."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.info, self.prompts = backend, backend.info, list[Prompt]()

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Any:
        """Record the prompt and pass it on."""
        self.prompts.append(prompt)
        return self.backend.generate(prompt, deadline_s=deadline_s)


def record_episodes(replans: int) -> list[list[Prompt]]:
    """The prompts of each episode: 20 on the table, which mostly plan once, then apartments until `replans` are had."""
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
    """First plans and re-plans of si-nano with torch and, exported into `folder`, with ONNX Runtime."""
    checkpoint = load_checkpoint(shipped_checkpoint(), device="cpu")
    grammars = Grammars(
        checkpoint.tokenizer_json, vocabulary_size=checkpoint.vocabulary_size, end_token=checkpoint.family.end_token
    )
    peer = copy.deepcopy(checkpoint.model)
    exports = [export_model(shipped_checkpoint(), folder / precision, precision=precision) for precision in PRECISIONS]
    fp32, int8, plain = (OnnxRunner(export, threads=2) for export in (*exports, exports[-1]))
    runners: dict[str, tuple[TorchRunner | OnnxRunner, OnnxRunner | None]] = {
        "nano": (TorchRunner(checkpoint.model), None),
        "nano onnx": (fp32, None),
        "nano int8": (int8, plain),
    }
    episodes = record_episodes(replans)
    timings: dict[str, Timing] = {}
    for name, (runner, plain_runner) in runners.items():
        model = Model(peer, checkpoint.family, grammars, runner, plain_runner)
        compare(model, episodes[0][0], Timing())
        known = {kind: timings.setdefault(f"{name} {kind}", Timing()) for kind in ("next episode", "first", "replan")}
        for episode in episodes:
            for index, prompt in enumerate(episode):
                compare(model, prompt, known["replan" if index else "next episode"])
        for episode in episodes:
            model.forget()
            compare(model, episode[0], known["first"])
    return timings


def report(name: str, timing: Timing) -> dict[str, Any]:
    """Print one kind of plan, and return its row of the JSON."""
    ours_ms, generate_ms = (statistics.median(each) * 1e3 for each in (timing.ours_total, timing.peer_total))
    total = ours_ms / generate_ms
    decoding = statistics.median(timing.ours_decode) / statistics.median(timing.peer_decode)
    processor = statistics.median(timing.ours_cpu) / statistics.median(timing.peer_cpu)

    def middle(field: str) -> float:
        return statistics.median(getattr(decoded, field) for decoded in timing.ours)

    print(
        f"{name}: total {total:.2f}{_verdict(f'{name} total', total)}, "
        f"decode {decoding:.2f}{_verdict(f'{name} decode', decoding)} of generate's, processor {processor:.2f} "
        f"({ours_ms:.0f} of {generate_ms:.0f} ms); vision {middle('vision_s') * 1e3:.0f}, "
        f"prefill {middle('prefill_s') * 1e3:.0f}, decode {middle('decode_s') * 1e3:.0f} ms; "
        f"{statistics.median(len(decoded.tokens) for decoded in timing.ours):.0f} tokens in "
        f"{middle('model_steps'):.0f} steps, {middle('accepted_tokens'):.0f} drafted and accepted, "
        f"{middle('reused_tokens'):.0f} reused; {timing.identical} of {len(timing.ours)} identical"
    )
    return {
        "total_ratio": total,
        "decode_ratio": decoding,
        "processor_ratio": processor,
        "ours_ms": ours_ms,
        "generate_ms": generate_ms,
        "n": len(timing.ours),
        "identical": timing.identical,
    }


def _verdict(key: str, ratio: float) -> str:
    if key not in LIMITS:
        return ""
    return f" ({'within' if ratio <= LIMITS[key] else 'OVER'} {LIMITS[key]:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="with the large model; 0 skips it (default: %(default)s)")
    parser.add_argument("--replans", type=int, default=40, help="with si-nano; 0 skips it (default: %(default)s)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(2)
    timings: dict[str, Timing] = {}
    if args.rounds:
        timings |= run_large(args.rounds)
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
