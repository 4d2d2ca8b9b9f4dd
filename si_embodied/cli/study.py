"""`si-embodied study`: run a study. It resumes where it was stopped, and leaves results as JSON, a plot and a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from typing_extensions import Doc
from tyro.conf import arg, create_mutex_group

from si_embodied.cli.options import latency
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, IMAGE_SIZE, Count, flags, reader
from si_embodied.errors import ConfigError
from si_embodied.studies.settings import (
    AblationsRun,
    CalibrationRun,
    LatencyRun,
    NoiseRun,
    PlannerRun,
    QuestionsRun,
    ReasoningRun,
    Report,
    ScalingRun,
    TrainingRun,
    TransferRun,
)
from si_embodied.types import Latency

if TYPE_CHECKING:
    _Run = TypeVar("_Run", bound=TrainingRun)

_SHARDS = Path("runs/nano/data")
_BUDGET = create_mutex_group(required=False, title="length of a training")
_EPISODES = (arg(name="episodes"), COUNT)
_SIZES = flags(
    "out", "data", "images", steps=(_BUDGET, COUNT), minutes=_BUDGET, trainings=COUNT, test_images=COUNT,
    threads=COUNT, episodes=flags("task", "seed", count=_EPISODES),
)  # fmt: skip
_PLAYING = ("out", "tasks", "seed")
_COUNTS: dict[str, object] = {"episodes": COUNT, "workers": COUNT}
_SIZED: dict[str, object] = {**_COUNTS, "image_size": IMAGE_SIZE}
_DEFAULT_REASONING = ReasoningRun(model=Path(), out=Path("runs/studies/reasoning"), data=_SHARDS, minutes=4.0)
_DEFAULT_SIZES = ScalingRun(out=Path("runs/studies/sizes"), data=_SHARDS, steps=4000)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Measure accuracy and success by number of training images."""

    report: Report
    sizes: Annotated[ScalingRun, _SIZES] = _DEFAULT_SIZES

    def run(self) -> int:
        """Train on several numbers of images, and measure."""
        from si_embodied.studies import scaling

        study = partial(scaling.study, _one_budget(self.sizes, _DEFAULT_SIZES))
        return self.report.make(say, scaling.ScalingResults, self.sizes.out, study)


@dataclass(frozen=True, slots=True)
class Generalisation:
    """Measure what a planner does with pairs and places that training never showed."""

    report: Report
    sizes: Annotated[ScalingRun, _SIZES] = _DEFAULT_SIZES
    model: Annotated[Path | None, Doc("the checkpoint for places; default: si-nano")] = None
    place_images: Annotated[Count, Doc("images of each kind of place")] = 240

    def run(self) -> int:
        """Score the same trainings by pairs, and a finished checkpoint by places."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import generalisation

        sizes = _one_budget(self.sizes, _DEFAULT_SIZES)
        places = PlannerRun(self.model or shipped_checkpoint(), sizes.data, self.place_images, sizes.threads)
        study = partial(generalisation.study, sizes, places)
        return self.report.make(say, generalisation.GeneralisationResults, sizes.out, study)


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """Measure what a model scores without looking.

    Give --model and --data to ask questions, --shards to ask a small planner its own, or all three.
    """

    report: Report
    model: Annotated[Path | None, Doc("any checkpoint, to ask the questions of --data")] = None
    data: Annotated[Path | None, Doc("a folder of `si-embodied data generate`")] = None
    questions: Annotated[
        QuestionsRun, flags("out", "device", "dtype", count=(arg(name="questions"), COUNT), threads=COUNT)
    ] = QuestionsRun(Path(), Path(), Path("runs/studies/shortcuts"))
    shards: Annotated[Path | None, Doc("held-out shards of `train nano`, to ask a small planner about")] = None
    planner: Annotated[Path | None, Doc("that planner; default: si-nano")] = None
    images: Annotated[Count, Doc("images of each world for its questions")] = 120

    def run(self) -> int:
        """Ask with and without images."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import shortcuts

        nothing_to_ask = self.data is None and self.shards is None and not self.report.report
        if (self.model is None) != (self.data is None) or nothing_to_ask:
            raise ConfigError("give --model and --data to ask questions, --shards to ask a small planner, or all three")
        questions = replace(self.questions, model=self.model, data=self.data) if self.model and self.data else None
        model, threads = self.planner or shipped_checkpoint(), self.questions.threads
        planner = PlannerRun(model, self.shards, self.images, threads) if self.shards else None
        study = partial(shortcuts.study, questions, planner)
        return self.report.make(say, shortcuts.ShortcutsResults, self.questions.out, study)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Compare plans with and without reasoning before them."""

    report: Report
    model: Annotated[Path | None, Doc("the checkpoint; default: si-nano")] = None
    no_training: Annotated[bool, Doc("only ask differently, for released checkpoints")] = False
    reasoning: Annotated[
        ReasoningRun,
        flags(
            "out", "data", "tasks", steps=(_BUDGET, COUNT), minutes=_BUDGET, threads=COUNT,
            episodes=flags("env", "seed", count=_EPISODES),
        ),
    ] = _DEFAULT_REASONING  # fmt: skip

    def run(self) -> int:
        """Plan with and without reasoning."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import reasoning

        given = _one_budget(self.reasoning, _DEFAULT_REASONING)
        run = replace(
            given,
            model=self.model or shipped_checkpoint(),
            data=None if self.no_training else given.data,
            episodes=replace(given.episodes, task=given.tasks[0]),
        )
        return self.report.make(say, reasoning.ReasoningResults, run.out, partial(reasoning.study, run))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measure whether a model is right as often as it is sure."""

    report: Report
    model: Annotated[Path | None, Doc("the checkpoint; default: si-nano")] = None
    played: Annotated[CalibrationRun, flags("out", "tasks", "seed", count=_EPISODES, threads=COUNT)] = CalibrationRun(
        Path(), Path("runs/studies/calibration")
    )

    def run(self) -> int:
        """Play, and compare each decision with that of perfect pixels."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import calibration

        run = replace(self.played, model=self.model or shipped_checkpoint())
        return self.report.make(say, calibration.CalibrationResults, run.out, partial(calibration.study, run))


