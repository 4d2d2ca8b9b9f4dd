"""Decisions of whole episodes train beside labelled images, evenly drawn, as if real cameras had taken some images."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("mujoco")

import torch

from si_embodied.config import checkpoint_prompts
from si_embodied.errors import ConfigError
from si_embodied.sensor_noise.colour import CameraEffects
from si_embodied.training import curriculum, pipeline
from si_embodied.training.architecture import GRID, MICRO
from si_embodied.training.camera_effects import drawn_camera, like_cameras
from si_embodied.training.curriculum import Course, held_out_lessons, lessons_of
from si_embodied.training.decision_batches import decision_batch, decision_row
from si_embodied.training.decisions import Taught, TaughtEpisode, read_decisions
from si_embodied.training.examples import Labelled, load
from si_embodied.training.material import DecisionPool, Material, draw_step
from si_embodied.training.nano import Budget, Recipe, Training, train
from si_embodied.training.nano_settings import MOST_ROUNDS, NanoRun
from si_embodied.training.pictures import Picture
from si_embodied.training.pipeline import train_nano
from si_embodied.training.questions import plan_json, subgoal
from si_embodied.training.scenes import HELD_OUT_SEED, UNSEEN_SEED, Shard, write_shard
from si_embodied.training.vocabulary import CATEGORIES, COLOURS, make_tokenizer

GOTO = plan_json([{**subgoal("goto", "red chair", [512, 7]), "view": 2}], done=False)
EXPLORE, DONE = plan_json([{"skill": "explore"}], done=False), plan_json([], done=True)
SMALL = Recipe(
    sizes=MICRO, batch_images=2, decisions=3, decisions_cycle="pq", decisions_from=0.0, kept_cells=(12, 12, 12),
    threads=1, dense_share=0.0,
)  # fmt: skip


def picture(seed: int, side: int) -> Picture:
    return Picture.of(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def decision(answer: str, images: int = 2, tried: str = "(nothing yet)") -> Taught:
    pictures = [picture(number, 120 if number else 220) for number in range(images)]
    return Taught("You plan.", (*pictures, f"So far:\n{tried}\nTask: find the red chair\n"), answer)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    directory = tmp_path_factory.mktemp("shards")
    write_shard(Shard("tabletop", 81_000, 2), directory)
    write_shard(Shard("apartment", 81_000, 2), directory)
    return load(directory, CATEGORIES, COLOURS, GRID)


def pool(**shares: float) -> DecisionPool:
    many = tuple(decision(EXPLORE) for _ in range(81))
    return DecisionPool(
        [
            TaughtEpisode("si_embodied/Apartment-v0", "route", 1, True, (*many, decision(GOTO))),
            TaughtEpisode("si_embodied/Tabletop-v0", "base", 1, True, (decision(DONE),)),
        ],
        {f"si_embodied/Tabletop-v0 {task}": share for task, share in shares.items()},
    )


def test_decisions_are_drawn_by_the_tasks_shares() -> None:
    drawn = Counter(one.answer for one in pool().draw(np.random.default_rng(0), 4000))
    assert drawn[DONE] == pytest.approx(2000, abs=150)
    drawn = Counter(one.answer for one in pool(base=3.0).draw(np.random.default_rng(0), 4000))
    assert drawn[DONE] == pytest.approx(3000, abs=150), "a share of 3 to 1"


@pytest.mark.slow
def test_after_each_attempt_answers_are_drawn_as_often_as_they_occur() -> None:
    arrived = "1-3. explore: done\n4. goto red chair: done"
    explored = tuple(decision(EXPLORE, tried="1. explore: done") for _ in range(100))
    followed = (
        *(decision(DONE, tried=arrived) for _ in range(20)),
        *(decision(EXPLORE, tried=arrived) for _ in range(5)),
    )
    taught = DecisionPool([TaughtEpisode("si_embodied/Apartment-v0", "objectnav", 1, True, (*explored, *followed))])
    drawn = Counter(
        (arrived in "".join(map(str, one.content)), one.answer) for one in taught.draw(np.random.default_rng(0), 3000)
    )
    assert drawn[False, EXPLORE] == pytest.approx(2000, abs=150), "10 of 10 + 5"
    assert drawn[True, DONE] == pytest.approx(800, abs=100), "20 of 25"
    assert drawn[True, EXPLORE] == pytest.approx(200, abs=60)


def test_a_point_to_reach_that_is_found_at_last_makes_another_situation() -> None:
    searching = tuple(decision(EXPLORE, tried="1. explore: done\nTo reach: (none)") for _ in range(100))
    found = decision(GOTO, tried="1. explore: done\nTo reach: 3.0 m away, behind")
    taught = DecisionPool([TaughtEpisode("si_embodied/ImageNav-v0", "imagenav", 1, True, (*searching, found))])
    drawn = Counter(one.answer for one in taught.draw(np.random.default_rng(0), 1100))
    assert drawn[GOTO] == pytest.approx(100, abs=30), "1 of 10 + 1, and not 1 of 101"


def test_what_to_do_and_where_to_point_weighs_most_in_an_answer() -> None:
    row = decision_row(decision(GOTO))
    said = make_tokenizer().encode(GOTO, add_special_tokens=False)
    words = [make_tokenizer().decode([token]) for token in said]
    weights = dict(zip(words, row.weights[-len(said) :], strict=True))
    assert weights['{"subgoals":[{"skill":"'] == weights["goto"] == weights['","view":2,"point":['] == 2.0
    assert weights["512"] == weights["7"] == 1.0
    assert sum(row.weights[: -len(said)]) == 0
    instruction = make_tokenizer().encode("Task: find the red chair\n", add_special_tokens=False)
    ((index, early, _),) = row.early
    assert row.tokens[index - len(instruction) + 1 : index + 1] == instruction
    assert early == 512
    assert make_tokenizer().decode([decision_row(decision(EXPLORE)).early[0][1]]) == "explore"
    single = decision_row(decision(GOTO, images=1))
    assert single.weights[-len(said) :][words.index('","view":2,"point":[')] < 1, "with one view there is no choice"


def test_a_batch_has_the_images_of_each_size_once_per_decision() -> None:
    batch = decision_batch([decision(GOTO), decision(EXPLORE, images=3)])
    assert [tuple(images.shape) for images in batch.images] == [(2, 220, 220, 3), (3, 120, 120, 3)]
    first, small = 2 * GRID**2, 36  # image tokens of the full size come first
    assert batch.order[: GRID**2].tolist() == list(range(GRID**2))
    assert batch.order[GRID**2 : GRID**2 + small].tolist() == list(range(first, first + small))
    assert int(batch.packed.is_image.sum()) == len(batch.order) == 2 * GRID**2 + 3 * small


def test_a_step_with_decisions_trains_on_them_and_on_cells(labelled: Labelled, tmp_path: Path) -> None:
    run = Training(SMALL)
    entry = run.advance(Material(labelled, pool()), 0.5)
    assert entry["cells"] > 0
    assert entry["answers"] == 0
    assert entry["decisions"] > 0
    histories = [
        train(Training(SMALL), Material(labelled, pool()), Material(labelled, pool()), tmp_path / name, Budget(steps=4))
        for name in ("a", "b")
    ]
    assert histories[0] == histories[1]
    log = (tmp_path / "a" / "log.jsonl").read_text()
    assert "Apartment route points" in log
    assert "Tabletop base words" in log


def test_until_decisions_are_trained_single_images_are_asked_about(labelled: Labelled) -> None:
    late = replace(SMALL, decisions_from=0.6)
    for material, recipe in ((Material(labelled), SMALL), (Material(labelled, pool()), late)):
        batch, decisions = draw_step(material, 0, 0.5, recipe)
        assert decisions == ()
        assert batch.packed is not None
    assert draw_step(Material(labelled, pool()), 0, 0.6, late)[1]


def test_layers_in_bfloat16_give_nearly_the_same_loss(labelled: Labelled) -> None:
    recipes = replace(SMALL, bfloat16=True), replace(SMALL, bfloat16=False)
    steps = [Training(recipe).advance(Material(labelled, pool()), 0.5) for recipe in recipes]
    assert steps[0]["loss"] == pytest.approx(steps[1]["loss"], rel=0.02)
    assert steps[0]["loss"] != steps[1]["loss"]


@pytest.mark.slow
def test_decisions_are_learned(labelled: Labelled) -> None:
    run = Training(replace(SMALL, decisions_cycle="p", warmup_steps=1, learning_rate=5e-3))
    material = Material(labelled, pool())
    losses = [run.advance(material, 0.5)["decisions"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_camera_effects_change_the_light_and_keep_the_scene() -> None:
    image = np.full((40, 60, 3), 90, np.uint8)
    image[:20] = 180
    for seed in range(20):
        rng = np.random.default_rng(seed)
        seen = drawn_camera(rng).apply(image, rng)
        assert seen.shape == image.shape
        assert seen.dtype == np.uint8
        assert (seen[:18].mean(axis=(0, 1)) > seen[22:].mean(axis=(0, 1)) + 30).all()
        assert 40 < seen[22:].mean() < 150
    identity = CameraEffects(np.tile(np.arange(256, dtype=np.uint8), (3, 1)), 0.0, 0.0, None)
    np.testing.assert_array_equal(identity.apply(image, np.random.default_rng(0)), image)


def test_one_camera_takes_all_images_of_a_decision_in_a_share_of_them() -> None:
    pair = [np.full((20, 20, 3), 120, np.uint8)] * 2
    rng, changed = np.random.default_rng(3), 0
    for _ in range(200):
        seen = like_cameras(pair, rng, 0.25)
        changed += seen is not pair
        np.testing.assert_allclose(seen[0].mean((0, 1)), seen[1].mean((0, 1)), atol=3.0)
    assert 30 < changed < 70
    assert like_cameras(pair, rng, 0.0) is pair


def test_the_pipeline_teaches_in_rounds_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("habitat")
    monkeypatch.setattr(curriculum, "COURSES", (Course("HabitatRearrange-v0", "base", 1),))
    run = NanoRun(
        out=tmp_path, steps=1, tabletops=2, apartments=2, households=2, held_out=2, threads=1, recipe=SMALL, rounds=2
    )
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "export", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_nano(replace(run, steps=2))
    assert not (tmp_path / "decisions" / "1").exists(), "the student acts after half of the training"
    directory = train_nano(replace(run, steps=2, resume=True))
    assert (tmp_path / "student" / "model.safetensors").exists()
    taught = read_decisions([*(tmp_path / "decisions").glob("[01]/*.json")])
    assert sorted(episode.seed for episode in taught) == [0, 2000]
    card = (directory / "README.md").read_text()
    count = sum(len(episode.decisions) for episode in taught)
    assert f"{count} decisions of si_embodied/HabitatRearrange-v0 base" in card, "the held-out ones do not count"
    assert "HabitatRearrange base words" in card
    assert checkpoint_prompts(directory) == run.prompts


def interrupted(*_: object) -> Path:
    raise KeyboardInterrupt


def test_a_round_has_seeds_of_its_own_and_none_that_are_held_out() -> None:
    rounds = [lessons_of(number, NanoRun(Path()).prompts, Path("student")) for number in (0, 1, MOST_ROUNDS - 1)]
    seeds = [
        {(each.config.env, each.config.task, seed) for each in lessons for seed in each.config.seeds}
        for lessons in rounds
    ]
    assert not seeds[0] & seeds[1]
    assert max(seed for *_, seed in seeds[2]) < HELD_OUT_SEED
    held = [seed for lesson in held_out_lessons(NanoRun(Path()).prompts) for seed in lesson.config.seeds]
    assert min(held) == HELD_OUT_SEED
    assert max(held) < UNSEEN_SEED
    with pytest.raises(ConfigError, match="rounds"):
        NanoRun(Path(), rounds=MOST_ROUNDS + 1)


def test_the_step_is_a_function_of_seed_and_number(labelled: Labelled) -> None:
    steps = [draw_step(Material(labelled, pool()), 6, 0.5, replace(SMALL, camera_share=1.0)) for _ in range(2)]
    (one, decided), (other, again) = steps
    assert torch.equal(one.images, other.images)
    assert decided
    images, same = ([images for batch in batches for images in batch.images] for batches in (decided, again))
    assert all(torch.equal(a, b) for a, b in zip(images, same, strict=True))
