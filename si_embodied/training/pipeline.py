"""Make the small model in one call: render data, train, export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError
from si_embodied.training.architecture import GRID
from si_embodied.training.decisions import read_decisions
from si_embodied.training.examples import load
from si_embodied.training.export import Story, export
from si_embodied.training.material import DecisionPool, Material
from si_embodied.training.measure import measure
from si_embodied.training.measure_decisions import measure_decisions
from si_embodied.training.nano import DECISIONS_CYCLE, STATE, Budget, Recipe, Training, train, world_counts
from si_embodied.training.nano_settings import NanoRun
from si_embodied.training.scenes import HELD_OUT_SEED, UNSEEN_SEED, WORLDS, Shard, digest, plan_shards, write_shards
from si_embodied.training.vocabulary import CATEGORIES, COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def train_nano(run: NanoRun, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """Render missing images, train, and write the checkpoint; returns its directory.

    Raises:
        ConfigError: a training state exists and `resume` is false, or the other way around; no decisions in the given
            directory, or decisions of a seed that training must not see.
    """
    state = run.out / "run" / STATE
    if state.exists() and not run.resume:
        raise ConfigError(f"{state} exists: add --resume to continue from it, or choose another --out")
    counts = {"tabletop": run.tabletops, "apartment": run.apartments}
    training, held = run.out / "data" / "train", run.out / "data" / "held_out"
    for directory, first_seed, wanted in (
        (training, 0, counts), (held, HELD_OUT_SEED, dict.fromkeys(counts, run.held_out))
    ):  # fmt: skip
        shards: list[Shard] = []
        for world in WORLDS:
            shards += plan_shards(world, wanted[world], first_seed=first_seed)
        report(f"data: {sum(wanted.values()):,} images in {directory}")
        write_shards(shards, directory, workers=run.threads, done=lambda count: report(f"  {count} images"))
    data, measured = (load(directory, CATEGORIES, COLOURS, GRID) for directory in (training, held))
    pools = _decisions(run.decisions) if run.decisions is not None else (None, None)
    if run.resume:
        trained = Training.load(state, threads=run.threads)
    else:
        recipe = run.recipe or Recipe(seed=run.seed, threads=run.threads)
        if run.recipe is None and run.decisions is not None:
            recipe = replace(recipe, cycle=DECISIONS_CYCLE)
        if run.start is None:
            trained = Training(recipe)
        else:
            trained = Training(replace(recipe, dense_share=0.0))  # it has learned what objects look like
            trained.start_from(run.start)
    budget = Budget(run.steps, run.minutes)
    train(trained, Material(data, pools[0]), Material(measured, pools[1]), run.out / "run", budget, report=report)
    story = Story(
        images=dict(world_counts(data)),
        data_digest=digest(training),
        seed=trained.recipe.seed,
        steps=trained.step,
        minutes=trained.seconds / 60,
        held_out=measure(trained.mean, measured, images=run.held_out),
        prompts=run.prompts,
        decisions={} if pools[0] is None else pools[0].counts(),
    )
    if pools[1] is not None:
        story.held_out.update(measure_decisions(trained.mean, pools[1], each=run.held_out))
    return export(trained.mean, run.out / "checkpoint", story)


def _decisions(directory: Path) -> tuple[DecisionPool, DecisionPool | None]:
    """The decisions of training seeds, and those of held-out ones, if there are any."""
    episodes = read_decisions(sorted(directory.glob("*.json")))
    if late := [episode.seed for episode in episodes if episode.seed >= UNSEEN_SEED]:
        raise ConfigError(f"decisions of seeds from {UNSEEN_SEED} on are for tests only, got seed {late[0]}")
    held = [episode for episode in episodes if episode.seed >= HELD_OUT_SEED]
    pool = DecisionPool(episode for episode in episodes if episode.seed < HELD_OUT_SEED)
    return pool, DecisionPool(held) if held else None
