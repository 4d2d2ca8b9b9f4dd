"""An evaluation in a folder: a policy and its controls on the same seeds, with records, videos and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import find_policy
from si_embodied.evaluation.report import Comparison, Report, compare, make_report, versions
from si_embodied.evaluation.runner import OnEpisode, Run, evaluate
from si_embodied.evaluation.video import VideoShelf
from si_embodied.runs import write_json

RECORDS, REPORT, VIDEOS = "records.jsonl", "report.json", "videos"
Watch: TypeAlias = Callable[[str, int, int], AbstractContextManager[OnEpisode]]
"""Shows progress: takes a label, the number of episodes and how many were done before, and is told of each episode."""


@dataclass(frozen=True, slots=True)
class Session:
    """Where runs leave their results, and how they are shown."""

    out: Path
    videos: int = 0  # to keep of each run, failures first
    workers: int = 1
    watch: Watch = lambda *_: nullcontext(lambda _: None)

    def run(self, config: EvaluationConfig, *, suffix: str = "") -> Run:
        """Run what is missing; the names of records and videos end in the suffix."""
        records = RecordFile(self.out / RECORDS.replace(".", f"{suffix}."), config.identity(), versions())
        shelf = VideoShelf(self.out / f"{VIDEOS}{suffix}", self.videos) if self.videos else None
        done = sum(seed in records.episodes for seed in config.seeds)
        label = f"{config.policy}{suffix} on {config.env} {config.task or ''}".strip()
        with self.watch(label, config.episodes, done) as on_episode:
            return evaluate(config, records, shelf=shelf, live=self.out, workers=self.workers, on_episode=on_episode)

    def run_with_controls(self, config: EvaluationConfig, controls: Sequence[str]) -> tuple[Report, list[Comparison]]:
        """Run a policy and its controls, compare them in pairs, and write the report.

        Args:
            config: the policy's evaluation.
            controls: "blank" for black images, or names of other policies.
        """
        own = self.run(config)
        comparisons: list[Comparison] = []
        for name in dict.fromkeys(controls):
            if not own.interrupted:
                comparisons.append(compare(name, own, self.run(_control(config, name), suffix=f"-{name}")))
        report = make_report(own)
        write_json(self.out / REPORT, report.to_json(comparisons))
        return report, comparisons


def default_folder(config: EvaluationConfig) -> Path:
    """The same settings have the same folder, whatever the seeds."""
    return Path("runs") / "eval" / f"{config.world}-{config.task or 'default'}-{config.policy}-{config.digest()[:8]}"


def _control(config: EvaluationConfig, name: str) -> EvaluationConfig:
    if name != "blank":
        return replace(config, policy=name, backend=None)
    if not find_policy(config.policy).needs_model:
        raise ConfigError(f"--control blank needs a policy with a model (planner), got: {config.policy!r}")
    return replace(config, control="blank")
