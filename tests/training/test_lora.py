"""LoRA for each family on a handful of records: what changes, what is written, and which inputs are rejected."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("peft")
pytest.importorskip("accelerate")

import peft
import torch
from safetensors.torch import load_file

from si_embodied.backends import LocalBackend
from si_embodied.cli.main import main
from si_embodied.errors import CheckpointError, ConfigError, DataError, MissingExtraError, RecordError
from si_embodied.models.loading import load_checkpoint
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.run_lock import locked
from si_embodied.training import lora
from si_embodied.training.conversations import Collator, encode, read_records
from si_embodied.training.full import tune_full
from si_embodied.training.lora import LoraRun, tune
from si_embodied.training.lora_settings import LoraConfig
from si_embodied.training.tuning_folder import only_run
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = LoraConfig(
    rank=4, alpha=8, dropout=0.1, learning_rate=0.02, warmup=0.0, steps=7, batch_size=3, accumulation=1, save_every=3
)  # fmt: skip


@pytest.fixture(scope="session")
def runs(data: Path, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoraRun]:
    """A complete run for each family."""
    root = tmp_path_factory.mktemp("runs")
    return {name: tune(path, [data], root / name, CONFIG, merge=True) for name, path in checkpoints.items()}


def losses_of(
    directory: Path, data: Path, apart: Path | None = None, *, adapter: Path | str = ""
) -> tuple[list[float], list[torch.Tensor]]:
    """Each record's loss and logits, one at a time and without dropout.

    `adapter` is merged into the weights on loading, `apart` stays beside them, as in training.
    """
    checkpoint = load_checkpoint(directory, device="cpu", adapter=adapter)
    collate = Collator(checkpoint.family.end_token, "qwen" in checkpoint.family.model_type)
    model = checkpoint.model if apart is None else peft.PeftModel.from_pretrained(checkpoint.model, str(apart))
    with torch.inference_mode():
        outputs = [
            model.eval()(**collate([encode(record, checkpoint.family)]))
            for record in read_records([data / "questions.jsonl"])
        ]
    return [float(output.loss) for output in outputs], [output.logits for output in outputs]


# --- what a run does ------------------------------------------------------------------------------------------------


def test_a_few_steps_lower_the_loss(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, family_name: str
) -> None:
    before, _ = losses_of(checkpoints[family_name], data)
    after, _ = losses_of(checkpoints[family_name], data, runs[family_name].adapter)
    assert np.mean(after) < 0.85 * np.mean(before)
    assert len(runs[family_name].losses) == CONFIG.steps


def test_only_the_language_models_linear_layers_change_and_by_the_product(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], family_name: str
) -> None:
    merged = runs[family_name].merged
    assert merged is not None
    base, tuned = load_file(checkpoints[family_name] / "model.safetensors"), load_file(merged / "model.safetensors")
    adapter = load_file(runs[family_name].adapter / "adapter_model.safetensors")
    assert set(base) == set(tuned)
    for folder in (merged, runs[family_name].adapter):
        assert len({file.stat().st_mode for file in folder.iterdir()}) == 1, "whoever may read one may read all"
    changed = {name for name in base if not torch.equal(base[name], tuned[name])}
    last = {name.split(".")[-2] for name in changed}
    assert last == {f"{kind}_proj" for kind in ("q", "k", "v", "o", "gate", "up", "down")}
    assert not [name for name in changed if "vis" in name]
    # Two layers of seven, each with two factors.
    assert len(changed) == 14
    assert len(adapter) == 28
    (key,) = (name for name in changed if name.endswith("layers.1.mlp.down_proj.weight"))
    a, b = (
        next(value for name, value in adapter.items() if f"layers.1.mlp.down_proj.lora_{factor}." in name)
        for factor in "AB"
    )
    torch.testing.assert_close(tuned[key], base[key] + CONFIG.alpha / CONFIG.rank * b @ a)


def test_the_merged_checkpoint_is_the_base_with_its_adapter(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, family_name: str
) -> None:
    run = runs[family_name]
    assert run.merged is not None
    _, apart = losses_of(checkpoints[family_name], data, run.adapter)
    _, merged = losses_of(run.merged, data)
    for one, other in zip(apart, merged, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_opened_with_its_adapter_is_the_merged_checkpoint_and_without_it_the_base(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, family_name: str, tmp_path: Path
) -> None:
    """Also if the adapter lies beside the weights."""
    run, base = runs[family_name], checkpoints[family_name]
    assert run.merged is not None
    beside = shutil.copytree(base, tmp_path / family_name)
    shutil.copytree(run.adapter, beside, dirs_exist_ok=True)
    _, plain = losses_of(base, data)
    _, merged = losses_of(run.merged, data)
    for directory, adapter, wanted in (
        (base, run.adapter, merged), (base, "", plain), (beside, beside, merged), (beside, "", plain)
    ):  # fmt: skip
        _, logits = losses_of(directory, data, adapter=adapter)
        for one, other in zip(logits, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert max(float((one - other).abs().max()) for one, other in zip(plain, merged, strict=True)) > 0.01


def test_the_merged_checkpoint_answers(runs: dict[str, LoraRun], family_name: str) -> None:
    merged = runs[family_name].merged
    assert merged is not None
    prompt = Prompt("test", "", (np.zeros((56, 112, 3), np.uint8), "\nFind the cup."), plan_schema("navigation", 1))
    answer = LocalBackend(merged, device="cpu").generate(prompt, deadline_s=60.0)
    parse_plan(answer.text, "navigation", 1)


def test_the_merged_config_equals_the_bases(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], family_name: str
) -> None:
    merged = runs[family_name].merged
    assert merged is not None
    base, tuned = (json.loads((folder / "config.json").read_text()) for folder in (checkpoints[family_name], merged))
    for config in (base, tuned):
        config.pop("dtype", None)
        config.pop("torch_dtype", None)  # the same under its older name, which `models convert` writes too
    assert base == tuned


def test_the_card_describes_the_run_without_the_machines_paths(runs: dict[str, LoraRun], data: Path) -> None:
    card = (runs["qwen3_vl"].adapter / "README.md").read_text()
    assert "6 conversations" in card
    assert "seed 0" in card
    assert '"learning_rate": 0.02' in card
    assert str(data.parent) not in card


def test_the_projector_is_tuned_when_asked(checkpoints: dict[str, Path], family_name: str) -> None:
    model = lora.add_lora(load_checkpoint(checkpoints[family_name], device="cpu"), replace(CONFIG, projector=True))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    joins = {name.split(".lora_")[0] for name in trained if "language_model" not in name}
    # Two linear layers; Qwen3-VL's tiny checkpoint has one deepstack level, with a merger of its own.
    assert len(joins) == (4 if family_name == "qwen3_vl" else 2)
    assert all(any(part in name for part in ("merger", "projector", "connector")) for name in joins)
    assert all("lora_" in name for name in trained)


# --- reproducing and resuming ---------------------------------------------------------------------------------------


class Stop(Exception):
    """Interrupts a run."""


def test_a_resumed_run_equals_an_uninterrupted_one(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise Stop

    model = checkpoints["qwen3_vl"]
    with pytest.raises(Stop):
        tune(model, [data], tmp_path / "run", CONFIG, report=stop)
    steps: list[int] = []
    run = tune(model, [data], tmp_path / "run", CONFIG, resume=True, report=lambda step, *_: steps.append(step))
    whole = runs["qwen3_vl"]
    assert steps == [4, 5, 6, 7], "checkpoints are every 3 steps"
    assert run.losses == whole.losses
    one, other = (load_file(each.adapter / "adapter_model.safetensors") for each in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)
    logged = [json.loads(text)["step"] for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3, 4, 5, 6, 7]


def test_resuming_a_finished_run_takes_no_more_steps(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(runs["qwen3_vl"].adapter.parent, tmp_path / "run")
    shutil.rmtree(out / "adapter")
    again = tune(checkpoints["qwen3_vl"], [data], out, CONFIG, resume=True)
    assert again.losses == runs["qwen3_vl"].losses
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (again, runs["qwen3_vl"]))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_an_incomplete_checkpoint_is_skipped(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(runs["qwen3_vl"].adapter.parent, tmp_path / "run")
    (out / "checkpoints" / "checkpoint-7" / "trainer_state.json").write_text('{"global_step": 7')
    steps: list[int] = []
    tune(checkpoints["qwen3_vl"], [data], out, CONFIG, resume=True, report=lambda step, *_: steps.append(step))
    assert steps == [7]


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_first_losses_are_a_function_of_the_seed(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path, seed: int, same: bool
) -> None:
    seen: list[float] = []

    def stop(step: int, steps: int, loss: float) -> None:
        seen.append(loss)
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        tune(checkpoints["internvl"], [data], tmp_path / "run", replace(CONFIG, seed=seed), report=stop)
    assert (tuple(seen) == runs["internvl"].losses[:2]) is same


def test_gradient_checkpointing_does_not_change_gradients(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, gradient_checkpointing=True, steps=3)
    run = tune(checkpoints["qwen2_5_vl"], [data], tmp_path / "run", config)
    # The learning rate falls faster over three steps than over seven, from the second step on.
    assert run.losses[:2] == pytest.approx(runs["qwen2_5_vl"].losses[:2], abs=1e-4)


def test_accumulation_equals_a_larger_batch(checkpoints: dict[str, Path], data: Path, tmp_path: Path) -> None:
    whole = replace(CONFIG, dropout=0.0, batch_size=6, steps=2)
    parts = replace(whole, batch_size=2, accumulation=3)
    one, other = (
        tune(checkpoints["qwen3_vl"], [data], tmp_path / str(config.batch_size), config) for config in (whole, parts)
    )
    assert one.losses == pytest.approx(other.losses, abs=1e-4)


def test_the_loss_is_the_mean_over_answer_tokens(checkpoints: dict[str, Path], data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, dropout=0.0, batch_size=6, steps=1)  # LoRA's update is zero in the first step
    run = tune(checkpoints["internvl"], [data], tmp_path / "run", config)
    checkpoint = load_checkpoint(checkpoints["internvl"], device="cpu")
    means, _ = losses_of(checkpoints["internvl"], data)
    examples = [encode(record, checkpoint.family) for record in read_records([data / "questions.jsonl"])]
    tokens = [int((example.labels >= 0).sum()) for example in examples]
    assert run.losses[0] == pytest.approx(np.average(means, weights=tokens), abs=1e-4)


def test_the_command_tunes(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["--model", checkpoints["qwen3_vl"], "--data", data / "questions.jsonl", "--out", out]
    code = main(["train", "lora", *map(str, arguments), "--steps", "1", "--batch-size", "2", "--accumulation", "1"])
    assert code == 0
    assert "1 steps" in capsys.readouterr().out
    assert peft.PeftConfig.from_pretrained(str(out / "adapter")).r == LoraConfig().rank


# --- invalid input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"rank": 0}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"steps": 0}, {"device": "cuda:1"}]
)
def test_an_invalid_setting_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        replace(CONFIG, **changes)


def test_a_missing_peft_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.delitem(sys.modules, "si_embodied.training.lora")
    with pytest.raises(MissingExtraError, match=r"'peft'.*si-embodied\[train\]"):
        importlib.import_module("si_embodied.training.lora")


def test_a_broken_checkpoint_is_rejected_before_anything_is_written(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        tune(broken, [data], tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_missing_data_are_rejected(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        tune(checkpoints["qwen3_vl"], [tmp_path / "nowhere.jsonl"], tmp_path / "run", CONFIG)


def test_a_run_is_not_overwritten(runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path) -> None:
    with pytest.raises(ConfigError, match="--resume"):
        tune(checkpoints["qwen3_vl"], [data], runs["qwen3_vl"].adapter.parent, CONFIG)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("method", [tune, tune_full])
def test_two_runs_do_not_share_a_folder(
    method: Callable[..., object], checkpoints: dict[str, Path], data: Path, tmp_path: Path, resume: bool
) -> None:
    with locked(tmp_path / "run"), pytest.raises(ConfigError, match="another run is writing"):
        method(checkpoints["qwen3_vl"], [data], tmp_path / "run", resume=resume)


def test_processes_of_one_run_share_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_run(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with only_run(tmp_path):
            pass


def test_a_run_resumes_only_with_its_own_settings(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path
) -> None:
    other = replace(CONFIG, learning_rate=0.5)
    with pytest.raises(ConfigError, match=r"learning_rate 0\.02, now 0\.5"):
        tune(checkpoints["qwen3_vl"], [data], runs["qwen3_vl"].adapter.parent, other, resume=True)


def test_resuming_without_a_run_is_an_error(checkpoints: dict[str, Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run"):
        tune(checkpoints["qwen3_vl"], [data], tmp_path / "run", CONFIG, resume=True)


@pytest.mark.parametrize(
    "file", ["checkpoints/checkpoint-7/adapter_model.safetensors", "checkpoints/checkpoint-7/optimizer.pt",
             "merged/model.safetensors"]
)  # fmt: skip
def test_a_full_disk_is_a_record_error(
    runs: dict[str, LoraRun], checkpoints: dict[str, Path], data: Path, tmp_path: Path, file: str
) -> None:
    """With the file size limited to less than that file's, the system fails in the middle of writing it."""
    resource = pytest.importorskip("resource")
    sizes = {path: path.stat().st_size for path in runs["internvl"].adapter.parent.rglob("*") if path.is_file()}
    (size,) = (size for path, size in sizes.items() if path.as_posix().endswith(file))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, before[1]))
    try:
        with pytest.raises(RecordError, match="free some space"):
            tune(checkpoints["internvl"], [data], tmp_path / "run", replace(CONFIG, steps=1), merge=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_cannot_be_made_is_a_record_error(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError):
        tune(checkpoints["internvl"], [data], tmp_path / "file" / "run", CONFIG)


def test_an_original_internvl_must_be_converted_first(original_internvl: Path, data: Path, tmp_path: Path) -> None:
    """The adapter's layer names would not fit the base."""
    with pytest.raises(ConfigError, match="si-embodied models convert"):
        tune(original_internvl, [data], tmp_path / "run", CONFIG)
