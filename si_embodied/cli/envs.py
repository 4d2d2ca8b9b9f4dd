"""`si-embodied envs`: the worlds, their tasks, actions and arguments."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `envs`."""
    parser = subparsers.add_parser("envs", help="list worlds, tasks and policies", description="What there is to run.")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is registered."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from si_embodied.evaluation.registry import describe_environment, environments, policies

    console = Console()
    worlds = [describe_environment(name) for name in environments()]
    if args.json:
        rows = {
            "environments": [dataclasses.asdict(world) for world in worlds],
            "policies": {spec.name: spec.description for spec in policies().values()},
        }
        console.print(json.dumps(rows), markup=False, highlight=False, soft_wrap=True)
        return 0
    for world in worlds:
        table = Table(title=world.id, title_justify="left", show_header=False, title_style="bold")
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        table.add_row("what", escape(world.summary))
        table.add_row("tasks", ", ".join(world.tasks))
        table.add_row("actions", ", ".join(world.action_modes))
        table.add_row("arguments", ", ".join(world.arguments))
        console.print(table)
    table = Table(title="policies", title_justify="left", show_header=False, title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for spec in policies().values():
        table.add_row(spec.name, spec.description)
    console.print(table)
    return 0
