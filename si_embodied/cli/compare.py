"""`si-embodied compare`: whether another model, or the same one with fewer bits, makes the same decisions."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc
from tyro.conf import arg

from si_embodied.backends.config import ADAPTER, DEVICE, PRECISION, BackendConfig
from si_embodied.benchmarking.comparison.settings import ComparisonRun, Thresholds
from si_embodied.cli.options import EndWithJson, Model
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, IMAGE_SIZE, flags
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.models.footprint import Weights
from si_embodied.progress import track
from si_embodied.run_lock import locked

EXIT_CODES = {"the same": 0, "different": 1, "undecided": 3}


@dataclass(frozen=True, slots=True)
class Compare:
    """Show two models the same observations, and say whether they make the same decisions.

    The observations are those of episodes that the first model plays (--env), or of a robot's recording (--recording).
    A model is a checkpoint, an ONNX export, or a server's address. The exit code is the verdict: 0 for the same, 1 for
    different, and 3 if there were too few observations to say. After an interruption, the same command continues with
    --env, and starts anew with --recording.
    """

    against: Annotated[str, Doc("the second model, as for --model"), arg(metavar="DIR|ID|URL")]
    model: Model
    evaluation: Annotated[
        EvaluationConfig, flags("env", "task", "seed", "action_mode", episodes=COUNT, image_size=IMAGE_SIZE)
    ] = EvaluationConfig("", "planner")  # fmt: skip
    against_device: Annotated[str, DEVICE] = "auto"
    against_weights: Annotated[Weights, PRECISION] = "full"
    against_adapter: Annotated[str, ADAPTER] = ""
    recording: Annotated[Path | None, Doc("show both a robot's recording: the folder, or its .mcap file")] = None
    decisions_only: Annotated[
        bool, Doc("the second model plays no episodes of its own, so that success is not compared")
    ] = False
    no_memory: Annotated[bool, Doc("do not measure memory, for which each model is loaded once more")] = False
    thresholds: Annotated[Thresholds, flags()] = Thresholds()
    out: Annotated[Path, Doc("folder for records and results")] = Path("runs/compare")
    json: EndWithJson = False

    def run(self) -> int:
        """Compare and print the table; the exit code is the verdict."""
        from si_embodied.benchmarking.comparison.run import run_comparison

        with locked(self.out), track("compare"):
            report = run_comparison(self._settings(), say)
        say("", *report.table(), "", f"records and results are in {self.out}")
        if self.json:
            say(json.dumps(report.to_json(), allow_nan=False))
        return EXIT_CODES[report.verdict]

    def _settings(self) -> ComparisonRun:
        second = BackendConfig(
            device=self.against_device, weights=self.against_weights, adapter=self.against_adapter,
            model=self.against, thinking_tokens=self.model.local.thinking_tokens, cache_mb=self.model.local.cache_mb,
        )  # fmt: skip
        return ComparisonRun(
            evaluation=replace(
                self.evaluation, backend=_opened(self.model.local), planner=self.model.planner_config()
            ),
            against=_opened(second),
            out=self.out,
            recording=self.recording,
            decisions_only=self.decisions_only,
            no_memory=self.no_memory,
            thresholds=self.thresholds,
        )  # fmt: skip


def _opened(given: BackendConfig) -> BackendConfig:
    """The model on this machine, or behind the address that was given in its place."""
    from si_embodied.backends.opening import backend_config, located

    if "://" in given.model:
        return replace(backend_config(given.model), thinking_tokens=given.thinking_tokens)
    return located(given)
