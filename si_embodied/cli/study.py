"""`si-embodied study`: run a study, write its results as JSON, draw its plot and print its table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.cli.arguments import minutes, whole_number

if TYPE_CHECKING:
    from si_embodied.studies.results import Results
    from si_embodied.studies.scaling import ScalingRun

PAGE = "index.md"
_SHARDS = Path("runs/nano/data")
_TABLETOP = "si_embodied/Tabletop-v0"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `study` and its verbs."""
    parser = subparsers.add_parser(
        "study",
        help="measure what data, images and reasoning are worth",
        description="Run a study. It resumes where it was stopped, and leaves raw results as JSON, a plot and a table.",
    )
    verbs = parser.add_subparsers(dest="study_verb", metavar="STUDY", required=True)

    scaling = _verb(verbs, "scaling", "accuracy and success by number of training images", "sizes", run_scaling)
    _add_sizes(scaling)

    places = _verb(verbs, "generalisation", "pairs and places that training never showed", "sizes", run_generalisation)
    _add_sizes(places)
    _add(places, "--model", "DIR", "for places (default: the package's small planner)")
    _add(places, "--place-images", "N", "of each kind of place", 240)

    shortcuts = _verb(verbs, "shortcuts", "what a model scores without looking", "shortcuts", run_shortcuts)
    _add(shortcuts, "--model", "DIR", "any checkpoint, to ask the questions of --data")
    _add(shortcuts, "--data", "DIR", "a folder of `si-embodied data generate`")
    shortcuts.add_argument("--questions", type=whole_number(1, 1020), metavar="N", help="the first N (default: all)")
    _add(shortcuts, "--device", "D", "auto, cpu or cuda", "auto")
    _add(shortcuts, "--dtype", "T", "auto is bfloat16 on CUDA, float32 on a CPU", "auto")
    _add(shortcuts, "--shards", "DIR", "held-out shards of `train nano`, to ask the small planner its own questions")
    _add(shortcuts, "--planner", "DIR", "that planner (default: the package's)")
    _add(shortcuts, "--images", "N", "of each world there", 120)
    _add(shortcuts, "--threads", "N", "of the CPU", 1)

    reasoning = _verb(verbs, "reasoning", "plans with and without reasoning first", "reasoning", run_reasoning)
    _add(reasoning, "--model", "DIR", "default: the package's small planner")
    reasoning.add_argument("--no-training", action="store_true", help="only ask differently: for real checkpoints")
    _add(reasoning, "--data", "DIR", "shards of `train nano`, for the short training", _SHARDS)
    _add(reasoning, "--env", "ID", "the world to play in", _TABLETOP)
    reasoning.add_argument("--tasks", nargs="+", default=["base", "spatial"], metavar="T", help="default: base spatial")
    _add_costs(reasoning, default_minutes=4.0)


def _verb(verbs: Any, name: str, about: str, folder: str, run: Callable[[argparse.Namespace], int]) -> Any:
    parser = verbs.add_parser(name, help=about, description=f"A study: {about}.")
    _add(parser, "--out", "DIR", "for checkpoints and records", Path("runs/studies") / folder)
    _add(parser, "--results", "DIR", f"for {name}.json and {name}.png (default: --out)")
    parser.add_argument("--report", action="store_true", help="only redo plot and table, from the JSON")
    parser.set_defaults(run=run)
    return parser


def _add(
    parser: argparse.ArgumentParser, flag: str, metavar: str, text: str, default: Any = None, minimum: int = 1
) -> None:
    """Add an option: a whole number or a name if its default is one, otherwise a path."""
    parse: Any = whole_number(minimum, default) if isinstance(default, int) else Path
    parse = str if isinstance(default, str) else parse
    text += "" if default is None else " (default: %(default)s)"
    parser.add_argument(flag, type=parse, default=default, metavar=metavar, help=text)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    _add(parser, "--data", "DIR", "shards of `train nano`", _SHARDS)
    parser.add_argument(
        "--images", type=whole_number(1, 600), nargs="+", default=[150, 600, 2400], metavar="N",
        help="training images, one training for each N (default: 150 600 2400)",
    )  # fmt: skip
    _add(parser, "--test-images", "N", "new tables, and as many with unseen pairs", 240)
    _add(parser, "--task", "T", "of the tabletop, to play", "base")
    parser.set_defaults(env=_TABLETOP)
    _add_costs(parser, steps=1200)


