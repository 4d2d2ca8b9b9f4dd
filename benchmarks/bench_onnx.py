"""Tokens per second of exported models on ONNX Runtime relative to torch, as ratios within one run.

An untrained Qwen3-VL of 111 million parameters, 78 million of them the tied vocabulary of 151,936 rows, is exported in
fp32, int8 and int4. All runners read the same prompt (one 448 px image, about 400 tokens), then are fed the same tokens
one by one and compute the logits of the whole vocabulary after each. They take turns token by token, and a ratio is of
the medians. "rows" is the same with 64 allowed tokens, as is typical under a grammar: both sides then compute only
those rows of the output layer. The default is one thread, because with more a busy machine measures the wait for the
slowest thread. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from untrained_qwen3_vl import ROWS, qwen3_vl_config

from si_embodied.models.loading import load_checkpoint
from si_embodied.models.onnx.export import export_model
from si_embodied.models.onnx.manifest import Precision
from si_embodied.models.onnx.quantize import quantize_export
from si_embodied.models.onnx.runner import OnnxRunner
from si_embodied.models.runner import ModelRunner
from si_embodied.models.tiny import make_tiny_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.types import Prompt

LIMITS = {"fp32": 1.2, "int4": 2.5}
LOGITS_LIMIT = 1e-4
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int4")
ALLOWED = 64


def make_checkpoint(directory: Path, depth: int) -> Path:
    """A checkpoint with the tiny checkpoint's tokenizer and a model of realistic width."""
    make_tiny_checkpoint(directory)
    config = Qwen3VLConfig.from_pretrained(directory, local_files_only=True)
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    token_ids = {name: getattr(config, name) for name in names}
    model = Qwen3VLForConditionalGeneration(qwen3_vl_config(depth=depth, tied=True, **token_ids))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    model.config.save_pretrained(directory)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def measure(runners: dict[str, ModelRunner], inputs: Any, tokens: int) -> tuple[dict[str, dict[str, float]], float]:
    """Median seconds per runner for the prefill, a token with all logits and a token with few; and fp32's error."""
    every = np.ones(ROWS, dtype=np.bool_)
    few = np.zeros(ROWS, dtype=np.bool_)
    few[np.random.default_rng(0).choice(ROWS, ALLOWED, replace=False)] = True
    times: dict[str, dict[str, list[float]]] = {name: {"prefill": [], "all": [], "few": []} for name in runners}
    for name, runner in [*runners.items()] * 3:
        runner.forget()
        features = runner.encode_images(inputs)
        started = time.perf_counter()
        runner.prefill(inputs, features, ())
        times[name]["prefill"].append(time.perf_counter() - started)
    token, error = int(runners["torch"].logits(every).argmax()), 0.0
    for index in range(tokens + 4):
        kind, allowed = ("all", every) if index % 2 else ("few", few)
        logits = {}
        for name, runner in runners.items():
            started = time.perf_counter()
            runner.step([token])
            logits[name] = runner.logits(allowed)
            if index >= 4:  # the first four warm up
                times[name][kind].append(time.perf_counter() - started)
        error = max(error, float(np.abs(logits["torch"] - logits["fp32"]).max()))
        if kind == "all":
            token = int(logits["torch"].argmax())
    medians = {name: {kind: statistics.median(each) for kind, each in kinds.items()} for name, kinds in times.items()}
    return medians, error


def main() -> None:
    """Export the model, time all runners, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=96, help="tokens, half with all logits (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads per runner (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=8, help="decoder layers (default: %(default)s)")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = load_checkpoint(make_checkpoint(Path(folder) / "checkpoint", args.depth), device="cpu")
        runners: dict[str, ModelRunner] = {"torch": TorchRunner(checkpoint.model)}
        sizes: dict[str, float] = {}
        exported = export_model(checkpoint.directory, Path(folder) / "fp32")
        for precision in PRECISIONS:
            out = Path(folder) / precision
            if precision != "fp32":
                quantize_export(exported, out, precision)
            runners[precision] = OnnxRunner(out, "cpu", threads=args.threads)
            sizes[precision] = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        image = np.random.default_rng(1).integers(0, 256, (448, 448, 3), dtype=np.uint8)
        text = "Find the red chair left of the sofa, nearest to the door. " * 12
        inputs = checkpoint.family.encode(Prompt("bench/v1", "You plan for a robot.", (text, image), {}))
        medians, error = measure(runners, inputs, args.tokens)
    millions = sum(parameter.numel() for parameter in checkpoint.model.parameters()) / 1e6
    report(medians, sizes, {"parameters": millions, "prompt_tokens": len(inputs.input_ids)}, error)


def report(
    medians: dict[str, dict[str, float]], sizes: dict[str, float], about: dict[str, float], error: float
) -> None:
    """Print a table, and the same as JSON."""
    print(f"{about['parameters']:.0f} M parameters, prompt of {about['prompt_tokens']} tokens")
    print(f"{'':6}{'tokens/s':>10}{'x torch':>9}{'limit':>7}{'rows':>7}{'prefill':>9}{'MB':>7}")
    ratios: dict[str, dict[str, float]] = {}
    for name, seconds in medians.items():
        ratio = {kind: medians["torch"][kind] / seconds[kind] for kind in seconds}
        ratios[name] = ratio
        limit = f"{LIMITS[name]:.1f}" if name in LIMITS else ""
        size = f"{sizes[name]:.0f}" if name in sizes else ""
        print(
            f"{name:6}{1 / seconds['all']:10.1f}{ratio['all']:9.2f}{limit:>7}{ratio['few']:7.2f}"
            f"{ratio['prefill']:9.2f}{size:>7}"
        )
    print(f"largest difference of fp32's logits from torch's: {error:.1e} (limit {LOGITS_LIMIT:.0e})")
    within = error <= LOGITS_LIMIT and all(ratios[name]["all"] >= limit for name, limit in LIMITS.items())
    print(json.dumps({**about, "ratios": ratios, "limits": LIMITS, "logits": error, "within": within}))


if __name__ == "__main__":
    main()
