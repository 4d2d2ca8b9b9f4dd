"""Exported models on ONNX Runtime, compared with torch on the same checkpoints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnxruntime

from si_embodied.errors import BackendError, CheckpointError, ConfigError
from si_embodied.models.onnx.export import export_model
from si_embodied.models.onnx.manifest import FILE, read_manifest
from si_embodied.models.onnx.quantize import quantize_export
from si_embodied.models.onnx.runner import OnnxRunner
from si_embodied.models.onnx.sessions import choose_providers, input_shapes, open_session
from si_embodied.models.opening import open_model
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOGITS = 1e-4  # the largest difference in fp32


@pytest.fixture(scope="session")
def export(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """An export of a family in a precision, created on first use because tracing takes seconds."""
    made: dict[tuple[str, str], Path] = {}
    root = tmp_path_factory.mktemp("exports")

    def get(family: str, precision: str = "fp32") -> Path:
        if (family, precision) not in made:
            out = root / f"{family}-{precision}"
            if precision in ("int8", "int4"):
                made[family, precision] = quantize_export(get(family), out, precision)  # type: ignore[arg-type]
            else:
                made[family, precision] = export_model(checkpoints[family], out, precision=precision)  # type: ignore[arg-type]
        return made[family, precision]

    return get


FAMILIES = [
    "qwen3_vl",
    pytest.param("qwen2_5_vl", marks=pytest.mark.slow),
    pytest.param("internvl", marks=pytest.mark.slow),
    "bagel",
]


def _images(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    return [rng.integers(0, 256, (*rng.integers(40, 200, 2), 3), dtype=np.uint8) for _ in range(count)]


def _prompt(*images: np.ndarray, text: str = "find the red chair") -> Prompt:
    """A request for a plan; without images, a prompt that is only prefilled."""
    schema = plan_schema("navigation", len(images)) if images else {}
    return Prompt("test/v1", "You plan.", (text, *images), schema)


def _both(family: str, checkpoints: dict[str, Path], export: Callable[..., Path]) -> tuple[Any, Any]:
    return open_model(checkpoints[family], device="cpu"), open_model(export(family), device="cpu")


def _take(model: Any, prompt: Prompt, forced: tuple[int, ...] = ()) -> int:
    inputs = model.family.encode(prompt)
    return int(model.runner.prefill(inputs, model.runner.encode_images(inputs), forced))


def _all(model: Any, after: int = -1) -> np.ndarray:
    return np.asarray(model.runner.logits(np.ones(model.vocabulary_size, dtype=np.bool_), after))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_torch(family: str, checkpoints: dict[str, Path], export: Callable[..., Path]) -> None:
    """With and without images; after the prompt, forced tokens, several tokens at once, and a trim."""
    rng = np.random.default_rng(0)
    models = _both(family, checkpoints, export)
    for count in (0, 1, 2, 3):
        prompt = _prompt(*_images(rng, count))
        for model in models:
            model.runner.forget()
            _take(model, prompt, (5, 6, 7))
        for after in (-1, -2, -4):
            np.testing.assert_allclose(_all(models[1], after), _all(models[0], after), atol=LOGITS)
        for model in models:
            model.runner.trim(1)
            model.runner.step([9, 10, 11])
            model.runner.trim(2)
            model.runner.step([12])
        np.testing.assert_allclose(_all(models[1]), _all(models[0]), atol=LOGITS)


def test_a_dynamic_rope_is_exported(original_internvl: Path, tmp_path: Path) -> None:
    """The released InternVL3 checkpoints have it; up to the trained length, it changes nothing."""
    written = json.loads((original_internvl / "config.json").read_text())
    assert written["llm_config"]["rope_scaling"]["type"] == "dynamic"
    exported = export_model(original_internvl, tmp_path / "export")
    models = [open_model(path, device="cpu") for path in (original_internvl, exported)]
    for count in (0, 2):
        prompt = _prompt(*_images(np.random.default_rng(0), count))
        for model in models:
            _take(model, prompt)
        np.testing.assert_allclose(_all(models[1]), _all(models[0]), atol=LOGITS)


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_torch(
    family: str,
    count: int,
    checkpoints: dict[str, Path],
    export: Callable[..., Path],
    draw_prompt: Callable[..., Prompt],
) -> None:
    from si_embodied.backends import LocalBackend

    torch_backend = LocalBackend(checkpoints[family], device="cpu")
    onnx_backend = LocalBackend(export(family), device="cpu")
    rng = np.random.default_rng(3)
    for _ in range(count):
        prompt = draw_prompt(rng)
        texts = [backend.generate(prompt, deadline_s=60.0).text for backend in (torch_backend, onnx_backend)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_and_answers_equal_torch(
    family: str, checkpoints: dict[str, Path], export: Callable[..., Path], draw_prompt: Callable[..., Prompt]
) -> None:
    from si_embodied.backends import LocalBackend

    both = [LocalBackend(path, device="cpu", thinking_tokens=12) for path in (checkpoints[family], export(family))]
    rng = np.random.default_rng(5)
    for _ in range(4):
        prompt = draw_prompt(rng, side=100)
        ours, torchs = (backend.generate(prompt, deadline_s=60.0) for backend in both)
        assert (ours.thought, ours.text) == (torchs.thought, torchs.text)


@pytest.mark.slow
def test_the_shipped_planner_answers_as_in_torch(tmp_path: Path, draw_prompt: Callable[..., Prompt]) -> None:
    """Its model has no DeepStack, and it comes with a planner.yaml."""
    from si_embodied.backends import LocalBackend
    from si_embodied.models.checkpoints import shipped_checkpoint

    out = export_model(shipped_checkpoint(), tmp_path / "export")
    assert (out / "planner.yaml").read_bytes() == (shipped_checkpoint() / "planner.yaml").read_bytes()
    torch_backend, onnx_backend = LocalBackend(shipped_checkpoint(), device="cpu"), LocalBackend(out, device="cpu")
    rng = np.random.default_rng(4)
    for _ in range(8):
        prompt = draw_prompt(rng, max_images=1)
        assert (
            onnx_backend.generate(prompt, deadline_s=60.0).text == torch_backend.generate(prompt, deadline_s=60.0).text
        )


@pytest.mark.parametrize(("family", "markers"), [("qwen3_vl", 1), ("bagel", 0)])
def test_a_shared_prefix_is_reused(
    family: str, markers: int, checkpoints: dict[str, Path], export: Callable[..., Path]
) -> None:
    """Including an unchanged image; the answer is the same as without reuse.

    The token before a changed image stays too, but not BAGEL's, which attends to the image.
    """
    rng = np.random.default_rng(1)
    stays, first, second = _images(rng, 3)
    used, fresh = (open_model(export(family), device="cpu") for _ in range(2))
    _take(used, _prompt(stays, first), (5, 6))
    new = _prompt(stays, second)
    kept = _take(used, new)
    is_image = used.family.encode(new).is_image
    last_image = int(np.flatnonzero(np.diff(is_image.astype(int)) == 1)[1]) + 1
    assert kept == last_image - 1 + markers
    assert _take(fresh, new) == 0
    np.testing.assert_allclose(_all(used), _all(fresh), atol=LOGITS)


def test_logits_of_few_tokens_equal_those_of_all(export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows gathered in numpy, compared with the graph of the whole output layer."""
    model = open_model(export("qwen3_vl"), device="cpu")
    _take(model, _prompt())
    allowed = np.random.default_rng(0).random(model.vocabulary_size) < 0.1
    few = model.runner.logits(allowed)
    monkeypatch.setattr("si_embodied.models.onnx.runner._FEW_ROWS", 0)
    np.testing.assert_allclose(model.runner.logits(allowed), few, atol=1e-5)


