"""The studies that train: what training never shows, what is measured, and that nothing is repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.errors import ConfigError
from si_embodied.studies import checkpoints, generalisation, reasoning, scaling
from si_embodied.studies.own_questions import (
    UNSEEN_PAIRS,
    load_shards,
    names_unseen_pair,
    shows_unseen_pair,
    with_unseen_pairs,
    without_unseen_pairs,
)
from si_embodied.studies.settings import Episodes, PlannerRun
from si_embodied.training.questions import Question
from si_embodied.training.reasoning import REASONING

Heard = tuple[list[str], Callable[[str], None]]


def sizes(shards: Path, out: Path, world: str, micro: Any) -> scaling.ScalingRun:
    episodes = Episodes(world, "objectnav", count=2, seed=6)
    return scaling.ScalingRun(
        data=shards, out=out, images=(1, 3), trainings=1, steps=3, test_images=2, episodes=episodes, recipe=micro
    )


# --- held-out pairs -------------------------------------------------------------------------------------------------


def test_unseen_pairs_share_no_colour_and_no_shape() -> None:
    colours, shapes = zip(*(pair.split(" ", 1) for pair in UNSEEN_PAIRS), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(UNSEEN_PAIRS)


def test_no_training_image_shows_an_unseen_pair(shards: Path) -> None:
    data = load_shards(shards / "train", "tabletop-*")
    kept, left_out = without_unseen_pairs(data, 4), with_unseen_pairs(data, 9)
    assert (len(kept), len(left_out)) == (4, 2)
    assert not any(thing.name in UNSEEN_PAIRS for note in kept.annotations for thing in note.objects)
    assert all(shows_unseen_pair(note) for note in left_out.annotations)


def test_smaller_sets_are_part_of_larger_ones(shards: Path) -> None:
    data = load_shards(shards / "train", "tabletop-*")
    small, large = without_unseen_pairs(data, 2), without_unseen_pairs(data, 4)
    np.testing.assert_array_equal(small.images, large.images[:2])


def test_too_few_images_say_what_to_do(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"5 images .* there are 4: render more"):
        without_unseen_pairs(load_shards(shards / "train", "tabletop-*"), 5)


def test_a_question_is_about_the_objects_it_or_its_answer_names() -> None:
    assert names_unseen_pair(Question("put the red cube in the blue bowl", "{}", "base"))
    assert names_unseen_pair(Question("put the object farthest to the left in the bin", '{"orange cross"}', "extreme"))
    assert not names_unseen_pair(Question("put the red ball in the orange bowl", "{}", "base"))


# --- scaling and generalisation -------------------------------------------------------------------------------------


def test_every_size_is_trained_equally_long_and_measured_by_pairs(
    shards: Path, tmp_path: Path, fake_world: str, micro: Any, heard: Heard
) -> None:
    found = scaling.study(sizes(shards, tmp_path, fake_world, micro), tmp_path, report=heard[1])
    assert [(row.images, row.steps) for row in found.rows] == [(1, 3), (3, 3)]
    for row in found.rows:
        asked = {(one.kind, one.group): one.count for one in row.questions}
        # Both new tables and the two left-out ones are asked about: 3 + 5 + 5 + 5 things, of which 3 x 2 are held out.
        assert asked["point pick", "seen"] + asked["point pick", "unseen"] == 18
        assert asked["point pick", "unseen"] == 6
        assert sum(score.count for score in row.episodes.values()) == 2


def test_trainings_and_measurements_are_not_repeated(
    shards: Path, tmp_path: Path, fake_world: str, micro: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sizes(shards, tmp_path, fake_world, micro)
    first = scaling.measured_sizes(run)
    monkeypatch.setattr(checkpoints, "train", None)
    assert scaling.measured_sizes(run) == first
    longer = replace(run, test_images=1)  # measured anew, of the same trainings
    assert scaling.measured_sizes(longer)[1].steps == 3
    with pytest.raises(ConfigError, match="steps 3, now 4"):
        scaling.measured_sizes(replace(run, steps=4))


def test_trainings_with_the_same_images_differ_in_their_seed(
    shards: Path, tmp_path: Path, fake_world: str, micro: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(sizes(shards, tmp_path, fake_world, micro), images=(1,), steps=1, seed=5)
    scaling.measured_sizes(run)
    weights, train = [], checkpoints.train

    def watched(run: Any, *rest: Any, **more: Any) -> Any:
        weights.append(next(run.model.parameters()).detach().clone())
        return train(run, *rest, **more)

    monkeypatch.setattr(checkpoints, "train", watched)
    rows = scaling.measured_sizes(replace(run, trainings=3))  # the first was trained before
    assert [(row.images, row.seed) for row in rows] == [(1, 5), (1, 6), (1, 7)]
    assert len(weights) == 2
    assert not bool((weights[0] == weights[1]).all())


def test_no_trainings_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected trainings to be positive, got: 0"):
        scaling.ScalingRun(data=shards, out=tmp_path, steps=1, trainings=0)


def test_training_places_are_compared_with_new_ones(shards: Path, planner: Path, micro: Any) -> None:
    rows = generalisation.measured_places(PlannerRun(planner, shards, images=2, recipe=micro))
    assert [(row.world, row.place) for row in rows] == [
        ("tabletop", "trained in"), ("tabletop", "new"), ("apartment", "trained in"), ("apartment", "new"),
    ]  # fmt: skip
    # The first two pictures of each: tables of 3 and 5 things.
    assert [one.count for one in rows[0].questions if one.kind == "point pick"] == [8]
    assert [one.count for one in rows[2].questions if one.kind == "point goto"] == [1]


# --- reasoning ------------------------------------------------------------------------------------------------------


def reasoning_run(model: Path, out: Path, world: str, **changes: Any) -> reasoning.ReasoningRun:
    episodes = Episodes(world, count=2, seed=6)
    return reasoning.ReasoningRun(model=model, out=out, steps=2, tasks=("objectnav",), episodes=episodes, **changes)


def test_both_arms_start_from_the_same_weights_and_one_learns_to_reason(
    shards: Path, planner: Path, tmp_path: Path, fake_world: str, micro: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught, weights = [], []
    train = checkpoints.train

    def watched(run: Any, data: Any, *rest: Any, **more: Any) -> Any:
        taught.append(data.images.reasoning)
        weights.append(next(run.model.parameters()).detach().clone())
        return train(run, data, *rest, **more)

    monkeypatch.setattr(checkpoints, "train", watched)
    found = reasoning.study(reasoning_run(planner, tmp_path, fake_world, data=shards, recipe=micro), tmp_path)
    assert taught == [False, True]
    assert bool((weights[0] == weights[1]).all())
    assert [(row.arm, row.seeds, row.steps) for row in found.rows] == [
        ("without", (6, 7), 2), ("with", (6, 7), 2),
    ]  # fmt: skip
    assert [REASONING in row.example for row in found.rows] == [False, True]


def test_without_training_only_the_question_differs(planner: Path, tmp_path: Path, fake_world: str) -> None:
    found = reasoning.study(reasoning_run(planner, tmp_path, fake_world), tmp_path)
    assert [REASONING in row.example for row in found.rows] == [False, True]
    assert found.rows[0].completion_tokens < found.rows[1].completion_tokens
