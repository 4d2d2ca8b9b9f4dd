"""Every way a checkpoint directory can be broken, and the error for each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from si_embodied.errors import CheckpointError, ConfigError
from si_embodied.models.checkpoints import SUPPORTED, inspect_checkpoint
from si_embodied.types import Prompt

pytest.importorskip("transformers")

from typing import TYPE_CHECKING

from si_embodied.models.loading import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def broken(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be broken."""
    return Path(shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "model"))


def _set_config(directory: Path, **values: object) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **values}))


def _drop(*names: str) -> Callable[[Path], None]:
    def drop(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return drop


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / name).write_bytes(data)

    return write


def _truncate(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _garbled_header(directory: Path) -> None:
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[8:40] = b"x" * 32
    file.write_bytes(data)


def _shard(directory: Path) -> None:
    """Rewrite as a checkpoint of two shards, of which one is missing."""
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def _pickled(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def _outside(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))


_BREAKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (_drop("config.json"), "no config.json"),
    "garbled config": (_write("config.json", b"{"), "cannot be read as JSON"),
    "config with NaN": (_write("config.json", b'{"eps": NaN}'), "NaN is not a finite number"),
    "config is a list": (_write("config.json", b"[]"), "not a JSON object"),
    "no tokenizer": (_drop("tokenizer.json"), "no tokenizer.json"),
    "no image processor": (
        _drop("preprocessor_config.json", "processor_config.json"),
        "no preprocessor_config.json",
    ),
    "no weights": (_drop("model.safetensors"), "no weights"),
    "missing shard": (_shard, "lacks 1 of 2 shards: model-00002-of-00002.safetensors"),
    "pickled weights": (_pickled, "can run code"),
    "shard outside": (_outside, "outside its directory"),
    "truncated weights": (_truncate, "corrupted"),
    "LFS pointer": (
        _write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        "not a complete safetensors file",
    ),
    "empty weights": (_write("model.safetensors", b""), "not a complete"),
    "garbled header": (_garbled_header, "corrupted header"),
    "foreign": (lambda path: _set_config(path, model_type="llama", architectures=["LlamaForCausalLM"]), "'llama'"),
    "no model type": (lambda path: _set_config(path, model_type=None, architectures=None), "unsupported architecture"),
    "no settings of BAGEL": (
        lambda path: _set_config(path, model_type="bagel", text_config=None),
        "without llm_config.json",
    ),
    "half of BAGEL's settings": (_write("llm_config.json", b"{}"), "without vit_config.json"),
}


@pytest.mark.parametrize("name", _BREAKS)
def test_a_broken_directory_is_rejected_with_the_reason(name: str, broken: Path) -> None:
    """The check runs before anything is loaded."""
    break_it, message = _BREAKS[name]
    break_it(broken)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(broken)


def test_an_unsupported_architecture_lists_the_supported_ones(broken: Path) -> None:
    """The message tells the reader what to get instead."""
    _BREAKS["foreign"][0](broken)
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(broken)
    assert all(model_type in str(caught.value) for model_type in SUPPORTED)


def test_a_missing_directory_names_the_command_that_creates_one(tmp_path: Path) -> None:
    """A file in place of the directory is rejected too."""
    with pytest.raises(CheckpointError, match="si-embodied models tiny"):
        inspect_checkpoint(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        inspect_checkpoint(tmp_path / "file")


def test_a_complete_directory_passes(checkpoints: dict[str, Path], family_name: str) -> None:
    """For every family."""
    files = inspect_checkpoint(checkpoints[family_name])
    assert files.model_type == family_name
    assert files.size_bytes == (checkpoints[family_name] / "model.safetensors").stat().st_size


def test_sharded_weights_load(broken: Path) -> None:
    """Written by transformers in shards of at most 400 kB."""
    model = load_checkpoint(broken, device="cpu").model
    (broken / "model.safetensors").unlink()
    model.save_pretrained(broken, max_shard_size="400KB")
    assert len(inspect_checkpoint(broken).weights) > 1
    assert load_checkpoint(broken, device="cpu").model.num_parameters() == model.num_parameters()


def test_weights_of_another_size_are_rejected(broken: Path) -> None:
    """The shapes in config.json and in the weights differ."""
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 96
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"mismatched|size"):
        load_checkpoint(broken, device="cpu")


