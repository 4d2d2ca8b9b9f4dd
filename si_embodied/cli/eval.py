"""`si-embodied eval`: run a policy over seeds, and say how well it did and how sure that is."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.cli.arguments import (
    add_model,
    add_server,
    add_world,
    backend_config,
    latency,
    named_value,
    whole_number,
)

if TYPE_CHECKING:
    from rich.console import Console

    from si_embodied.backends.config import BackendConfig
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.report import Comparison
    from si_embodied.evaluation.runner import OnEpisode, Run

RECORDS, REPORT, VIDEOS = "records.jsonl", "report.json", "videos"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `eval`."""
    parser = subparsers.add_parser(
        "eval",
        help="evaluate a policy in a world",
        description="Run a policy over a range of seeds. The same command goes on after an interruption.",
    )
    add_world(parser, required=True)
    parser.add_argument("--policy", required=True, metavar="NAME", help="random, oracle, perfect-pixels or planner")
    add_model(parser)
    add_server(parser)
    parser.add_argument("--planner", metavar="URL", help="plan on this planning server (`si-embodied serve`)")
    parser.add_argument("--episodes", type=whole_number(1, 100), default=100, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        choices=("blank", "random", "oracle"),
        help="run this on the same seeds too and compare (paired); blank gives the model black images",
    )
    parser.add_argument(
        "--latency",
        type=latency,
        default=0.0,
        metavar="0|measured|SECONDS",
        help="simulated time a plan takes while the world goes on (default: 0, the world waits)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: a folder under runs/ named by the settings")
    parser.add_argument("--videos", type=whole_number(0, 5), default=0, metavar="K", help="keep K, failures first")
    parser.add_argument("--workers", type=whole_number(1, 2), default=1, metavar="N", help="processes")
    parser.add_argument(
        "--env-arg",
        type=named_value,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another argument of the world, as `si-embodied envs` lists them: a JSON value or a text",
    )
    parser.add_argument("--python", type=Path, metavar="PATH", help="run the world in this Python (docs/habitat.md)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, and report; 130 when Ctrl-C cut it short."""
    from rich.console import Console

    from si_embodied.evaluation.registry import environments, find_policy, make_env
    from si_embodied.evaluation.report import compare, detail_lines, make_report, score_table
    from si_embodied.runs import write_json

    environments()  # says at once which extra is missing
    console, notes = Console(), Console(stderr=True)
    config = _config(args, needs_model=find_policy(args.policy).needs_model)
    make_env(config).close()  # an unknown name must not leave a folder behind
    out = args.out or _folder(config)
    plan = Evaluation(out, videos=args.videos, workers=args.workers, console=notes)
    own = plan.run(config)
    comparisons: list[Comparison] = []
    for control in dict.fromkeys(args.control):
        if not own.interrupted:
            comparisons.append(compare(control, own, plan.run(_control(config, control), suffix=f"-{control}")))
    report = make_report(own)
    summary = report.to_json(comparisons)
    write_json(out / REPORT, summary)
    console.print(score_table([report, *(comparison.report for comparison in comparisons)]))
    print_lines(console, [*detail_lines(report, comparisons), f"records, report and videos are in {out}"])
    if args.json:
        print_lines(console, [json.dumps(summary, allow_nan=False)])
    return 130 if own.interrupted or any(c.report.interrupted for c in comparisons) else 0


def print_lines(console: Console, lines: list[str]) -> None:
    """Print lines as they are: neither wrapped nor coloured, so that they can be read by programs."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _config(args: argparse.Namespace, *, needs_model: bool) -> EvaluationConfig:
    from si_embodied.backends.opening import located
    from si_embodied.config import load_planner_config
    from si_embodied.errors import ConfigError
    from si_embodied.evaluation.config import EvaluationConfig

    if args.planner is not None and (args.model is not None or args.server is not None):
        raise ConfigError("a planning server (--planner) has a model of its own; give neither --model nor --server")
    if args.planner is not None and "blank" in args.control:
        raise ConfigError("--control blank spoils what a model sees, which with --planner is the server's to show it")
    return EvaluationConfig(
        env=args.env,
        policy=args.policy,
        task=args.task,
        backend=located(_backend(args)) if needs_model else None,
        latency=args.latency,
        image_size=args.image_size,
        action_mode=args.action_mode,
        planner=load_planner_config(args.config),
        episodes=args.episodes,
        seed=args.seed,
        python=args.python,
        env_args=tuple(args.env_arg),
    )


def _folder(config: EvaluationConfig) -> Path:
    """The same settings find the same folder again, whatever the seeds."""
    world = config.env.partition("/")[2].partition("-v")[0].lower() or config.env
    return Path("runs") / "eval" / f"{world}-{config.task or 'default'}-{config.policy}-{config.digest()[:8]}"


def _control(config: EvaluationConfig, name: str) -> EvaluationConfig:
    from si_embodied.errors import ConfigError
    from si_embodied.evaluation.registry import find_policy

    if name != "blank":
        return replace(config, policy=name, backend=None)
    if not find_policy(config.policy).needs_model:
        raise ConfigError(f"--control blank needs a policy that looks with a model (planner), got: {config.policy!r}")
    return replace(config, control="blank")


def _backend(args: argparse.Namespace) -> BackendConfig:
    from si_embodied.backends.config import BackendConfig

    return backend_config(args) if args.planner is None else BackendConfig("remote", url=args.planner)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Where runs leave what they leave, and how they show their progress."""

    out: Path
    videos: int
    workers: int
    console: Console

    def run(self, config: EvaluationConfig, *, suffix: str = "") -> Run:
        """Run, with records and videos in files named with the suffix."""
        from si_embodied.evaluation.records import RecordFile
        from si_embodied.evaluation.report import versions
        from si_embodied.evaluation.runner import evaluate

        records = RecordFile(self.out / RECORDS.replace(".", f"{suffix}."), config.identity(), versions())
        shelf = None
        if self.videos:
            from si_embodied.evaluation.video import VideoShelf

            shelf = VideoShelf(self.out / f"{VIDEOS}{suffix}", self.videos)
        done = sum(seed in records.episodes for seed in config.seeds)
        label = f"{config.policy}{suffix} on {config.env} {config.task or ''}".strip()
        with _progress(self.console, label, config.episodes, done) as on_episode:
            return evaluate(config, records, shelf=shelf, workers=self.workers, on_episode=on_episode)


@contextlib.contextmanager
def _progress(console: Console, label: str, total: int, done: int) -> Iterator[OnEpisode]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    successes = episodes = 0
    # Without a terminal a bar would be a line of junk in somebody's log.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(label, total=total, completed=done, rate="")

        def on_episode(result: Any) -> None:
            nonlocal successes, episodes
            episodes, successes = episodes + 1, successes + result.success
            progress.update(bar, advance=1, rate=f"{successes}/{episodes} succeeded")

        yield on_episode
