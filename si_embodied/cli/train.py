"""`si-embodied train`: the small model from nothing, or a LoRA adapter for a real checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from si_embodied.cli.arguments import minutes, whole_number
from si_embodied.cli.train_lora import add_lora_parser


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `train` and its verbs."""
    parser = subparsers.add_parser("train", help="train a model", description="Train a model.")
    verbs = parser.add_subparsers(dest="train_verb", metavar="VERB", required=True)
    nano = verbs.add_parser(
        "nano",
        help="the small planner, from nothing",
        description="Render data, train the small planner in stages, and write a checkpoint with its card. The same "
        "command with --resume goes on after an interruption, or with more steps.",
    )
    nano.add_argument("--out", type=Path, default=Path("runs/nano"), metavar="DIR", help="default: %(default)s")
    nano.add_argument("--steps", type=whole_number(1, 8000), default=8_000, metavar="N", help="default: %(default)s")
    nano.add_argument("--minutes", type=minutes, metavar="M", help="stop by then if the steps take longer")
    nano.add_argument("--resume", action="store_true", help="go on from the last saved state")
    nano.add_argument("--start", type=Path, metavar="DIR", help="start from the weights of this checkpoint")
    nano.add_argument("--seed", type=whole_number(0, 0), default=0, metavar="S", help="default: %(default)s")
    nano.add_argument("--tabletops", type=whole_number(1, 5040), default=5_040, metavar="N", help="images to render")
    nano.add_argument(
        "--apartments", type=whole_number(1, 14_400), default=14_400, metavar="N", help="images to render"
    )
    nano.add_argument("--threads", type=whole_number(1, 2), default=2, metavar="N", help="default: %(default)s")
    nano.set_defaults(run=run_nano)
    add_lora_parser(verbs)


def run_nano(args: argparse.Namespace) -> int:
    """Data, training, checkpoint."""
    from rich.console import Console

    from si_embodied.training.pipeline import NanoRun, train_nano

    console = Console(highlight=False, soft_wrap=True)
    run = NanoRun(
        out=args.out, steps=args.steps, minutes=args.minutes, resume=args.resume, start=args.start,
        seed=args.seed, tabletops=args.tabletops, apartments=args.apartments, threads=args.threads,
    )  # fmt: skip
    checkpoint = train_nano(run, report=lambda text: console.print(text, markup=False))
    console.print(
        f"wrote {checkpoint}; measure it with: si-embodied eval --env si_embodied/Tabletop-v0 --task base "
        f"--policy planner --model {checkpoint} --episodes 200 --seed 100000 --control blank",
        markup=False,
    )
    return 0
