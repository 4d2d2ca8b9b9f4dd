"""A LoRA adapter given with a checkpoint: what it is checked for, and where it is recorded.

That the outputs are those of the merged checkpoint: tests/training/test_lora.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

import peft
import torch
from safetensors.torch import load_file, save_file

from si_embodied.backends import LocalBackend
from si_embodied.backends.config import BackendConfig
from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.models.adapters import ADAPTER_WEIGHTS, inspect_adapter
from si_embodied.models.checkpoints import ADAPTER_CONFIG
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.onnx.manifest import FILE
from si_embodied.ros_nodes.node.settings import NodeSettings


@pytest.fixture(scope="module")
def made(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the tiny Qwen3-VL checkpoint, made by peft, that changes it."""
    return make(checkpoints["qwen3_vl"], tmp_path_factory.mktemp("made") / "adapter")


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def make(checkpoint: Path, out: Path) -> Path:
    model = load_checkpoint(checkpoint, device="cpu").model
    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(str(out))
    return out


def configure(adapter: Path, **values: object) -> None:
    file = adapter / ADAPTER_CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def change_weights(adapter: Path, change: Callable[[dict[str, Any]], object]) -> None:
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    change(weights)
    save_file(weights, adapter / ADAPTER_WEIGHTS)


def first(weights: dict[str, Any]) -> str:
    return min(weights)


def test_every_record_names_the_adapter_and_its_digest(checkpoints: dict[str, Path], adapter: Path) -> None:
    files = (adapter / ADAPTER_CONFIG).read_bytes() + (adapter / ADAPTER_WEIGHTS).read_bytes()
    label = f"{adapter}@{hashlib.sha256(files).hexdigest()[:12]}"
    backend = LocalBackend(checkpoints["qwen3_vl"], device="cpu", adapter=adapter)
    assert backend.info.model == f"qwen3_vl+{label}"
    assert identity(checkpoints["qwen3_vl"], adapter)["adapter"] == label


def test_another_adapter_in_the_same_place_is_another_run(checkpoints: dict[str, Path], adapter: Path) -> None:
    plain, before = identity(checkpoints["qwen3_vl"], ""), identity(checkpoints["qwen3_vl"], adapter)
    configure(adapter, lora_alpha=99)
    assert "adapter" not in plain
    assert before != identity(checkpoints["qwen3_vl"], adapter)


def identity(checkpoint: Path, adapter: Path | str) -> dict[str, Any]:
    backend = BackendConfig(model=str(checkpoint), adapter=str(adapter))
    return EvaluationConfig(env="si_embodied/Apartment-v0", policy="planner", backend=backend).identity()


def test_an_adapter_beside_the_weights_is_applied_when_asked_for_without_a_warning(
    checkpoints: dict[str, Path], adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(checkpoints["qwen3_vl"], adapter, dirs_exist_ok=True)
    configure(adapter, base_model_name_or_path=str(adapter))
    with caplog.at_level("WARNING"):
        tuned = load_checkpoint(adapter, device="cpu", adapter=adapter)
    assert not caplog.records
    base = load_checkpoint(checkpoints["qwen3_vl"], device="cpu").model.state_dict()
    changed = {name for name, value in tuned.model.state_dict().items() if not torch.equal(value, base[name])}
    assert changed == {name for name in base if name.endswith("q_proj.weight") and "vis" not in name}
    assert len(changed) == 2


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no directory": (shutil.rmtree, f"lacks {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}: give"),
    "no weights": (lambda path: (path / ADAPTER_WEIGHTS).unlink(), f"lacks {ADAPTER_WEIGHTS}: give"),
    "a download that broke off": (lambda path: (path / ADAPTER_WEIGHTS).write_bytes(b"abc"), "not a complete"),
    "another kind": (lambda path: configure(path, peft_type="IA3"), "'IA3': give a LoRA"),
    "another base": (
        lambda path: configure(path, base_model_name_or_path="org/Other"), "trained on 'org/Other', not on 'qwen3_vl'"
    ),
    "another rank": (lambda path: configure(path, r=4), "8 x .* in the adapter and 4 x .* in the model; give"),
    "layers that are not there": (
        lambda path: configure(path, target_modules=["no_such_layer"]), "does not fit 'qwen3_vl' .*no_such_layer"
    ),
    "a layer too few": (lambda path: change_weights(path, lambda w: w.pop(first(w))), "is missing in the adapter"),
    "a layer too many": (
        lambda path: change_weights(path, lambda w: w.update(more=torch.zeros(1))), "more is 1 .* missing in the model"
    ),
    "not a number": (
        lambda path: change_weights(path, lambda w: w[first(w)].fill_(float("nan"))), "does not fit .*give"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_adapter_that_does_not_fit_says_why_in_one_sentence(
    name: str, checkpoints: dict[str, Path], adapter: Path
) -> None:
    break_it, words = BROKEN[name]
    break_it(adapter)
    with pytest.raises(CheckpointError, match=words) as error:
        load_checkpoint(checkpoints["qwen3_vl"], device="cpu", adapter=adapter)
    assert "\n" not in str(error.value)


def test_an_adapter_of_another_architecture_is_an_error_that_names_both(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    other = make(checkpoints["internvl"], tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="internvl.*, not on 'qwen3_vl'"):
        load_checkpoint(checkpoints["qwen3_vl"], device="cpu", adapter=other)
    configure(other, base_model_name_or_path="qwen3_vl")  # a user insists
    with pytest.raises(CheckpointError, match="trained on 'qwen3_vl', does not fit 'qwen3_vl': base_model"):
        load_checkpoint(checkpoints["qwen3_vl"], device="cpu", adapter=other)


@pytest.mark.parametrize("base", ["org/Qwen3_VL", "org/qwen3_vl@1a2b3c", "/elsewhere/qwen3_vl", None])
def test_the_base_may_have_moved_or_be_unnamed(base: str | None, checkpoints: dict[str, Path], adapter: Path) -> None:
    configure(adapter, base_model_name_or_path=base)
    load_checkpoint(checkpoints["qwen3_vl"], device="cpu", adapter=adapter)


def test_an_adapter_that_cannot_be_merged_is_a_config_error(
    checkpoints: dict[str, Path], adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(adapter)
    for kind, settings in {
        "server": {"url": "http://127.0.0.1:1", "model": "m"}, "remote": {"url": "ws://127.0.0.1:1"},
        "scripted": {"script": ("{}",)},
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"local checkpoint, got '{where}' with the {kind} backend"):
            BackendConfig(kind, adapter=where, **settings)  # type: ignore[arg-type]
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / FILE).write_text("{}")
    with pytest.raises(ConfigError, match="weights of an export are fixed.*--merge"):
        LocalBackend(tmp_path / "export", adapter=adapter)
    monkeypatch.setattr("si_embodied.models.loading.place", lambda *_: None)  # as if there were a CUDA device
    with pytest.raises(ConfigError, match="full precision.*weights 4bit; merge"):
        load_checkpoint(checkpoints["qwen3_vl"], weights="4bit", adapter=adapter)


def test_without_peft_the_extra_is_named(
    checkpoints: dict[str, Path], adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    inspect_adapter(adapter)
    with pytest.raises(MissingExtraError, match=r"si-embodied\[train\]"):
        load_checkpoint(checkpoints["qwen3_vl"], device="cpu", adapter=adapter)


def test_the_ros_parameter_reaches_the_backend() -> None:
    assert NodeSettings(adapter="runs/tuned/adapter").backend_config.adapter == "runs/tuned/adapter"
