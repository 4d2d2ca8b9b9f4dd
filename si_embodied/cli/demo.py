"""`si-embodied demo`: both worlds, every policy, a few episodes; one table, records and videos."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.cli.arguments import whole_number

if TYPE_CHECKING:
    from rich.console import Console

    from si_embodied.backends.config import BackendConfig
    from si_embodied.evaluation.report import Report

WORLDS = (("si_embodied/Apartment-v0", "objectnav"), ("si_embodied/Tabletop-v0", "base"))
POLICIES = ("random", "oracle", "perfect-pixels", "planner")
VIDEOS_EACH = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="both worlds and every policy in minutes",
        description="Run a few episodes of navigation and manipulation with every policy, print one table, and leave "
        "records, a report and videos.",
    )
    parser.add_argument("--episodes", type=whole_number(1, 3), default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=whole_number(0, 0), default=0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--model", type=Path, metavar="DIR|ID", help="the planner's checkpoint (default: the small one of the package)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run everything; 0 when all of it ran, however well it went."""
    from rich.console import Console

    from si_embodied.backends.config import BackendConfig
    from si_embodied.backends.opening import located
    from si_embodied.cli.eval import print_lines
    from si_embodied.evaluation.registry import environments
    from si_embodied.evaluation.report import score_table
    from si_embodied.runs import write_json

    environments()  # says at once which extra is missing
    console, notes = Console(), Console(stderr=True)
    started_s = time.perf_counter()
    backend = located(BackendConfig(model=str(args.model or "")))
    reports: list[Report] = []
    interrupted = False
    for env, task in WORLDS:
        for policy in POLICIES:
            if interrupted:
                continue
            report = _evaluate(args, env, task, policy, backend, notes)
            reports.append(report)
            interrupted = report.interrupted
    write_json(args.out / "report.json", {"runs": [report.to_json() for report in reports]})
    console.print(score_table(reports))
    took_s = time.perf_counter() - started_s
    videos = sorted(path.relative_to(args.out) for path in args.out.glob("*/videos/*.mp4"))
    lines = [
        f"{args.episodes} episodes a row are a demonstration, not a measurement.",
        f"{took_s:.0f} s; report.json, records and {len(videos)} videos are in {args.out}:",
        *(f"  {path}" for path in videos),
    ]
    print_lines(console, lines)
    return 130 if interrupted else 0


def _evaluate(
    args: argparse.Namespace, env: str, task: str, policy: str, backend: BackendConfig, notes: Console
) -> Report:  # fmt: skip
    from si_embodied.cli.eval import RECORDS, VIDEOS, Evaluation
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.registry import find_policy
    from si_embodied.evaluation.report import make_report

    world = env.partition("/")[2].partition("-v")[0].lower()
    out = args.out / f"{world}-{task}-{policy}"
    # A demonstration is run anew each time; an evaluation goes on where it stopped.
    (out / RECORDS).unlink(missing_ok=True)
    shutil.rmtree(out / VIDEOS, ignore_errors=True)
    needs_model = find_policy(policy).needs_model
    config = EvaluationConfig(
        env=env,
        policy=policy,
        task=task,
        backend=backend if needs_model else None,
        episodes=args.episodes,
        seed=args.seed,
    )
    return make_report(Evaluation(out, videos=VIDEOS_EACH, workers=1, console=notes).run(config))