def _add_costs(parser: argparse.ArgumentParser, steps: int | None = None, default_minutes: float | None = None) -> None:
    """Add what makes a study long: training, episodes, threads."""
    default = f"{steps} steps" if steps else f"{default_minutes:g} minutes"
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=whole_number(1, 1200), metavar="N", help=f"per training (default: {default})")
    budget.add_argument("--minutes", type=minutes, metavar="M", help="per training, instead of steps")
    parser.set_defaults(default_steps=steps, default_minutes=default_minutes)
    _add(parser, "--episodes", "N", "per checkpoint and task", 100)
    _add(parser, "--seed", "S", "of the first episode", 90_000, minimum=0)
    _add(parser, "--threads", "N", "of the CPU", 1)


# --- running --------------------------------------------------------------------------------------------------------


def run_scaling(args: argparse.Namespace) -> int:
    """Train on several numbers of images, and measure."""
    from si_embodied.studies import scaling

    return _run(args, scaling.ScalingResults, partial(scaling.study, _sizes(args)))


def run_generalisation(args: argparse.Namespace) -> int:
    """The same trainings by pairs, and a finished checkpoint by places."""
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.studies import generalisation
    from si_embodied.studies.own_questions import PlannerRun

    places = PlannerRun(args.model or shipped_checkpoint(), args.data, args.place_images, args.threads)
    return _run(args, generalisation.GeneralisationResults, partial(generalisation.study, _sizes(args), places))


def run_shortcuts(args: argparse.Namespace) -> int:
    """Ask with and without images."""
    from si_embodied.errors import ConfigError
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.studies import shortcuts
    from si_embodied.studies.asking import QuestionsRun
    from si_embodied.studies.own_questions import PlannerRun

    if (args.model is None) != (args.data is None) or (args.data is None and args.shards is None and not args.report):
        raise ConfigError("give --model and --data to ask questions, --shards to ask a small planner its own, or all")
    questions = planner = None
    if args.model is not None:
        questions = QuestionsRun(args.model, args.data, args.out, args.questions, args.threads, args.device, args.dtype)
    if args.shards is not None:
        planner = PlannerRun(args.planner or shipped_checkpoint(), args.shards, args.images, args.threads)
    return _run(args, shortcuts.ShortcutsResults, partial(shortcuts.study, questions, planner))


def run_reasoning(args: argparse.Namespace) -> int:
    """Plan with and without reasoning."""
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.studies import reasoning

    run = reasoning.ReasoningRun(
        model=args.model or shipped_checkpoint(), data=None if args.no_training else args.data,
        tasks=tuple(args.tasks), **_training(args, args.tasks[0]),
    )  # fmt: skip
    return _run(args, reasoning.ReasoningResults, partial(reasoning.study, run))


def _run(args: argparse.Namespace, kind: type[Results], study: Callable[..., Results]) -> int:
    """Run a study, or read its results, and report on them."""
    from rich.console import Console

    from si_embodied.studies.plots import draw

    folder = args.results or args.out
    say = partial(Console(highlight=False, soft_wrap=True).print, markup=False)
    found = kind.read(folder / f"{kind.name}.json") if args.report else study(folder, report=say)
    draw(found, folder / f"{kind.name}.png")
    if (page := folder / PAGE).is_file():
        found.fill(page)
    for line in [f"{found.headline()}.", "", *found.table(), "", f"results and plot: {folder / kind.name}.json, .png"]:
        say(line)
    return 0


def _sizes(args: argparse.Namespace) -> ScalingRun:
    from si_embodied.studies.scaling import ScalingRun

    return ScalingRun(
        data=args.data, images=tuple(args.images), test_images=args.test_images, **_training(args, args.task)
    )


def _training(args: argparse.Namespace, task: str) -> dict[str, Any]:
    """The settings that the studies that train have in common."""
    from si_embodied.studies.checkpoints import Episodes

    given = args.steps is not None or args.minutes is not None
    return {
        "out": args.out, "threads": args.threads, "episodes": Episodes(args.env, task, args.episodes, args.seed),
        "steps": args.steps if given else args.default_steps,
        "minutes": args.minutes if given else args.default_minutes,
    }  # fmt: skip