@pytest.mark.parametrize(("layers", "kind"), [(3, "missing keys"), (1, "unexpected keys")])
def test_missing_or_unexpected_weights_are_rejected(layers: int, kind: str, broken: Path) -> None:
    """Gaps are never filled with random numbers, and no weight is silently dropped."""
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = layers
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=kind):
        load_checkpoint(broken, device="cpu")


def test_a_corrupted_tokenizer_is_rejected(broken: Path) -> None:
    """Whatever exception the tokenizers library raises."""
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="could not be loaded"):
        load_checkpoint(broken, device="cpu")


@pytest.mark.parametrize("shift", ["more tokens", "another image token"])
def test_another_models_tokenizer_is_rejected(shift: str, broken: Path) -> None:
    """It would give the model numbers that mean something else, or that it has no row for."""
    if shift == "more tokens":
        tokenizer = json.loads((broken / "tokenizer.json").read_text())
        last = max(token["id"] for token in tokenizer["added_tokens"])
        like = tokenizer["added_tokens"][-1]
        tokenizer["added_tokens"] += [{**like, "id": last + n, "content": f"<{n}>"} for n in range(1, 100)]
        (broken / "tokenizer.json").write_text(json.dumps(tokenizer))
    else:
        config = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, "image_token_id": 5}))
    with pytest.raises(CheckpointError, match="use the tokenizer.json and config.json of the weights' checkpoint"):
        load_checkpoint(broken, device="cpu")


def test_code_in_a_checkpoint_is_never_run(broken: Path) -> None:
    """`auto_map` is ignored: the module it names would leave a file behind."""
    (broken / "evil.py").write_text(f"open({str(broken / 'ran')!r}, 'w')\nclass Config: ...\n")
    _set_config(broken, auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    load_checkpoint(broken, device="cpu")
    assert not (broken / "ran").exists()


@pytest.mark.parametrize(("device", "dtype"), [("toaster", "auto"), ("cuda:99", "auto"), ("cpu", "int3")])
def test_an_unavailable_device_or_dtype_is_rejected(device: str, dtype: str, checkpoints: dict[str, Path]) -> None:
    """The model never falls back to another device silently."""
    with pytest.raises(ConfigError, match=r"got|no device"):
        load_checkpoint(checkpoints["qwen3_vl"], device=device, dtype=dtype)


def test_the_cpu_runs_in_float32(checkpoints: dict[str, Path], family_name: str) -> None:
    """bfloat16 would be 50 times slower; the attention kernel is reported."""
    loaded = load_checkpoint(checkpoints[family_name], device="cpu")
    assert (loaded.device, loaded.dtype, loaded.kernel) == ("cpu", "float32", "sdpa")
    assert {str(parameter.dtype) for parameter in loaded.model.parameters()} == {"torch.float32"}


def test_checking_a_directory_needs_no_torch(checkpoints: dict[str, Path]) -> None:
    """`doctor` checks it on machines without the extra."""
    code = (
        "import sys\nfrom si_embodied.models import inspect_checkpoint\n"
        f"inspect_checkpoint({str(checkpoints['qwen3_vl'])!r})\n"
        "assert not {'torch', 'transformers', 'llguidance'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_released_qwen25_checkpoints_have_a_flat_configuration(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Language model keys at the top level, `rope_scaling` of type mrope, and the old names of the pixel limits."""
    directory = Path(shutil.copytree(checkpoints["qwen2_5_vl"], tmp_path / "model"))
    config = json.loads((directory / "config.json").read_text())
    text = config.pop("text_config")
    sections = text.pop("rope_parameters")["mrope_section"]
    flat = {key: value for key, value in text.items() if key not in ("model_type", "layer_types")}
    scaling = {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": sections}}
    (directory / "config.json").write_text(json.dumps({**flat, **config, **scaling}))
    processor = json.loads((directory / "preprocessor_config.json").read_text())
    del processor["size"]
    processor |= {"min_pixels": 3136, "max_pixels": 78400, "image_processor_type": "Qwen2VLImageProcessorFast"}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    ours, plain = load_checkpoint(directory, device="cpu"), load_checkpoint(checkpoints["qwen2_5_vl"], device="cpu")
    assert ours.model.config.text_config.rope_parameters["mrope_section"] == sections
    weights = plain.model.state_dict()
    assert all(bool((value == weights[name]).all()) for name, value in ours.model.state_dict().items())
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    prompt = Prompt("test/v1", "", (image,), {"type": "boolean"})
    np.testing.assert_array_equal(
        ours.family.encode(prompt).pixels["pixel_values"], plain.family.encode(prompt).pixels["pixel_values"]
    )
