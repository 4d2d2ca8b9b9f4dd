"""`si-embodied train lora`: tune a real checkpoint on questions and answers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from si_embodied.cli.arguments import whole_number


def add_lora_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `train lora`; what is not given keeps `LoraConfig`'s default."""
    parser = verbs.add_parser(
        "lora",
        help="a LoRA adapter for a checkpoint of a supported family",
        description="Tune a local checkpoint (qwen3_vl, qwen2_5_vl, internvl) with LoRA on questions and answers in "
        "SenseNova-SI's JSONL form, the loss on the answers alone.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--model", type=Path, required=True, metavar="DIR|ID", help="a checkpoint, local or on the hub")
    parser.add_argument(
        "--data", type=Path, required=True, nargs="+", metavar="DIR|FILE",
        help="folders that `si-embodied data generate` wrote, or JSONL files",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--images", type=Path, default=None, metavar="DIR",
        help="what image paths are relative to (default: each data set's folder)",
    )  # fmt: skip
    parser.add_argument("--merge", action="store_true", default=False, help="write a whole tuned checkpoint, too")
    parser.add_argument("--resume", action="store_true", default=False, help="go on from the last checkpoint of --out")

    tuned = parser.add_argument_group("what is tuned")
    tuned.add_argument("--rank", type=whole_number(1, 16), metavar="R", help="default: 16")
    tuned.add_argument("--alpha", type=whole_number(1, 32), metavar="A", help="update times A / R (default: 32)")
    tuned.add_argument("--dropout", type=_number(below=1), metavar="P", help="default: 0.05")
    tuned.add_argument("--projector", action="store_true", help="the layers between vision and language, too")

    course = parser.add_argument_group("how")
    course.add_argument("--epochs", type=_number(), metavar="N", help="default: 1")
    course.add_argument("--steps", type=whole_number(1, 500), metavar="N", help="optimizer steps, in place of epochs")
    course.add_argument("--batch-size", type=whole_number(1, 4), metavar="N", help="default: 1")
    course.add_argument("--accumulation", type=whole_number(1, 8), metavar="N", help="batches a step (default: 8)")
    course.add_argument("--learning-rate", type=_number(), metavar="LR", help="default: 0.0001")
    course.add_argument("--warmup", type=_number(below=1), metavar="SHARE", help="of the steps (default: 0.03)")
    course.add_argument("--weight-decay", type=_number(), metavar="W", help="default: 0")
    course.add_argument("--seed", type=whole_number(0, 0), metavar="S", help="default: 0")

    machine = parser.add_argument_group("on what")
    machine.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    machine.add_argument("--max-tokens", type=whole_number(1, 16384), metavar="N", help="an example (default: 16384)")
    machine.add_argument("--save-every", type=whole_number(1, 200), metavar="STEPS", help="default: 200")
    machine.add_argument("--workers", type=whole_number(0, 2), metavar="N", help="read images (default: 0)")
    machine.add_argument("--device", metavar="D", help="auto, cpu or cuda (default: auto)")
    machine.add_argument("--dtype", metavar="T", help="default: bfloat16 on CUDA, float32 on a CPU")
    parser.set_defaults(run=run_lora)


def run_lora(args: argparse.Namespace) -> int:
    """Tune, with progress, and say where the result is."""
    from dataclasses import fields

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from si_embodied.models.hub import resolve_model
    from si_embodied.training.lora import tune
    from si_embodied.training.lora_settings import LoraConfig

    model = resolve_model(args.model)
    given = {field.name: getattr(args, field.name) for field in fields(LoraConfig) if hasattr(args, field.name)}
    columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("loading", total=None)
        run = tune(
            model, args.data, args.out, LoraConfig(**given), image_root=args.images, merge=args.merge,
            resume=args.resume, report=lambda step, steps, loss: progress.update(
                bar, completed=step, total=steps, description=f"loss {loss:.4f}"
            ),
        )  # fmt: skip
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{len(run.losses)} steps, {run.trained_parameters:,} weights trained, loss {run.losses[0]:.4f} at the first "
        f"and {run.losses[-1]:.4f} at the last; the adapter is in {run.adapter}",
        markup=False,
    )
    if run.merged:
        console.print(f"The whole tuned checkpoint is in {run.merged}: give it to --model.", markup=False)
    return 0


def _number(below: float = math.inf) -> Callable[[str], float]:
    """A parser of numbers from 0 to below `below`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise argparse.ArgumentTypeError(f"expected a number of at least 0{limit}, got {text!r}; for example 0.1")
        return value

    return parse
