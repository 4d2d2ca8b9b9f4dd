"""`si-embodied data`: generate spatial questions and planning demonstrations, audit them, look at them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.cli.arguments import whole_number

if TYPE_CHECKING:
    from si_embodied.data.audit import TypeAudit

AUDIT_FILE, PAGE_FILE = "audit.json", "inspect.html"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `data`."""
    parser = subparsers.add_parser(
        "data",
        help="make spatial questions and demonstrations",
        description="Spatial questions with exact answers from simulated scenes, in SenseNova-SI's JSONL form.",
    )
    verbs = parser.add_subparsers(dest="data_verb", metavar="WHAT", required=True)

    generate = verbs.add_parser("generate", help="generate a data set; the same command goes on after an interruption")
    generate.add_argument(
        "--kinds", nargs="+", default=[], metavar="K", help="capabilities or question types (default: all of them)"
    )
    generate.add_argument("--count", type=whole_number(1, 20000), required=True, metavar="N", help="questions")
    generate.add_argument("--seed", type=whole_number(0, 0), default=0, metavar="S", help="default: %(default)s")
    generate.add_argument("--image-size", type=whole_number(64, 224), default=224, metavar="PX", help="default: 224")
    generate.add_argument(
        "--held-out", action="store_true", help="scenes that training data never shows (seeds from 100000)"
    )
    generate.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data set's folder")
    generate.add_argument("--workers", type=whole_number(1, 2), default=1, metavar="N", help="processes")
    generate.set_defaults(run=run_generate)

    audit = verbs.add_parser("audit", help="how far one gets without looking; 1 where a type gives its answers away")
    audit.add_argument("folder", type=Path, metavar="DIR")
    audit.add_argument("--json", action="store_true", help="end with one line of JSON")
    audit.set_defaults(run=run_audit)

    inspect = verbs.add_parser("inspect", help="write an HTML page of examples")
    inspect.add_argument("folder", type=Path, metavar="DIR")
    inspect.add_argument("--per-type", type=whole_number(1, 3), default=3, metavar="N", help="default: %(default)s")
    inspect.add_argument("--out", type=Path, metavar="FILE", help=f"default: {PAGE_FILE} in the data set's folder")
    inspect.set_defaults(run=run_inspect)

    types = verbs.add_parser("types", help="list the question types and the geometry behind each")
    types.set_defaults(run=run_types)


def run_generate(args: argparse.Namespace) -> int:
    """Generate, with progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from si_embodied.data.engine import generate
    from si_embodied.data.sampling import DataConfig

    config = DataConfig(args.count, args.seed, tuple(args.kinds), args.image_size, args.held_out)
    columns = (TextColumn("questions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("questions", total=config.count)
        manifest = generate(
            config, args.out, workers=args.workers, progress=lambda done: progress.advance(bar, done)
        )  # fmt: skip
    left_out = manifest.left_out
    unfilled = sum(count for reason, count in left_out.items() if reason.endswith(": unfilled"))
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{manifest.questions} questions of {len(manifest.types)} types about {manifest.images} images in "
        f"{args.out}; {sum(left_out.values()) - unfilled} unclear cases were left out, counted in manifest.json.",
        markup=False,
    )
    if unfilled:
        console.print(f"{unfilled} questions found no clear case and are missing: see 'unfilled' there.", markup=False)
    return 0


def run_audit(args: argparse.Namespace) -> int:
    """Audit, and say which types pass."""
    from dataclasses import asdict

    from rich.console import Console

    from si_embodied.data.audit import ALLOWED, ENOUGH, audit
    from si_embodied.data.records import read_dataset
    from si_embodied.runs import write_text

    audits = audit(read_dataset(args.folder))
    rows = [{**asdict(one), "excess": one.excess, "passes": one.passes} for one in audits]
    write_text(args.folder / AUDIT_FILE, json.dumps(rows, indent=2) + "\n")
    console = Console(highlight=False, soft_wrap=True)
    _print_table(audits)
    few = [one.type for one in audits if one.count < ENOUGH]
    failing = [one.type for one in audits if not one.passes]
    if few:
        console.print(f"Fewer than {ENOUGH} questions, so mostly noise: {', '.join(few)}.", markup=False)
    verdict = f"More than {100 * ALLOWED:.0f} points above chance without an image: "
    console.print(verdict + (", ".join(failing) or "no type") + ".", markup=False)
    if args.json:
        console.print(json.dumps(rows), markup=False)
    return 1 if failing else 0


def _print_table(audits: list[TypeAudit]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="what words alone are worth, in percent", title_justify="left")
    table.add_column("type", no_wrap=True)
    for name in ("n", "chance", "constant", "words", "±", ""):
        table.add_column(name, justify="right")
    for one in audits:
        figures = (f"{100 * value:.1f}" for value in (one.chance, one.constant, one.text, 1.96 * one.error))
        table.add_row(one.type, str(one.count), *figures, "pass" if one.passes else "[bold red]FAIL")
    Console(highlight=False).print(table)


def run_inspect(args: argparse.Namespace) -> int:
    """Write the page."""
    from rich.console import Console

    from si_embodied.data.gallery import write_gallery

    out = args.out or args.folder / PAGE_FILE
    count = write_gallery(args.folder, out, per_type=args.per_type)
    Console(highlight=False, soft_wrap=True).print(f"{count} questions to look at in {out}", markup=False)
    return 0


def run_types(_: argparse.Namespace) -> int:
    """List the question types."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from si_embodied.data.questions import CAPABILITIES, question_types

    table = Table(show_header=True)
    table.add_column("type", no_wrap=True)
    table.add_column("scenes", no_wrap=True)
    table.add_column("what is true")
    capability = ""
    for kind in question_types():
        if kind.capability != capability:
            capability = kind.capability
            table.add_section()
            table.add_row(f"[bold]{CAPABILITIES[capability]}", "", "")
        table.add_row(kind.name, kind.source, escape((kind.ask.__doc__ or "").split("\n\n")[0]))
    Console().print(table)
    return 0