@dataclass(frozen=True, slots=True)
class Ablations:
    """Measure what each part of the planner is worth, on the same seeds with it and without it."""

    report: Report
    model: Annotated[Path | None, Doc("the checkpoint of the policy planner; default: si-nano")] = None
    playing: Annotated[AblationsRun, flags("policies", *_PLAYING, **_SIZED)] = AblationsRun(
        model=Path(), out=Path("runs/studies/ablations")
    )

    def run(self) -> int:
        """Play the full planner and its ablations."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import ablations

        run = replace(self.playing, model=self.model or shipped_checkpoint())
        return self.report.make(say, ablations.AblationsResults, run.out, partial(ablations.study, run))


@dataclass(frozen=True, slots=True)
class LatencyStudy:
    """Measure how often tasks succeed if the world goes on while the planner thinks."""

    report: Report
    model: Annotated[Path | None, Doc("the checkpoint of the policy planner; default: si-nano")] = None
    latencies: Annotated[
        tuple[Annotated[Latency, reader(latency, "measured|SECONDS")], ...], Doc("simulated time per plan")
    ] = LatencyRun(model=Path(), out=Path()).latencies
    playing: Annotated[LatencyRun, flags("policy", *_PLAYING, **_SIZED)] = LatencyRun(
        model=Path(), out=Path("runs/studies/latency")
    )

    def run(self) -> int:
        """Play with each latency."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import latency as study

        run = replace(self.playing, model=self.model or shipped_checkpoint(), latencies=self.latencies)
        return self.report.make(say, study.LatencyResults, run.out, partial(study.study, run))


@dataclass(frozen=True, slots=True)
class Noise:
    """Measure how much success is left when the sensors are those of a real robot."""

    report: Report
    model: Annotated[Path | None, Doc("the checkpoint of the policy planner; default: si-nano")] = None
    playing: Annotated[NoiseRun, flags("policy", "profiles", *_PLAYING, **_SIZED)] = NoiseRun(
        model=Path(), out=Path("runs/studies/noise")
    )

    def run(self) -> int:
        """Play without noise and with each profile."""
        from si_embodied.models.checkpoints import shipped_checkpoint
        from si_embodied.studies import noise

        run = replace(self.playing, model=self.model or shipped_checkpoint())
        return self.report.make(say, noise.NoiseResults, run.out, partial(noise.study, run))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Measure whether scores on spatial questions predict success, over several checkpoints.

    Give --shards to ask small planners their own questions, --data for checkpoints that answer in words, or
    --benchmark-results; also several of them.
    """

    report: Report
    compared: Annotated[
        TransferRun,
        flags(
            "models", "shards", "data", "benchmark_results", "out", "tasks", "seed", images=COUNT, questions=COUNT,
            threads=COUNT, **_COUNTS,
        ),
    ] = TransferRun(model=Path(), out=Path("runs/studies/transfer"))  # fmt: skip

    def run(self) -> int:
        """Ask and play every checkpoint."""
        from si_embodied.studies import transfer

        run = self.compared
        return self.report.make(say, transfer.TransferResults, run.out, partial(transfer.study, run))


SUBCOMMANDS = {
    "scaling": Scaling,
    "generalisation": Generalisation,
    "shortcuts": Shortcuts,
    "reasoning": Reasoning,
    "calibration": Calibration,
    "ablations": Ablations,
    "latency": LatencyStudy,
    "noise": Noise,
    "transfer": Transfer,
}


def _one_budget(run: _Run, default: _Run) -> _Run:
    """Drop the default length of a training if the other one is given."""
    if run.steps is None or run.minutes is None:
        return run
    return replace(run, steps=None) if default.minutes is None else replace(run, minutes=None)
