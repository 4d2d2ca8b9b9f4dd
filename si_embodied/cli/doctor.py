"""`si-embodied doctor`: what is installed, what renders, what computes, and so what can run; and a robot's computer."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc
from tyro.conf import UseAppendAction

from si_embodied.cli.options import PrintJson
from si_embodied.cli.output import print_findings, print_findings_json, print_properties, say
from si_embodied.findings import Finding, Report
from si_embodied.installation import Checkup, advice, check, renderer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Doctor:
    """Show what is installed, which renderer works, and on what a model would run.

    The exit code is 0 if worlds can be run (`eval`), otherwise 1. With --deploy, look at the computer instead: GPU,
    power mode, heat, ONNX Runtime, DDS, cameras' rates, clock and disk, each with what to do. Then the exit code is 1
    if something is off or unknown.
    """

    json: PrintJson = False
    deploy: Annotated[bool, Doc("check the computer of a robot or a planning server")] = False
    topic: Annotated[tuple[str, ...], Doc("with --deploy: an image topic whose rate to measure"), UseAppendAction] = ()
    recordings: Annotated[Path, Doc("with --deploy: the folder for recordings")] = Path()
    has_opengl: Annotated[bool, Doc("print nothing; the exit code is 0 if a renderer with OpenGL works")] = False

    def run(self) -> int:
        """Print the check-up."""
        if self.has_opengl:
            return 0 if renderer()[0] not in (None, "rays") else 1
        if self.deploy:
            return self._deployment()
        found = check()
        if self.json:
            say(json.dumps(asdict(found)))
        else:
            print_properties(_rows(found))
            say(*advice(found))
        return 0 if found.can["eval"] else 1

    def _deployment(self) -> int:
        from si_embodied.deployment.check import check_deployment
        from si_embodied.deployment.machine import Machine

        findings = (*check_deployment(Machine(), os.environ, self.recordings), *self._rates())
        report = Report(findings)
        if not self.json:
            return print_findings(report, json_too=False)
        print_findings_json(report)
        return 0 if report.verdict == "fine" else 1

    def _rates(self) -> Iterator[Finding]:
        if not self.topic:
            yield Finding("camera rates", "note", "not measured; give --topic once for each image topic")
            return
        from si_embodied.ros_nodes.checks.rates import check_rates
        from si_embodied.ros_nodes.node.bringup import require_ros

        require_ros()
        yield from check_rates(self.topic)


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
