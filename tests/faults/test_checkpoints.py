"""Fault: a checkpoint that cannot be loaded. One sentence with the reason and the fix, before anything is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from si_embodied.errors import CheckpointError, ConfigError, ObservationError
from si_embodied.models.checkpoints import inspect_checkpoint, read_header, read_json
from si_embodied.models.hub import resolve_model
from si_embodied.types import Prompt

FEW = settings(max_examples=300, derandomize=True, deadline=None)
DEEP = b"[" * 100_000


@pytest.fixture
def model(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint, to be broken."""
    return Path(shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "model"))


def set_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **values}))


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: object) -> bytes:
    """The header of four bytes of float32."""
    return json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}).encode()


def _adapter(path: Path, *, alone: bool) -> None:
    set_json(path / "adapter_config.json", base_model_name_or_path="Qwen/base", peft_type="LORA")
    if alone:
        for name in ("config.json", "model.safetensors"):
            (path / name).unlink()


def _gguf(path: Path) -> None:
    (path / "model.safetensors").rename(path / "model-Q4_K_M.gguf")


def _quantized(method: str | None, **more: object) -> Callable[[Path], None]:
    named = {} if method is None else {"quant_method": method}
    return lambda path: set_json(path / "config.json", quantization_config={**named, **more})


def _config(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        (path / "config.json").write_bytes(data)

    return write


def _deep_index(path: Path) -> None:
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_bytes(DEEP)


def _adapter_without_weights(path: Path) -> None:
    _adapter(path, alone=False)
    (path / "model.safetensors").unlink()


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "deep config": (_config(DEEP), "cannot be read as JSON"),
    "binary config": (_config(b"\xff\xfe\x00"), "cannot be read as JSON"),
    "deep index": (_deep_index, "cannot be read as JSON"),
    "adapter alone": (lambda path: _adapter(path, alone=True), "LoRA adapter.*'Qwen/base'.*merge"),
    "adapter without weights": (_adapter_without_weights, "LoRA adapter.*merge"),
    "GGUF": (_gguf, "GGUF.*llama.cpp"),
    "HQQ": (_quantized("hqq"), "quantized with hqq.*vLLM"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_checkpoint_that_cannot_be_loaded_says_why_in_one_sentence(name: str, model: Path) -> None:
    break_it, words = BROKEN[name]
    break_it(model)
    with pytest.raises(CheckpointError, match=words) as error:
        inspect_checkpoint(model)
    assert "\n" not in str(error.value)


def test_a_gguf_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"GGUF.*llama\.cpp"):
        inspect_checkpoint(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    "text",
    [
        entry(shape=[float("inf")]), entry(shape=[float("nan")]), entry(data_offsets=[0, float("inf")]),
        entry(shape=[-1]), entry(shape=["1"]), entry(shape=[True]), entry(shape=[2]), entry(shape=[2**62, 2**62]),
        entry(shape=[10**400]), entry(shape=[1] * 100_000), entry(data_offsets=[4, 0]), entry(data_offsets=[0]),
        entry(data_offsets=4), entry(dtype=5), entry(dtype=["F32"]), b'{"a":5}', b"[]", b"5", b"null", b"\xff\xfe",
        DEEP, b'{"__metadata__":{}}', b'{"a":' * 5000,
    ],
)  # fmt: skip
def test_an_impossible_header_is_a_checkpoint_error(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(header(text, b"\0\0\0\0"))
    with pytest.raises(CheckpointError, match="corrupted"):
        read_header(file)


def test_a_good_header_is_read(tmp_path: Path) -> None:
    """What the cases above change."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(header(entry(), b"\0\0\0\0"))
    assert [(tensor.dtype, tensor.shape) for tensor in read_header(file).values()] == [("F32", (1,))]


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 100])
def test_an_absurd_header_length_takes_no_memory(length: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        read_header(file)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("F32")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4),
    ),
    max_leaves=10,
)


@given(data=st.one_of(VALUES.map(lambda value: header(json.dumps(value).encode())), st.binary(max_size=60)))
@FEW
def test_any_file_is_a_header_or_a_checkpoint_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    file.write_bytes(data)
    with suppress(CheckpointError):
        read_header(file)
    with suppress(CheckpointError):
        assert isinstance(read_json(file), dict)


CONFIG_KEYS = [
    "model_type", "architectures", "vision_config", "llm_config", "quantization_config", "template", "image_size",
    "patch_size", "downsample_ratio", "force_image_size", "qk_normalization", "layer_norm_eps", "quant_method",
]  # fmt: skip
SCALARS = st.one_of(st.integers(), st.floats(), st.text(max_size=4))
CONFIGS = st.dictionaries(
    st.sampled_from(CONFIG_KEYS),
    st.one_of(
        st.sampled_from(["internvl_chat", "qwen3_vl", "internvl2_5", "qwen2"]),
        st.floats(), st.none(), st.integers(), st.lists(st.none(), max_size=2),
        st.dictionaries(st.sampled_from(CONFIG_KEYS), SCALARS, max_size=5),
    ),
)  # fmt: skip


@given(config=CONFIGS)
@FEW
def test_any_config_is_accepted_or_a_checkpoint_error(
    config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "configured"
    path.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (path / name).write_text("{}")
    (path / "model.safetensors").write_bytes(header(entry(), b"\0\0\0\0"))
    (path / "config.json").write_text(json.dumps(config))
    with suppress(CheckpointError):
        inspect_checkpoint(path)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [("Infinity", "Infinity is not a finite number"), ("1e999", "1e999 is not a finite number"), ('"x"', "malformed")],
)
def test_an_original_config_without_a_sensible_ratio_is_a_checkpoint_error(
    tmp_path: Path, ratio: str, words: str
) -> None:
    vision = dict.fromkeys(
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "norm_type",
         "layer_norm_eps", "qkv_bias", "qk_normalization"], 0,
    )  # fmt: skip
    set_json(
        tmp_path / "config.json", model_type="internvl_chat", ps_version="v2", template="internvl2_5",
        vision_config={**vision, "image_size": 448, "patch_size": 14}, llm_config={"model_type": "qwen2"},
        downsample_ratio=float("inf"),
    )  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace("Infinity", ratio))
    with pytest.raises(CheckpointError, match=words):
        inspect_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "adapter_config.json"])
def test_an_unreadable_file_is_named_in_the_error(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the tests may run as root, who may read everything."""
    opened = Path.open
    if name == "adapter_config.json":
        _adapter(model, alone=True)

    def denied(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read \(Permission denied\).*chmod"):
        inspect_checkpoint(model)


@pytest.mark.parametrize("path", ["x" * 5000, "~no-such-user/model"])
def test_an_impossible_path_is_a_checkpoint_error(path: str) -> None:
    for read in (inspect_checkpoint, resolve_model):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(path)


# --- loading --------------------------------------------------------------------------------------------------------


def test_an_adapter_beside_the_weights_is_not_applied_and_a_warning_says_so(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers applies it unasked where peft is installed."""
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    from si_embodied.models.loading import load_checkpoint

    plain = load_checkpoint(model, device="cpu").model
    tuned = peft.get_peft_model(plain, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(model)
    assert (model / "adapter_config.json").is_file()
    copy = shutil.copytree(model, model.parent / "copy", ignore=shutil.ignore_patterns("adapter*"))
    before = load_checkpoint(copy, device="cpu").model.state_dict()
    with caplog.at_level("WARNING"):
        loaded = load_checkpoint(model, device="cpu").model
    assert "adapter beside the weights is not applied" in caplog.text
    weights = loaded.state_dict()
    assert weights.keys() == before.keys()
    assert all(torch.equal(value, weights[name]) for name, value in before.items())


def test_weights_that_are_quantized_already_are_not_quantized_again(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    import torch

    from si_embodied.models import loading

    set_json(model / "config.json", quantization_config={"quant_method": "fp8"})
    monkeypatch.setattr(loading, "place", lambda *_: loading.Placement(torch.device("cpu"), "bfloat16", "4bit", "sdpa"))
    with pytest.raises(ConfigError, match="quantized already"):
        loading.load_checkpoint(model, weights="4bit")


@pytest.mark.parametrize(
    "size", [{"height": 448, "width": 448}, {"shortest_edge": 3136}, {"shortest_edge": 9, "longest_edge": 4}]
)
def test_an_image_processor_without_its_limits_is_a_checkpoint_error(size: dict[str, int], model: Path) -> None:
    pytest.importorskip("transformers")
    from si_embodied.models.loading import load_checkpoint

    set_json(model / "preprocessor_config.json", size=size)
    with pytest.raises(CheckpointError, match=r"longest_edge.*preprocessor_config\.json"):
        load_checkpoint(model, device="cpu")


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_an_image_of_extreme_aspect_ratio_is_an_observation_error(family: str, checkpoints: dict[str, Path]) -> None:
    pytest.importorskip("transformers")
    from si_embodied.models.loading import load_checkpoint

    encode = load_checkpoint(checkpoints[family], device="cpu").family.encode
    with pytest.raises(ObservationError, match="3000x10"):
        encode(Prompt("v", "", (np.zeros((10, 3000, 3), np.uint8),), {"type": "boolean"}))


def test_a_corrupted_tokenizer_of_an_export_is_a_checkpoint_error() -> None:
    pytest.importorskip("transformers")
    from si_embodied.models.families import Qwen3VL

    with pytest.raises(CheckpointError, match="tokenizer.json is corrupted"):
        Qwen3VL("{}", None, None)
