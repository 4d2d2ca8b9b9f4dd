"""`si-embodied train`: the small model from nothing, or a LoRA adapter for a real checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from si_embodied.cli.arguments import whole_number


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `train` and its verbs."""
    parser = subparsers.add_parser("train", help="train a model", description="Train a model.")
    verbs = parser.add_subparsers(dest="train_verb", metavar="VERB", required=True)
    nano = verbs.add_parser(
        "nano",
        help="the small planner, from nothing",
        description="Render data, train the small planner in stages, and write a checkpoint with its card. The same "
        "command with --resume goes on after an interruption, or with more minutes.",
    )
    nano.add_argument("--out", type=Path, default=Path("runs/nano"), metavar="DIR", help="default: %(default)s")
    nano.add_argument("--minutes", type=_minutes, default=45.0, metavar="M", help="of training (default: %(default)s)")
    nano.add_argument("--resume", action="store_true", help="go on from the last saved state")
    nano.add_argument("--seed", type=whole_number(0, 0), default=0, metavar="S", help="default: %(default)s")
    nano.add_argument("--tabletops", type=whole_number(1, 6000), default=6000, metavar="N", help="images to render")
    nano.add_argument("--apartments", type=whole_number(1, 7200), default=7200, metavar="N", help="images to render")
    nano.add_argument("--threads", type=whole_number(1, 2), default=2, metavar="N", help="default: %(default)s")
    nano.set_defaults(run=run_nano)
    lora = verbs.add_parser(
        "lora",
        help="a LoRA adapter for a checkpoint of a supported family",
        description="Fine-tune a local checkpoint with low-rank adapters on a folder of JSONL data, as "
        "`si-embodied data generate` writes it and SenseNova-SI-800K has it.",
    )
    lora.add_argument("--model", type=Path, required=True, metavar="DIR", help="a local checkpoint")
    lora.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder with *.jsonl and its images")
    lora.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the adapter")
    lora.add_argument("--steps", type=whole_number(1, 500), default=500, metavar="N", help="default: %(default)s")
    lora.add_argument("--batch", type=whole_number(1, 4), default=4, metavar="N", help="default: %(default)s")
    lora.add_argument("--rank", type=whole_number(1, 16), default=16, metavar="R", help="default: %(default)s")
    lora.add_argument("--learning-rate", type=float, default=1e-4, metavar="LR", help="default: %(default)s")
    lora.add_argument("--seed", type=whole_number(0, 0), default=0, metavar="S", help="default: %(default)s")
    lora.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    lora.set_defaults(run=run_lora)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e5:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text!r}; for example 45")
    return value


def run_nano(args: argparse.Namespace) -> int:
    """Data, training, checkpoint."""
    from rich.console import Console

    from si_embodied.training.pipeline import NanoRun, train_nano

    console = Console(highlight=False, soft_wrap=True)
    run = NanoRun(
        out=args.out, minutes=args.minutes, resume=args.resume, seed=args.seed,
        tabletops=args.tabletops, apartments=args.apartments, threads=args.threads,
    )  # fmt: skip
    checkpoint = train_nano(run, report=lambda text: console.print(text, markup=False))
    console.print(
        f"wrote {checkpoint}; measure it with: si-embodied eval --env si_embodied/Tabletop-v0 --task base "
        f"--policy planner --model {checkpoint} --episodes 200 --seed 100000 --control blank",
        markup=False,
    )
    return 0


def run_lora(args: argparse.Namespace) -> int:
    """One adapter."""
    from rich.console import Console

    from si_embodied.training.lora import LoraRun, train_lora

    run = LoraRun(
        model=args.model, data=args.data, out=args.out, steps=args.steps, batch=args.batch, rank=args.rank,
        learning_rate=args.learning_rate, seed=args.seed, device=args.device,
    )  # fmt: skip
    result = train_lora(run)
    Console(highlight=False, soft_wrap=True).print(
        f"wrote the adapter to {args.out}: {result.examples} examples, {result.steps} steps, loss "
        f"{result.first_loss:.3f} to {result.last_loss:.3f}, {result.trained_share:.2%} of the weights trained",
        markup=False,
    )
    return 0
