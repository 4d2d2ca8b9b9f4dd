"""The report on a run: its figures, as a dataclass, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import math
import platform
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied import __version__
from si_embodied.evaluation.statistics import PairedComparison, Percentiles, mcnemar, mean, percentiles, wilson_interval
from si_embodied.installation import installed_versions
from si_embodied.wording import counted, seeds_in_words

if TYPE_CHECKING:
    from rich.table import Table

    from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
    from si_embodied.evaluation.runner import Run
    from si_embodied.types import Latency

UNITS = {"distance_to_goal": "m", "path_length": "m", "geodesic_distance": "m"}
"""Of the worlds' measures that have one."""
_LONGEST_NAME, _LONGEST_PAIR = 20, 9
"""Characters in a line of the table of scores, so that all of it fits 80 columns."""
_PACKAGES = ("gymnasium", "mujoco", "numpy", "torch", "transformers", "llguidance", "habitat-lab", "habitat-sim")


@dataclass(frozen=True, slots=True)
class About:
    """What a run's figures are about."""

    env: str
    task: str | None
    policy: str
    model: str | None
    control: str | None
    latency: Latency
    noise: str
    asked: int
    seed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A control's run on the same seeds, beside the policy's own."""

    name: str  # "blank", "random", "oracle"
    report: Report
    episodes: int  # that both ran
    paired: PairedComparison  # the policy first, the control second


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run; NaN if a figure does not apply."""

    env: str
    task: str
    policy: str
    model: str | None
    control: str | None
    episodes: int  # that ended; all figures are about these
    lost: int  # episodes whose simulator was lost
    asked: int
    seed: int
    success_rate: float
    wilson95: tuple[float, float]
    spl: float
    mean_steps: float
    metrics: Mapping[str, float]  # means of the environment's metrics
    plans: int
    holds: Mapping[str, int]  # by code
    plan_latency_ms: Percentiles
    latency_ms_by_part: Mapping[str, Percentiles]
    completion_tokens: float  # mean per plan
    prompt_versions: tuple[str, ...]
    kernel: str | None
    dtype: str | None
    latency: Latency
    noise: str  # the profile's name
    wall_s: float
    resumed: int
    others: int  # episodes of other seeds in the same folder, which these figures leave out
    interrupted: bool

    @property
    def world(self) -> str:
        """World and task for people: "Apartment objectnav"."""
        world = self.env.rpartition("/")[2].partition("-v")[0]
        # HabitatObjectNav already names its task.
        return world if world.lower().endswith(self.task) else f"{world} {self.task}"

    @property
    def title(self) -> str:
        """The policy for people: "planner", "planner (blank)"."""
        return self.policy if self.control is None else f"{self.policy} ({self.control})"

    def to_json(self, comparisons: Sequence[Comparison] = ()) -> dict[str, Any]:
        """As JSON values, with null for NaN and the controls' figures under `controls`."""
        row = dataclasses.asdict(self)
        row["controls"] = {comparison.name: _control_json(comparison) for comparison in comparisons}
        row["versions"] = versions()
        plain: dict[str, Any] = without_nan(row)
        return plain


def make_report(run: Run) -> Report:
    """Summarise a run."""
    config = run.config
    about = About(
        env=config.env,
        task=config.task,
        policy=config.policy,
        model=config.backend.model if config.backend else None,
        control=config.control,
        latency=config.latency,
        noise="none" if config.noise is None else config.noise.name,
        asked=config.episodes,
        seed=config.seed,
    )
    return summarise(about, run.episodes, resumed=run.resumed, others=run.others, interrupted=run.interrupted)


