"""`si-embodied doctor`: what is installed, what renders, what computes, and so what can run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from si_embodied.cli.options import PrintJson
from si_embodied.cli.output import properties, say
from si_embodied.installation import Checkup, advice, check, renderer

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Doctor:
    """Show what is installed, which renderer works, and on what a model would run.

    The exit code is 0 if worlds can be run (`eval`), otherwise 1.
    """

    json: PrintJson = False
    has_opengl: Annotated[bool, Doc("print nothing; the exit code is 0 if a renderer with OpenGL works")] = False

    def run(self) -> int:
        """Print the check-up."""
        from rich.console import Console

        if self.has_opengl:
            return 0 if renderer()[0] not in (None, "rays") else 1
        found = check()
        if self.json:
            say(json.dumps(asdict(found)))
        else:
            Console().print(_table(found), highlight=False)
            say(*advice(found))
        return 0 if found.can["eval"] else 1


def _table(found: Checkup) -> Table:
    from rich.markup import escape

    table = properties()
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in found.versions.items()))
    for extra, needs in found.extras.items():
        parts = [f"{name} {version}" if version else f"[red]{name} missing[/red]" for name, version in needs.items()]
        here = any(needs.values())
        table.add_row(escape(f"[{extra}]"), ", ".join(parts) if here else "[dim]not installed[/dim]")
    table.add_row("renderer", f"{found.renderer or '[red]none[/red]'}: {escape(found.renderer_reason)}")
    model = f"{found.device}, {found.dtype}, attention {found.kernel}, {found.threads} threads"
    table.add_row("model", model if found.device else "–")
    table.add_row("cores", str(os.cpu_count()))
    table.add_row("can run", ", ".join(name for name, works in found.can.items() if works) or "[red]nothing[/red]")
    return table
