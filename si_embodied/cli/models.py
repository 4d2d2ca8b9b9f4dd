"""`si-embodied models`: which checkpoints there are, and making one to try things with or to load faster."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.cli.models_export import add_verb as add_export

if TYPE_CHECKING:
    from si_embodied.models.registry import Release


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `models` and its verbs."""
    parser = subparsers.add_parser("models", help="model checkpoints", description="Model checkpoints.")
    verbs = parser.add_subparsers(dest="models_verb", metavar="VERB", required=True)

    listing = verbs.add_parser(
        "list",
        help="the released SenseNova-SI checkpoints, and what each needs",
        description="The released SenseNova-SI checkpoints: what each is best at, its mean over the EASI-8 benchmarks, "
        "and the GPU memory it takes with room for images. Any of these names can be given to --model, short or long.",
    )
    listing.add_argument("--json", action="store_true", help="as one line of JSON")
    listing.set_defaults(run=run_list)

    convert = verbs.add_parser(
        "convert",
        help="write an InternVL checkpoint of the original format in transformers' own",
        description="Write an InternVL checkpoint of the original format (InternVLChatModel, as the SenseNova-SI "
        "ones are released) in transformers' own, for tools that would need its remote code otherwise. Loading one "
        "here needs no such step: it is converted on the way.",
    )
    convert.add_argument(
        "--model", type=Path, required=True, metavar="DIR|ID", help="the original, local or on the hub"
    )
    convert.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty directory")
    convert.set_defaults(run=run_convert)
    add_export(verbs)

    tiny = verbs.add_parser(
        "tiny",
        help="write a tiny untrained checkpoint in the Qwen3-VL format",
        description="Write a tiny untrained checkpoint in the real Qwen3-VL format, to run everything with no "
        "download. Its plans are well formed and meaningless.",
    )
    tiny.add_argument("directory", metavar="DIR", type=Path, help="a new or empty directory")
    tiny.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    tiny.set_defaults(run=run_tiny)


def run_list(args: argparse.Namespace) -> int:
    """Print the registry."""
    from rich.console import Console
    from rich.table import Table

    from si_embodied.models.footprint import WEIGHTS
    from si_embodied.models.registry import RELEASES, SERIES

    console = Console()
    if args.json:
        rows = [_row(release) for release in RELEASES]
        console.print(json.dumps(rows), markup=False, highlight=False, soft_wrap=True)
        return 0
    table = Table(title=f"{SERIES}…", caption="GB: GPU memory with room for images, with --weights full, 8bit, 4bit")
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("EASI-8", justify="right")
    table.add_column("GB", no_wrap=True)
    table.add_column("best at")
    for release in RELEASES:
        row = _row(release)
        memory = (
            ", ".join(f"{row['memory_gb'][weights]:.0f}" for weights in WEIGHTS) if row["memory_gb"] else "server only"
        )
        size = f"{release.architecture.parameters / 1e9:.1f} B"
        table.add_row(release.short_name, size, f"{release.easi8:.1f}", memory, release.best_at)
    console.print(table)
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Convert, and say where the result is."""
    from rich.console import Console

    from si_embodied.models.hub import resolve_model
    from si_embodied.models.original import convert_checkpoint

    path = convert_checkpoint(resolve_model(args.model), args.out)
    size_gb = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 1e9
    Console(highlight=False, soft_wrap=True).print(
        f"wrote {args.model} in transformers' own format ({size_gb:.2f} GB) to {path}: give it to --model", markup=False
    )
    return 0


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


def _row(release: Release) -> dict[str, Any]:
    """A release as plain values; a server's memory is not ours to say."""
    from si_embodied.models.footprint import WEIGHTS

    memory = {weights: round(release.architecture.memory_bytes(weights) / 1e9, 1) for weights in WEIGHTS}
    return {
        "name": release.short_name,
        "hub_id": release.hub_id,
        "family": release.family,
        "format": release.architecture.format,
        "parameters": release.architecture.parameters,
        "best_at": release.best_at,
        "easi8": release.easi8,
        "memory_gb": None if release.server_only else memory,
        "server_only": release.server_only,
    }