def summarise(
    about: About, results: Sequence[EpisodeResult], *, resumed: int = 0, others: int = 0, interrupted: bool = False
) -> Report:  # fmt: skip
    """The figures of some episodes."""
    episodes = [episode for episode in results if episode.ended != "lost"]
    plans = [plan for episode in episodes for plan in episode.plans]
    successes = sum(episode.success for episode in episodes)
    metrics = _mean_metrics(episodes)
    first = plans[0].record if plans else None
    return Report(
        env=about.env,
        task=about.task or (episodes[0].task if episodes else "") or "default",
        policy=about.policy,
        model=first.model if first else about.model,
        control=about.control,
        episodes=len(episodes),
        lost=len(results) - len(episodes),
        asked=about.asked,
        seed=about.seed,
        success_rate=successes / len(episodes) if episodes else math.nan,
        wilson95=wilson_interval(successes, len(episodes)),
        spl=metrics.pop("spl", math.nan),
        mean_steps=mean([float(episode.steps) for episode in episodes]),
        metrics=metrics,
        plans=len(plans),
        holds=dict(Counter(plan.record.code.name for plan in plans if not plan.executed).most_common()),
        plan_latency_ms=_latency(plans, "total"),
        latency_ms_by_part={part: _latency(plans, part) for part in _parts(plans)},
        completion_tokens=mean([float(plan.record.completion_tokens) for plan in plans]),
        prompt_versions=tuple(sorted({plan.record.prompt_version for plan in plans})),
        kernel=first.kernel if first else None,
        dtype=first.dtype if first else None,
        latency=about.latency,
        noise=about.noise,
        wall_s=math.fsum(episode.wall_s for episode in episodes),
        resumed=resumed,
        others=others,
        interrupted=interrupted,
    )


def compare(name: str, run: Run, control: Run) -> Comparison:
    """Compare a policy's run with a control's, paired by seed."""
    return paired_by_seed(name, run.episodes, control.episodes, make_report(control))


def paired_by_seed(
    name: str, ours: Sequence[EpisodeResult], theirs: Sequence[EpisodeResult], report: Report
) -> Comparison:  # fmt: skip
    """Compare a policy's episodes with a control's, whose report is given."""
    second = {episode.seed: episode.success for episode in theirs if episode.ended != "lost"}
    first = {e.seed: e.success for e in ours if e.seed in second and e.ended != "lost"}
    return Comparison(name, report, len(first), mcnemar(list(first.values()), [second[seed] for seed in first]))


def versions() -> dict[str, str]:
    """The versions of the installed packages that a score may depend on."""
    return {"si-embodied": __version__, "python": platform.python_version(), **installed_versions(_PACKAGES)}


# --- tables ---------------------------------------------------------------------------------------------------------


