"""`si-embodied models`: make a checkpoint to try things with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `models` and its verbs."""
    parser = subparsers.add_parser("models", help="model checkpoints", description="Model checkpoints.")
    verbs = parser.add_subparsers(dest="models_verb", metavar="VERB", required=True)
    tiny = verbs.add_parser(
        "tiny",
        help="write a tiny untrained checkpoint in the Qwen3-VL format",
        description="Write a tiny untrained checkpoint in the real Qwen3-VL format, to run everything with no "
        "download. Its plans are well formed and meaningless.",
    )
    tiny.add_argument("directory", metavar="DIR", type=Path, help="a new or empty directory")
    tiny.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    tiny.set_defaults(run=run_tiny)


def run_tiny(args: argparse.Namespace) -> int:
    """Write the checkpoint and say where it is."""
    from rich.console import Console

    from si_embodied.models.tiny import make_tiny_checkpoint

    path = make_tiny_checkpoint(args.directory, args.seed)
    size_mb = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    Console(highlight=False, soft_wrap=True).print(
        f"wrote an untrained Qwen3-VL checkpoint ({size_mb:.1f} MB, seed {args.seed}) to {path}", markup=False
    )
    return 0
