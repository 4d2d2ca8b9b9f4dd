"""An evaluation in a folder: a policy and its controls on the same seeds, with records, videos and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import Audience
from si_embodied.evaluation.machine import describe_computer
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import find_policy
from si_embodied.evaluation.report import Comparison, Report, compare, make_report, versions
from si_embodied.evaluation.runner import Run, evaluate
from si_embodied.evaluation.steps import StepFolder
from si_embodied.evaluation.trace import TraceFolder
from si_embodied.evaluation.video import VideoShelf
from si_embodied.parallel.placement import HERE, Place
from si_embodied.run_lock import locked
from si_embodied.runs import write_json
from si_embodied.wording import counted

RECORDS, REPORT, VIDEOS, TRACES, STEPS = "records.jsonl", "report.json", "videos", "traces", "steps"


@dataclass(frozen=True, slots=True)
class Session:
    """Where runs leave their results, and where their episodes run."""

    out: Path
    videos: int = 0  # to keep of each run, failures first
    traces: bool = False  # keep what the episodes looked like, for a report
    placement: Place = HERE
    steps: bool = False  # keep every image, state and action, for a data set
    audiences: Sequence[Audience] = ()  # watch every episode

    def run(self, config: EvaluationConfig, *, suffix: str = "") -> Run:
        """Run what is missing; the names of records and videos end in the suffix.

        The caller holds the folder's lock (`si_embodied.run_lock`).

        Raises:
            ConfigError: the folder holds a run with other settings, or the steps of some episodes alone would be kept.
        """
        path = self.out / RECORDS.replace(".", f"{suffix}.")
        records = RecordFile(path, config.identity(), versions(), describe_computer)
        traces = TraceFolder(self.out / f"{TRACES}{suffix}") if self.traces else None
        steps = StepFolder(self.out / f"{STEPS}{suffix}")
        self._check_kept(steps, config, records)
        shelf = VideoShelf(self.out / f"{VIDEOS}{suffix}", self.videos) if self.videos else None
        label = replace(config, policy=f"{config.policy}-{config.control}").title if config.control else config.title
        return evaluate(
            config, records, shelf=shelf, traces=traces, steps=steps if self.steps else None,
            audiences=self.audiences, placement=self.placement, label=label,
        )  # fmt: skip

    def run_with_controls(self, config: EvaluationConfig, controls: Sequence[str]) -> tuple[Report, list[Comparison]]:
        """Run a policy and its controls, compare them in pairs, and write the report.

        Args:
            config: the policy's evaluation.
            controls: "blank" for black images, or names of other policies.

        Raises:
            ConfigError: a control is the policy itself or needs a model that the policy lacks, or another run writes
                into the folder; otherwise as `run`.
        """
        comparisons: list[Comparison] = []
        configs = {name: _control(config, name) for name in controls}  # fails before the policy has run
        with locked(self.out), self.placement.kept() as place:
            session = replace(self, placement=place)
            own = session.run(config)
            for name, control in configs.items():
                if not own.interrupted:
                    comparisons.append(compare(name, own, session.run(control, suffix=f"-{name}")))
            report = make_report(own)
            write_json(self.out / REPORT, report.to_json(comparisons))
        return report, comparisons

    def _check_kept(self, steps: StepFolder, config: EvaluationConfig, records: RecordFile) -> None:
        """Check that the steps of all episodes are kept or of none: a data set of some alone would be a trap."""
        recorded = [seed for seed in config.seeds if seed in records.episodes]
        lacking = [seed for seed in recorded if not steps.path(seed).exists()]
        if self.steps and lacking:
            raise ConfigError(
                f"the steps of {counted(len(lacking), 'episode')} in {str(self.out)!r} were not kept when they ran "
                f"(the first with seed {lacking[0]}); to keep all, choose another --out"
            )
        if not self.steps and len(recorded) > len(lacking) and len(recorded) < config.episodes:
            raise ConfigError(
                f"{str(self.out)!r} keeps the steps of its episodes, and those of the next "
                f"{config.episodes - len(recorded)} would be missing: repeat --keep-steps, or choose another --out"
            )


def default_folder(config: EvaluationConfig) -> Path:
    """The same settings have the same folder, whatever the seeds."""
    return Path("runs") / "eval" / f"{config.world}-{config.task or 'default'}-{config.policy}-{config.digest()[:8]}"


def _control(config: EvaluationConfig, name: str) -> EvaluationConfig:
    if name == config.policy:
        raise ConfigError(f"--control {name} is --policy {name} itself, and would run the same episodes; leave it out")
    if name != "blank":
        return replace(config, policy=name, backend=None)
    if not find_policy(config.policy).needs_model:
        raise ConfigError(f"--control blank needs a policy with a model (planner), got: {config.policy!r}")
    return replace(config, control="blank")
