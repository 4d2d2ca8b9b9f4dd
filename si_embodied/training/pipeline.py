"""Make the small model in one call: render images, collect decisions, train, let the student act, train on, export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError
from si_embodied.progress import track
from si_embodied.training.architecture import GRID
from si_embodied.training.curriculum import SHARES, held_out_lessons, lessons_of
from si_embodied.training.decisions import read_decisions
from si_embodied.training.examples import load
from si_embodied.training.export import Story, export
from si_embodied.training.lessons import collect
from si_embodied.training.material import DecisionPool, Material
from si_embodied.training.measure import measure
from si_embodied.training.measure_decisions import measure_decisions
from si_embodied.training.nano import STATE, Budget, Recipe, Training, train, world_counts
from si_embodied.training.nano_settings import IMAGE_PROMPTS, NanoRun
from si_embodied.training.scenes import HELD_OUT_SEED, WORLDS, Shard, World, digest, plan_shards, write_shards
from si_embodied.training.vocabulary import CATEGORIES, COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.training.examples import Labelled

_CHECKPOINT, _STUDENT = "checkpoint", "student"


def train_nano(run: NanoRun, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """Render missing images, train in rounds, and write the checkpoint; returns its directory.

    Before each round, episodes are played: the first time by the teacher, then by the student that has been trained so
    far. All rounds share one budget and one learning-rate schedule.

    Raises:
        ConfigError: a training state exists and `resume` is false, or the other way around; or the folder holds
            another run's checkpoint.
    """
    state = _state(run)
    counts: dict[World, int] = {
        "tabletop": run.tabletops, "apartment": run.apartments, "household": run.households
    }  # fmt: skip
    training, held = run.out / "data" / "train", run.out / "data" / "held_out"
    for directory, first_seed, wanted in (
        (training, 0, counts), (held, HELD_OUT_SEED, dict.fromkeys(counts, run.held_out))
    ):  # fmt: skip
        shards: list[Shard] = []
        for world in WORLDS:
            shards += plan_shards(world, wanted[world], first_seed=first_seed)
        report(f"data: {sum(wanted.values()):,} images in {directory}")
        with track("images", sum(wanted.values()), unit="images") as work:
            write_shards(shards, directory, workers=run.threads, done=work.advance)
    data, measured = (load(directory, CATEGORIES, COLOURS, GRID) for directory in (training, held))
    trained = _begin(run, state)
    pool = unseen = None
    first = trained.recipe.decisions_from  # the share of the budget before the first decision
    for number in range(max(1, run.rounds)):
        until = first + (1 - first) * (number + 1) / max(1, run.rounds)
        if Budget(run.steps, run.minutes).progress(trained.step, trained.seconds) >= until:
            continue
        if run.rounds:
            pool, unseen = _taught(run, trained, number, report)
        budget = Budget(run.steps, run.minutes, until)
        train(trained, Material(data, pool), Material(measured, unseen), run.out / "run", budget, report=report)
    story = _story(run, trained, data, measured, pool, unseen)
    return export(trained.mean, run.out / _CHECKPOINT, story)


def _state(run: NanoRun) -> Path:
    """Where the training's state is, or will be; what would be overwritten is refused."""
    state = run.out / "run" / STATE
    if state.exists() and not run.resume:
        raise ConfigError(f"{state} exists: add --resume to continue from it, or choose another --out")
    for name in (_CHECKPOINT, _STUDENT):
        if not state.exists() and (run.out / name).exists():
            raise ConfigError(
                f"{run.out / name} exists, and is not of a run that can be resumed ({state} is missing): choose "
                "another --out, so that it is not overwritten"
            )
    return state


def _begin(run: NanoRun, state: Path) -> Training:
    """The training as it was saved, or a new one."""
    if run.resume:
        return Training.load(state, threads=run.threads)
    prompts = run.prompts if run.rounds else IMAGE_PROMPTS
    recipe = run.recipe or Recipe(seed=run.seed, threads=run.threads, prompts=prompts)
    if run.start is None:
        return Training(recipe)
    trained = Training(replace(recipe, dense_share=0.0, decisions_from=0.0))  # it has learned to see and to point
    trained.start_from(run.start)
    return trained


def _taught(
    run: NanoRun, trained: Training, number: int, report: Callable[[str], None]
) -> tuple[DecisionPool, DecisionPool]:
    """The decisions of all rounds up to this one, which are collected if they are missing, and held-out ones."""
    folder, student = run.out / "decisions", run.out / _STUDENT
    if number and not (folder / str(number)).exists():  # otherwise an interrupted round, whose student is kept
        story = Story({}, "", trained.recipe.seed, trained.step, trained.seconds / 60, prompts=run.prompts)
        export(trained.mean, student, story)
    lessons = lessons_of(number, run.prompts, student if number else None, scale=run.episodes)
    for name, wanted in ((str(number), lessons), ("held_out", held_out_lessons(run.prompts, scale=run.episodes / 10))):
        report(f"decisions: {sum(lesson.config.episodes for lesson in wanted):,} episodes in {folder / name}")
        with track("decisions", len(wanted), unit="lessons") as work:
            done = lambda lesson, count: work.advance(note=f"{lesson}: {count} decisions")  # noqa: E731
            collect(wanted, folder / name, workers=run.threads, done=done)
    files = [file for earlier in range(number + 1) for file in sorted((folder / str(earlier)).glob("*.json"))]
    held = sorted((folder / "held_out").glob("*.json"))
    return DecisionPool(read_decisions(files), SHARES), DecisionPool(read_decisions(held))


def _story(
    run: NanoRun, trained: Training, data: Labelled, measured: Labelled, pool: DecisionPool | None,
    unseen: DecisionPool | None,
) -> Story:  # fmt: skip
    """What the checkpoint's card tells."""
    held_out = measure(trained.mean, measured, images=run.held_out, prompts=trained.recipe.prompts)
    if unseen is not None:
        held_out |= measure_decisions(trained.mean, unseen, each=run.held_out)
    return Story(
        images=dict(world_counts(data)),
        data_digest=digest(run.out / "data" / "train"),
        seed=trained.recipe.seed,
        steps=trained.step,
        minutes=trained.seconds / 60,
        held_out=held_out,
        prompts=run.prompts if run.rounds else IMAGE_PROMPTS,
        decisions={} if pool is None else pool.counts(),
    )
