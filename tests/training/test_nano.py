"""A training run is a function of its data and seed, can be resumed, and exports a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("mujoco")

from safetensors import SafetensorError

from si_embodied.config import checkpoint_prompts
from si_embodied.errors import ConfigError, RecordError
from si_embodied.training.architecture import GRID, MICRO, image_processor
from si_embodied.training.examples import Labelled, load
from si_embodied.training.export import Story, export
from si_embodied.training.material import Material
from si_embodied.training.nano import LOG, STATE, Budget, Recipe, Training, learning_factor, train
from si_embodied.training.nano_settings import NanoRun
from si_embodied.training.pictures import fitted, fitted_size
from si_embodied.training.pipeline import train_nano
from si_embodied.training.scenes import Shard, plan_shards, write_shard, write_shards
from si_embodied.training.vocabulary import CATEGORIES, COLOURS

SMALL = Recipe(
    sizes=MICRO,
    batch_images=2,
    fragments=(1, 1, 1),
    plans=(1, 1, 0),
    glances=(0, 2, 0),
    kept_cells=(12, 12, 12),
    threads=1,
    dense_share=0.3,
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    write_shard(Shard("tabletop", 81_000, 4), directory)
    write_shard(Shard("apartment", 81_000, 4), directory)
    return directory


@pytest.fixture(scope="module")
def data(shards: Path) -> Labelled:
    return load(shards, CATEGORIES, COLOURS, GRID)


def test_a_repeated_shard_has_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    write_shard(Shard("apartment", 81_000, 4), tmp_path)
    for name in ("apartment-81000-4.json", "apartment-81000-4.npz"):
        first, again = (directory / name for directory in (shards, tmp_path))
        if name.endswith("json"):
            assert first.read_bytes() == again.read_bytes()
        else:
            with np.load(first) as one, np.load(again) as other:
                assert all((one[key] == other[key]).all() for key in one.files)


def test_two_workers_write_the_same_annotations(shards: Path, tmp_path: Path) -> None:
    pair = [Shard("apartment", 81_000, 4), Shard("tabletop", 81_000, 4)]
    counts: list[int] = []
    write_shards(pair, tmp_path, workers=2, done=counts.append)
    assert counts == [4, 4]
    for shard in pair:
        name = f"{shard.name}.json"
        assert (tmp_path / name).read_bytes() == (shards / name).read_bytes()


def test_shards_hold_the_requested_number_of_images() -> None:
    assert [shard.count for shard in plan_shards("tabletop", 500, first_seed=0)] == [240, 240, 20]
    assert [shard.first_seed for shard in plan_shards("apartment", 500, first_seed=7)] == [7, 27, 47]


@pytest.mark.parametrize("size", [(224, 224), (112, 112), (120, 160), (480, 640)])
def test_images_are_resized_as_by_the_checkpoints_processor(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    from si_embodied.training.forward import patches_of

    theirs = image_processor(10)([image], input_data_format="channels_last", return_tensors="np")
    import torch

    ours = patches_of(torch.from_numpy(fitted(image))[None], 10)[0].reshape(-1, 3, 1, 100)
    both = np.asarray(theirs["pixel_values"]).reshape(len(ours), 3, 2, 100)
    np.testing.assert_allclose(both, np.broadcast_to(ours.numpy(), both.shape), atol=1e-5)


@pytest.mark.parametrize("patch_px", [10, 20])
def test_the_processor_resizes_to_the_sizes_of_training(patch_px: int) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    processor = image_processor(patch_px)
    least, most = processor.size.shortest_edge, processor.size.longest_edge
    for height in range(16, 700, 12):
        for width in range(16, 700, 13):
            expected = smart_resize(height, width, patch_px * processor.merge_size, least, most)
            assert fitted_size(height, width) == expected
    assert fitted_size(112, 112) == (120, 120), "an earlier view stays small"
    assert fitted_size(224, 224) == fitted_size(220, 220) == (220, 220)


def test_the_same_seed_gives_the_same_losses(data: Labelled, tmp_path: Path) -> None:
    histories = [
        train(Training(SMALL), Material(data), Material(data), tmp_path / name, Budget(steps=8)) for name in ("a", "b")
    ]
    assert histories[0] == histories[1]
    assert len(set(histories[0])) == 8


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_recipe_repeats_its_first_100_losses(data: Labelled, tmp_path: Path) -> None:
    recipe = Recipe(threads=1, dense_share=0.5)  # half of the steps with questions
    histories = [
        train(Training(recipe), Material(data), Material(data), tmp_path / name, Budget(steps=100))
        for name in ("a", "b")
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 100


def test_a_resumed_run_equals_an_uninterrupted_one(data: Labelled, tmp_path: Path) -> None:
    whole = train(Training(SMALL), Material(data), Material(data), tmp_path / "whole", Budget(steps=6))
    part = Training(SMALL)
    for step in range(3):
        part.advance(Material(data), step / 6)
    part.save(tmp_path / STATE)
    rest = train(Training.load(tmp_path / STATE), Material(data), Material(data), tmp_path / "rest", Budget(steps=6))
    assert rest == whole[3:]


def test_a_full_disk_is_a_record_error_and_keeps_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Training(SMALL)
    run.save(tmp_path / STATE)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(RecordError, match="No space left on device"):
            run.save(tmp_path / STATE)
    assert Training.load(tmp_path / STATE).recipe == SMALL


def test_the_learning_rate_rises_stays_and_falls_to_a_tenth() -> None:
    recipe = Recipe(warmup_steps=10, late_share=0.2)
    assert learning_factor(0, 0.0, recipe) == pytest.approx(0.1)
    assert learning_factor(50, 0.5, recipe) == 1.0
    assert learning_factor(50, 0.9, recipe) == pytest.approx(0.55)
    assert learning_factor(50, 1.0, recipe) == pytest.approx(0.1)


def test_one_call_renders_trains_and_exports(tmp_path: Path) -> None:
    run = NanoRun(
        out=tmp_path, steps=3, tabletops=2, apartments=2, households=2, held_out=2, threads=1, recipe=SMALL, rounds=0
    )
    directory = train_nano(run)
    assert checkpoint_prompts(directory).navigation == "nav/nano"
    assert "seeds below 80,000" in (directory / "README.md").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    assert "point pick" in lines[-1]["held_out"]
    with pytest.raises(ConfigError, match="--resume"):
        train_nano(run)


@pytest.mark.parametrize("resume", [False, True])
def test_the_checkpoint_of_another_run_is_not_overwritten(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(ConfigError, match=r"checkpoint exists.*choose another --out"):
        train_nano(NanoRun(out=tmp_path, resume=resume))
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_that_cannot_be_written_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("si_embodied.training.export.save_file", full)
    with pytest.raises(RecordError, match="No space left.*free some space.*--resume writes it"):
        export(Training(SMALL).mean, tmp_path, Story({}, "0", 5, 0, 0.0))


def test_a_run_can_start_from_a_checkpoints_weights(tmp_path: Path) -> None:
    first = Training(dataclasses.replace(SMALL, seed=5))
    export(first.mean, tmp_path, Story({}, "0", 5, 0, 0.0))
    second = Training(SMALL)
    second.start_from(tmp_path)
    for one, other in zip(first.mean.parameters(), second.model.parameters(), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="sizes"):
        Training(dataclasses.replace(SMALL, sizes=dataclasses.replace(MICRO, text_layers=1))).start_from(tmp_path)


def test_resuming_without_a_state_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without --resume"):
        Training.load(tmp_path / STATE)
