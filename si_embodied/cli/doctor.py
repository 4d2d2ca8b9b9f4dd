"""`si-embodied doctor`: what is installed, what renders, what computes, and so what can run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from si_embodied.cli.options import PrintJson
from si_embodied.cli.output import print_properties, say
from si_embodied.installation import Checkup, advice, check, renderer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Doctor:
    """Show what is installed, which renderer works, and on what a model would run.

    The exit code is 0 if worlds can be run (`eval`), otherwise 1.
    """

    json: PrintJson = False
    has_opengl: Annotated[bool, Doc("print nothing; the exit code is 0 if a renderer with OpenGL works")] = False

    def run(self) -> int:
        """Print the check-up."""
        if self.has_opengl:
            return 0 if renderer()[0] not in (None, "rays") else 1
        found = check()
        if self.json:
            say(json.dumps(asdict(found)))
        else:
            print_properties(_rows(found))
            say(*advice(found))
        return 0 if found.can["eval"] else 1


def _rows(found: Checkup) -> Iterator[tuple[str, str]]:
    from rich.markup import escape

    yield "versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())
    for extra, needs in found.extras.items():
        parts = [f"{name} {version}" if version else f"[red]{name} missing[/red]" for name, version in needs.items()]
        yield escape(f"[{extra}]"), ", ".join(parts) if any(needs.values()) else "[dim]not installed[/dim]"
    yield "renderer", f"{found.renderer or '[red]none[/red]'}: {escape(found.renderer_reason)}"
    model = f"{found.device}, {found.dtype}, attention {found.kernel}, {found.threads} threads"
    yield "model", model if found.device else "–"
    yield "cores", str(os.cpu_count())
    yield "can run", ", ".join(name for name, works in found.can.items() if works) or "[red]nothing[/red]"