def score_table(reports: Sequence[Report]) -> Table:
    """One row per run, under its world, with interval and number of episodes beside every score.

    Fits 80 columns, whatever the figures: names wrap, and where a terminal is narrower, figures do. Nothing is cut.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("n", "success [95%]", "SPL", "steps\nmean", "plans/\nholds\nin all", "plan ms\np50/p99"):
        table.add_column(heading, justify="right", overflow="fold")
    previous = None
    for report in reports:
        heading = ", ".join([report.world, *conditions(report)])
        if heading != previous:
            if previous is not None:
                table.add_section()
            for line in textwrap.wrap(heading, _LONGEST_NAME):
                table.add_row(f"[bold]{line}[/bold]")
        table.add_row("\n".join(textwrap.wrap(report.title, _LONGEST_NAME)), *_figures(report))
        previous = heading
    return table


def conditions(report: Report) -> list[str]:
    """What made the task harder than it is by default: noise, latency."""
    noise = [] if report.noise == "none" else [f"noise {report.noise}"]
    match report.latency:
        case 0:
            return noise
        case "measured":
            return [*noise, "latency measured"]
        case seconds:
            return [*noise, f"latency {seconds:g} s"]


def measure_words(name: str, value: float) -> str:
    """A measure of an episode with its unit: "path_length 5.75 m"."""
    return f"{name} {value:.3g}" + (f" {UNITS[name]}" if name in UNITS else "")


def detail_lines(report: Report, comparisons: Sequence[Comparison] = ()) -> list[str]:
    """What does not fit into the table, one line each."""
    seeds = seeds_in_words(range(report.seed, report.seed + report.asked))
    earlier = f" ({report.resumed} from an earlier run)" if report.resumed else ""
    lines = [f"seeds {seeds}{earlier}, {report.wall_s:.1f} s of episodes"]
    if report.noise != "none":
        lines.append(f"noise of the sensors: {report.noise}")
    if report.metrics:
        lines.append("means: " + ", ".join(measure_words(*each) for each in report.metrics.items()))
    if report.plans:
        prompt = ", ".join(report.prompt_versions)
        lines.append(f"model {report.model}, prompt {prompt}, kernel {report.kernel}, dtype {report.dtype}")
        parts = ", ".join(f"{part} {value.p50:.1f}" for part, value in report.latency_ms_by_part.items())
        lines.append(f"median latency of a plan by part, ms: {parts}")
    if report.holds:
        lines.append("holds: " + ", ".join(f"{code} {count}" for code, count in report.holds.items()))
    for comparison in comparisons:
        paired = comparison.paired
        lines.append(
            f"against {comparison.name}, {counted(comparison.episodes, 'shared seed')}: {paired.only_first} won alone, "
            f"{paired.only_second} lost alone, McNemar p = {paired.p_value:.3g}"
        )
    if report.lost:
        lines.append(
            f"{counted(report.lost, 'episode')} lost by the simulator, not counted above; repeat the command to run "
            "them again"
        )
    if report.others:
        count = counted(report.others, "episode")
        lines.append(f"{count} of other seeds from earlier commands: in the page, not in the figures above")
    if report.interrupted:
        lines.append(f"interrupted after {report.episodes} of {report.asked} episodes; repeat the command to resume")
    return lines


def _figures(report: Report) -> list[str]:
    low, high = report.wilson95
    latency = report.plan_latency_ms
    rate = "–" if not report.episodes else f"{report.success_rate:.2f} [{low:.2f}, {high:.2f}]"
    return [
        f"{report.episodes}" if report.episodes == report.asked else f"{report.episodes}\nof {report.asked}",
        rate,
        _number(report.spl, ".2f"),
        _number(report.mean_steps, ".0f"),
        _pair(report.plans, sum(report.holds.values())) if report.plans else "–",
        _pair(latency.p50, latency.p99) if report.plans else "–",
    ]


def _pair(first: float, second: float) -> str:
    """Two figures with a slash, on two lines if they are long."""
    text = f"{first:.0f}/{second:.0f}"
    return text if len(text) <= _LONGEST_PAIR else text.replace("/", "/\n")


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


# --- figures --------------------------------------------------------------------------------------------------------


def _mean_metrics(episodes: Sequence[EpisodeResult]) -> dict[str, float]:
    names = dict.fromkeys(name for episode in episodes for name in episode.metrics)
    return {name: mean([e.metrics[name] for e in episodes if name in e.metrics]) for name in names}


def _parts(plans: Sequence[PlanEntry]) -> list[str]:
    return list(dict.fromkeys(part for plan in plans for part in plan.record.latency_s))


def _latency(plans: Sequence[PlanEntry], part: str) -> Percentiles:
    """Latency in milliseconds, over the plans that have this part."""
    return percentiles([1000 * plan.record.latency_s[part] for plan in plans if part in plan.record.latency_s])


def _control_json(comparison: Comparison) -> dict[str, Any]:
    names, paired = ("episodes", "success_rate", "wilson95", "spl", "mean_steps"), comparison.paired
    return {name: getattr(comparison.report, name) for name in names} | {
        "shared_seeds": comparison.episodes,
        "won_alone": paired.only_first,
        "lost_alone": paired.only_second,
        "mcnemar_p": paired.p_value,
    }


def without_nan(value: Any) -> Any:
    """The value for JSON: NaN and infinity become null, tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [without_nan(item) for item in value]
    return value