def test_more_than_the_last_pass_cannot_be_trimmed(export: Callable[..., Path]) -> None:
    model = open_model(export("qwen3_vl"), device="cpu")
    _take(model, _prompt())
    model.runner.step([4])
    with pytest.raises(BackendError, match="cannot trim 2 tokens"):
        model.runner.trim(2)


@pytest.mark.parametrize("precision", ["int8", "int4", pytest.param("fp16", marks=pytest.mark.slow)])
def test_lower_precisions_give_plans(precision: str, export: Callable[..., Path]) -> None:
    from si_embodied.backends import LocalBackend

    backend = LocalBackend(export("qwen3_vl", precision), device="cpu")
    (image,) = _images(np.random.default_rng(2), 1)
    text = backend.generate(_prompt(image), deadline_s=60.0).text
    parse_plan(text, "navigation", 1)
    assert backend.info.dtype == precision


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.03), ("int4", 0.4)])
def test_quantization_error_is_a_fraction_of_the_logits_spread(
    precision: str, share: float, export: Callable[..., Path]
) -> None:
    """Random weights are the worst case: 8 bits round by 1/254 of a block's largest weight, 4 bits by 1/14."""
    exact, rounded = (open_model(export("qwen3_vl", name), device="cpu") for name in ("fp32", precision))
    for model in (exact, rounded):
        _take(model, _prompt())
    assert np.std(_all(rounded) - _all(exact)) <= share * np.std(_all(exact))


