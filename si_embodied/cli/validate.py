"""`si-embodied validate`: everything that needs the machine that the model will run on, in one report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.validation.settings import ValidationRun
from si_embodied.cli.benchmark import listed
from si_embodied.cli.options import EndWithJson
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, flags
from si_embodied.config import load_planner_config
from si_embodied.run_lock import locked


@dataclass(frozen=True, slots=True)
class Validate:
    """Measure a checkpoint on this machine, and write one report to send back.

    Runs the tests marked gpu, measures what a plan costs, compares the checkpoint with its quantized versions and ONNX
    exports, and plays every task of every world. What fails is recorded, and the rest goes on. The exit code is 1 if
    anything failed. The same command continues after an interruption, and repeats what failed.
    """

    local: Annotated[BackendConfig, flags("device", model="DIR|ID")] = BackendConfig()
    config: Annotated[Path | None, Doc("YAML file with the planner's settings")] = None
    validation: Annotated[
        ValidationRun,
        flags(
            "seed", "compared_task", "out", episodes=COUNT, compared=COUNT, plans=COUNT, workers=COUNT,
            parts=listed("PART[,PART]"), variants=listed("NAME[,NAME]"), tasks=listed("WORLD:TASK[,…]"),
        ),
    ] = ValidationRun()  # fmt: skip
    json: EndWithJson = False

    def run(self) -> int:
        """Run the stages, and say where the report is."""
        from si_embodied.benchmarking.validation.report import ARCHIVE, REPORT
        from si_embodied.benchmarking.validation.run import run_validation

        run = replace(self.validation, backend=self.local, planner=load_planner_config(self.config))
        with locked(run.out):
            report = run_validation(run, say)
        say("", f"{report.counts}; read {run.out / REPORT}, and send {run.out / ARCHIVE} back")
        if self.json:
            say(json.dumps(report.to_json(), allow_nan=False))
        return 1 if report.failed else 0
