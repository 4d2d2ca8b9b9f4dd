"""`si-embodied envs`: worlds with their tasks, actions and arguments, and policies."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from si_embodied.cli.options import PrintJson
from si_embodied.cli.output import print_properties, say


@dataclass(frozen=True, slots=True)
class Envs:
    """List the worlds with their tasks, actions and arguments, and the policies."""

    json: PrintJson = False

    def run(self) -> int:
        """Print what is registered."""
        from rich.markup import escape

        from si_embodied.evaluation.registry import describe_environment, environments, policies

        worlds = [describe_environment(name) for name in environments()]
        descriptions = {spec.name: spec.description for spec in policies().values()}
        if self.json:
            say(json.dumps({"environments": [dataclasses.asdict(world) for world in worlds], "policies": descriptions}))
            return 0
        for world in worlds:
            lists = {"tasks": world.tasks, "actions": world.action_modes, "arguments": world.arguments}
            rows = [("what", escape(world.summary)), *((name, ", ".join(each)) for name, each in lists.items())]
            print_properties(rows, title=world.id)
        print_properties(descriptions.items(), title="policies")
        return 0