@pytest.mark.parametrize("family", ["qwen3_vl", "bagel"])
def test_an_export_decodes_without_torch(family: str, export: Callable[..., Path]) -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from si_embodied.backends import LocalBackend
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt
image = np.full((80, 64, 3), 90, dtype=np.uint8)
prompt = Prompt("test/v1", "You plan.", ("find it", image), plan_schema("navigation", 1))
print(LocalBackend(sys.argv[1], device="cpu").generate(prompt, deadline_s=60.0).text)
"""
    done = subprocess.run([sys.executable, "-c", code, str(export(family))], capture_output=True, text=True, check=True)
    parse_plan(done.stdout.strip().splitlines()[-1], "navigation", 1)


def test_the_manifest_describes_the_export(export: Callable[..., Path]) -> None:
    manifest = read_manifest(export("qwen3_vl"))
    assert (manifest.family, manifest.precision, manifest.source) == ("qwen3_vl", "fp32", "qwen3_vl")
    assert (manifest.layers, manifest.vocabulary_size, manifest.deepstack_layers) == (2, 768, 1)
    assert "torch" in manifest.versions


def test_the_graphs_contain_no_local_paths(export: Callable[..., Path]) -> None:
    import transformers

    library = str(transformers.__file__).rsplit("/", maxsplit=2)[0].encode()
    assert not [file.name for file in export("qwen3_vl").glob("*.onnx") if library in file.read_bytes()]


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(export: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of an export, to be broken."""
    return shutil.copytree(export("qwen3_vl"), tmp_path / "export")


@pytest.mark.parametrize("name", ["decoder.onnx", "decoder.onnx.data", "embedding.npy", "tokenizer.json"])
def test_a_missing_or_truncated_file_is_named(name: str, broken: Path) -> None:
    file = broken / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=f"{name} has .* bytes"):
        OnnxRunner(broken, "cpu")
    file.unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        OnnxRunner(broken, "cpu")


def test_a_corrupted_graph_is_rejected(broken: Path) -> None:
    graph = broken / "decoder.onnx"
    graph.write_bytes(b"\x07" * graph.stat().st_size)
    with pytest.raises(CheckpointError, match=r"cannot open .*decoder\.onnx"):
        OnnxRunner(broken, "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"family": "llama"}, "got: 'llama'"),
        ({"surplus": 1}, "surplus"),
        ({"files": {"../weights": 3}}, "outside its directory"),
        ({"files": ["decoder.onnx"]}, "unexpected files"),
        ({"vision": {"patch": "14"}}, "unexpected vision"),
        ({"layers": "2"}, "unexpected layers"),
        ({"layers": True}, "unexpected layers"),
        ({"dtype": ["float32"]}, "unexpected dtype"),
    ],
)
def test_an_invalid_manifest_is_rejected(change: dict[str, Any], said: str, broken: Path) -> None:
    values = json.loads((broken / FILE).read_text())
    (broken / FILE).write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError, match=said):
        read_manifest(broken)


def test_a_missing_provider_is_an_error_that_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"no CUDAExecutionProvider: .*onnxruntime-gpu.*Jetson"):
        choose_providers("cuda,cpu")


def test_a_provider_that_does_not_start_is_an_error(
    export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built in, but its libraries are missing: onnxruntime alone would fall back to the CPU."""
    built_in = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_in)
    with pytest.raises((BackendError, CheckpointError), match="CUDAExecutionProvider"):
        OnnxRunner(export("qwen3_vl"), "cuda,cpu")


@pytest.mark.parametrize("asked", ["gpu", "cpu,cpu", "", "auto,cpu"])
def test_unknown_providers_are_rejected(asked: str) -> None:
    with pytest.raises(ConfigError, match="expected distinct execution providers from tensorrt, cuda, cpu"):
        choose_providers(asked)


@pytest.mark.parametrize("family", ["qwen3_vl", "bagel"])
def test_tensorrt_gets_the_shape_of_every_decoder_input(family: str, export: Callable[..., Path]) -> None:
    path = export(family)
    session = open_session(path / "decoder.onnx", ("cpu",))
    shapes = input_shapes("decoder.onnx", read_manifest(path), new=3, seen=7)
    assert set(shapes) == {entry.name for entry in session.get_inputs()}
    for entry in session.get_inputs():
        named = {"new": 3, "seen": 7}
        assert shapes[entry.name] == tuple(named.get(size, size) for size in entry.shape)


def test_an_export_is_not_overwritten(export: Callable[..., Path], checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="not an empty directory"):
        export_model(checkpoints["qwen3_vl"], export("qwen3_vl"))


def test_the_precision_of_an_export_is_fixed(export: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="precision of an export is fixed"):
        open_model(export("qwen3_vl"), dtype="float16")
