"""`si-embodied models export`: write a checkpoint for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `export` among the verbs of `models`."""
    parser = verbs.add_parser(
        "export",
        help="write a checkpoint for ONNX Runtime",
        description="Write a checkpoint as ONNX graphs, with all that running it needs. Give the directory to --model "
        "of eval, plan or serve like a checkpoint's; it runs without torch.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="DIR|ID", help="local, or on the hub")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty directory")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8", "int4"),
        default="fp32",
        help="fp16 is for a GPU; int8 and int4 are of the decoder's weights (default: %(default)s)",
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export and say where and how big."""
    from rich.console import Console

    from si_embodied.models.onnx.export import export_model

    path = export_model(args.model, args.out, precision=args.precision)
    size_mb = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    Console(highlight=False, soft_wrap=True).print(f"wrote {size_mb:.1f} MB ({args.precision}) to {path}", markup=False)
    return 0
