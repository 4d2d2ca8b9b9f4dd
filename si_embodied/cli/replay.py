"""`si-embodied replay`: a robot's recorded decisions, made again."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.cli.arguments import add_model, add_server, backend_config
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from si_embodied.ros_nodes.recording.reader import Recording
    from si_embodied.ros_nodes.recording.replay import Replayed, Replayer
    from si_embodied.types import Decision

BACKENDS = ("recorded", "local", "server")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="decide again what a robot's recording holds",
        description="Plan again, offline, from what recorder_node has recorded of a robot, and compare: with the "
        "answers that were recorded, which shows whether this version still decides the same, or with another model. "
        "0 when every recorded answer led to the same decision, else 1; with another model always 0.",
    )
    parser.add_argument("recording", type=Path, metavar="PATH", help="the folder that was recorded, or its .mcap file")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="who answers (default: recorded, or local with --model, or server with --server)",
    )
    add_model(parser)
    add_server(parser)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay, print the comparison, and say whether it held."""
    from rich.console import Console

    from si_embodied.cli.eval import print_lines
    from si_embodied.ros_nodes.recording.reader import Recording

    console = Console()
    backend = args.backend or ("server" if args.server else "local" if args.model else "recorded")
    recording = Recording(args.recording)
    replayed = list(_replayer(args, backend).replay(recording))
    console.print(_table(recording, replayed))
    summary = _summary(backend, replayed)
    print_lines(console, [_headline(summary)])
    if args.json:
        print_lines(console, [json.dumps(summary, allow_nan=False)])
    return 1 if backend == "recorded" and (summary["different"] or summary["same skills"]) else 0


def _replayer(args: argparse.Namespace, backend: str) -> Replayer:
    from si_embodied.backends.opening import open_backend
    from si_embodied.config import Prompts, load_planner_config
    from si_embodied.ros_nodes.recording.replay import Replayer

    if (backend != "server" and args.server) or (backend == "recorded" and args.model):
        raise ConfigError(f"--backend {backend} does not go with --model or --server; leave one of them out")
    if backend == "server" and not args.server:
        raise ConfigError("--backend server needs --server URL")
    given = None if args.config is None else load_planner_config(args.config)
    if backend == "recorded":
        return Replayer(adapt=lambda config: given or config)
    # Recorded settings, but the prompts that this model was trained with.
    return Replayer(open_backend(backend_config(args)), lambda config: given or replace(config, prompts=Prompts()))


# --- what is printed ------------------------------------------------------------------------------------------------


def _table(recording: Recording, replayed: Sequence[Replayed]) -> Table:
    from rich.table import Table

    table = Table("#", "at, s", "recorded", "replayed", "", "apart, m", "model, s", "now, s", box=None)
    start_s = recording.records[0].decided_s
    for number, (record, each) in enumerate(zip(recording.records, replayed, strict=True), 1):
        table.add_row(
            str(number),
            f"{record.decided_s - start_s:.1f}",
            _words(each.recorded),
            each.why if each.replayed is None else _words(each.replayed),
            each.verdict,
            "" if each.distance_m is None else f"{each.distance_m:.3f}",
            f"{_model_s(each.recorded):.2f}",
            "" if each.replayed is None else f"{_model_s(each.replayed):.2f}",
        )
    return table


def _words(decision: Decision) -> str:
    """A decision in a few words."""
    from si_embodied.types import Hold

    if isinstance(decision, Hold):
        return f"hold {decision.code.name}"
    return ", ".join(subgoal.words for subgoal in decision.subgoals) or "done"


def _model_s(decision: Decision) -> float:
    """Seconds that the model took."""
    return float(decision.record.latency_s.get("generate", 0.0))


def _summary(backend: str, replayed: Sequence[Replayed]) -> dict[str, Any]:
    counts = Counter(each.verdict for each in replayed)
    distances = [each.distance_m for each in replayed if each.distance_m is not None]
    return {
        "backend": backend,
        "decisions": len(replayed),
        **{name: counts[name] for name in ("identical", "same skills", "different", "not replayed")},
        "greatest_distance_m": max(distances, default=None),
        "plans": [
            {
                "verdict": each.verdict,
                "recorded": _entry(each.recorded),
                "replayed": None if each.replayed is None else _entry(each.replayed),
                "distance_m": each.distance_m,
                "why": each.why,
            }
            for each in replayed
        ],
    }


def _entry(decision: Decision) -> dict[str, Any]:
    record = decision.record
    return {
        "code": int(record.code),
        "plan": None if decision.plan is None else decision.plan.model_dump_json(exclude_none=True),
        "model": record.model,
        "prompt_version": record.prompt_version,
        "latency_s": dict(record.latency_s),
    }


def _headline(summary: dict[str, Any]) -> str:
    apart = summary["greatest_distance_m"]
    far = "" if apart is None else f"; goals at most {apart:.3g} m apart"
    parts = [f"{summary[name]} {name}" for name in ("identical", "same skills", "different", "not replayed")]
    return f"{summary['decisions']} decisions: {', '.join(parts)}{far}."
