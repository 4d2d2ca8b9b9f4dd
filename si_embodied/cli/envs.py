"""`si-embodied envs`: worlds with their tasks, actions and arguments, and policies."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from si_embodied.cli.options import PrintJson
from si_embodied.cli.output import properties, say


@dataclass(frozen=True, slots=True)
class Envs:
    """List the worlds with their tasks, actions and arguments, and the policies."""

    json: PrintJson = False

    def run(self) -> int:
        """Print what is registered."""
        from rich.console import Console
        from rich.markup import escape

        from si_embodied.evaluation.registry import describe_environment, environments, policies

        worlds = [describe_environment(name) for name in environments()]
        descriptions = {spec.name: spec.description for spec in policies().values()}
        if self.json:
            say(json.dumps({"environments": [dataclasses.asdict(world) for world in worlds], "policies": descriptions}))
            return 0
        console = Console()
        for world in worlds:
            table = properties(world.id)
            table.add_row("what", escape(world.summary))
            table.add_row("tasks", ", ".join(world.tasks))
            table.add_row("actions", ", ".join(world.action_modes))
            table.add_row("arguments", ", ".join(world.arguments))
            console.print(table)
        table = properties("policies")
        for name, description in descriptions.items():
            table.add_row(name, description)
        console.print(table)
        return 0
