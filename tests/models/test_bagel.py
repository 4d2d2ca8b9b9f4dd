"""BAGEL's understanding branch equals a reference written from its description.

The reference is tests/checkpoints/original_bagel.py.
"""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from si_embodied.errors import CheckpointError, ConfigError
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.constraint import Grammars
from si_embodied.models.footprint import STORED_BITS
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.types import Prompt

pytest.importorskip("transformers")

import torch

from si_embodied.models import loading, original
from si_embodied.models.bagel.config import RESIZES, convert_config, convert_keys
from si_embodied.models.bagel.images import BagelImageProcessor, resized
from si_embodied.models.loading import Checkpoint, load_checkpoint
from si_embodied.models.portable import convert_checkpoint
from si_embodied.models.torch_runner import TorchRunner

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS = 1e-5  # the largest difference; the logits' standard deviation is about 1
SIZES = ((61, 97), (33, 150), (200, 75))  # height and width, pixels


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module tests/checkpoints/original_bagel.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "checkpoints"))
    return importlib.import_module("original_bagel")


@pytest.fixture(scope="module")
def checkpoint(original_bagel: Path) -> Checkpoint:
    return load_checkpoint(original_bagel, device="cpu")


@pytest.fixture
def broken(original_bagel: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be broken."""
    return Path(shutil.copytree(original_bagel, tmp_path / "model"))


def _images(seed: int, count: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES[:count]]


def _episode() -> list[tuple[Any, ...]]:
    """One to three images: the last one changes, the text between them changes, one is added, nothing changes."""
    (a, b, c), (d, *_) = _images(0), _images(1, 1)
    return [
        ("Find the red chair. ", a, "So far: nothing."),
        ("Find the red chair. ", d, "So far: nothing."),
        ("Find the red chair. ", d, b, "So far: nothing."),
        ("Find the red chair. ", d, b, c, "So far: one look."),
        ("Find the red chair. ", d, b, c, "So far: one look."),
        (a, "Where is it?"),
    ]


def _prompt(*content: Any) -> Prompt:
    count = sum(not isinstance(part, str) for part in content)
    return Prompt("test/v1", "You plan.", content, plan_schema("navigation", count) if count else {})


def _read(runner: TorchRunner, checkpoint: Checkpoint, content: tuple[Any, ...]) -> tuple[NDArray[np.float32], int]:
    """The logits of an answer's first token, and how many tokens were reused."""
    inputs = checkpoint.family.encode(_prompt(*content))
    reused = runner.prefill(inputs, runner.encode_images(inputs), [])
    return runner.logits(np.ones(checkpoint.vocabulary_size, dtype=np.bool_)), reused


@pytest.mark.parametrize("reuse", [True, False])
def test_logits_equal_the_reference(reuse: bool, checkpoint: Checkpoint, original_bagel: Path, maker: Any) -> None:
    runner = TorchRunner(checkpoint.model)
    for number, content in enumerate([*_episode(), ("Where is it?",)]):
        if not reuse:
            runner.forget()
        logits, reused = _read(runner, checkpoint, content)
        expected = maker.Reference(original_bagel).read("You plan.", *content).numpy()
        assert expected.std() > 0.5
        np.testing.assert_allclose(logits, expected, rtol=0, atol=LOGITS)
        assert (reused > 0) == (reuse and number > 0)


@pytest.mark.parametrize("reuse", [True, False])
def test_greedy_tokens_equal_the_reference(
    reuse: bool, checkpoint: Checkpoint, original_bagel: Path, maker: Any
) -> None:
    runner = TorchRunner(checkpoint.model)
    for content in _episode():
        if not reuse:
            runner.forget()
        reference = maker.Reference(original_bagel)
        logits, _ = _read(runner, checkpoint, content)
        expected = reference.read("You plan.", *content)
        for _ in range(24):
            token = int(expected.argmax())
            assert int(logits.argmax()) == token
            runner.step([token])
            logits = runner.logits(np.ones(checkpoint.vocabulary_size, dtype=np.bool_))
            expected = reference.tokens([token])
            np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=LOGITS)


def _longer_episode(count: int) -> list[tuple[Any, ...]]:
    """Prompts with one to three images of odd sizes; the first image often stays, and with it its key/values."""
    rng, first, prompts = np.random.default_rng(7), _images(0, 1), []
    for number in range(count):
        if rng.random() < 0.3:
            first = [rng.integers(0, 256, (*rng.integers(20, 120, 2), 3), dtype=np.uint8)]
        others = [
            rng.integers(0, 256, (*rng.integers(20, 120, 2), 3), dtype=np.uint8) for _ in range(rng.integers(0, 3))
        ]
        prompts.append(("Find the red chair. ", *first, *others, f"So far: {number // 4} looks."))
    return prompts


@pytest.mark.parametrize("count", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_plans_equal_the_references_under_the_same_grammar(count: int, original_bagel: Path, maker: Any) -> None:
    """The whole backend, with reuse, forced tokens and drafts, and one token at a time."""
    from si_embodied.backends import LocalBackend

    backend = LocalBackend(original_bagel, device="cpu")
    checkpoint = load_checkpoint(original_bagel, device="cpu")
    grammars = Grammars(
        checkpoint.tokenizer_json,
        vocabulary_size=checkpoint.vocabulary_size,
        end_token=checkpoint.family.end_token,
    )
    for content in (*_episode(), *_longer_episode(count)):
        prompt = _prompt(*content)
        reference, constraint = maker.Reference(original_bagel), grammars.start(prompt.schema)
        logits, tokens = reference.read("You plan.", *content), list[int]()
        while not constraint.finished:
            allowed = np.flatnonzero(constraint.allowed())
            tokens.append(int(allowed[int(logits[torch.from_numpy(allowed)].argmax())]))
            constraint.accept(tokens[-1:])
            logits = reference.tokens(tokens[-1:])
        answer = backend.generate(prompt, deadline_s=60.0)
        assert answer.text == grammars.text(tuple(tokens))
        parse_plan(answer.text, "navigation", len(prompt.images))


def test_a_changed_image_drops_its_whole_block(checkpoint: Checkpoint) -> None:
    """Its start marker too, because it attends to the image; what is before it stays."""
    episode = _episode()
    runner = TorchRunner(checkpoint.model)
    _read(runner, checkpoint, episode[0])
    _, reused = _read(runner, checkpoint, episode[1])
    inputs = checkpoint.family.encode(_prompt(*episode[1]))
    assert reused == int(np.flatnonzero(inputs.is_image)[0]) - 1
    _, reused = _read(runner, checkpoint, episode[2])
    assert reused == int(np.flatnonzero(inputs.is_image)[-1]) + 2  # with its end marker


def test_the_comparison_detects_any_wrong_weight(original_bagel: Path, maker: Any) -> None:
    """Halving any single tensor moves the logits by more than the tolerance.

    Except the biases of the vision tower's keys: they add the same number to all scores of a patch, which softmax
    removes.
    """
    image = _images(0, 1)[0]
    expected = maker.Reference(original_bagel).read("look", image, "go")
    for name in maker.understanding_shapes():
        inert = name.startswith("vit_model") and name.endswith("k_proj.bias")
        moved = maker.Reference(original_bagel, halved=name).read("look", image, "go") - expected
        assert (float(moved.abs().max()) > LOGITS) != inert, name


def test_a_prompt_is_turns_and_images(checkpoint: Checkpoint, maker: Any) -> None:
    """Without roles and line breaks; neighbouring texts are one turn, and no text is no turn."""
    from tokenizers import Tokenizer

    images, tokenizer = _images(0), Tokenizer.from_str(checkpoint.tokenizer_json)
    patches = ["<|image_pad|>" * len(maker.preprocess(image)[0]) for image in images]
    shown = [f"<|vision_start|>{each}<|vision_end|>" for each in patches]
    system, start = "<|im_start|>You plan.<|im_end|>", "<|im_start|>"
    for content, text in (
        (("go",), "<|im_start|>go<|im_end|>"),
        ((images[0],), shown[0]),
        (
            (images[0], images[1], "a", images[2], "b ", "", "c"),
            f"{shown[0]}{shown[1]}<|im_start|>a<|im_end|>{shown[2]}<|im_start|>b c<|im_end|>",
        ),
    ):
        inputs = checkpoint.family.encode(_prompt(*content))
        assert inputs.input_ids.tolist() == tokenizer.encode(system + text + start).ids
    follow_up = "<|im_start|>And now?<|im_end|><|im_start|>"
    assert checkpoint.family.encode_follow_up("And now?").tolist() == tokenizer.encode(follow_up).ids


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "final"),
    [
        ((640, 480), (686, 518)),  # 640 x 512 (480 rounded up to the least 512: 683 x 512, so 688 x 512), then of 14
        ((1920, 1080), (980, 546)),  # 1024 x 576
        ((224, 224), (518, 518)),  # enlarged to 512 x 512
        ((1024, 1024), (980, 980)),
    ],
)
def test_the_released_sizes(size: tuple[int, int], final: tuple[int, int]) -> None:
    """First at most 1024, at least 512 and a multiple of 16; then 980, 224 and 14. By hand."""
    for resize in RESIZES:
        size = resized(size, resize)
    assert size == final


def test_a_camera_image_takes_1815_tokens() -> None:
    """640 x 480: 49 x 37 patches and two markers."""
    patches, positions, size = BagelImageProcessor(tuple(RESIZES), 14, 70)(np.zeros((480, 640, 3), np.uint8))
    assert (size, patches.shape, len(positions) + 2) == ((686, 518), (49 * 37, 588), 1815)
    assert positions[:49].tolist() == list(range(49))
    assert positions[49] == 70
    assert int(positions[-1]) == 36 * 70 + 48


def test_a_very_large_image_is_limited_in_area() -> None:
    """100 x 1000 would become 512 x 5120; 1.8 million pixels at most, and then 1024 at most on the longer side."""
    width, height = resized((100, 1000), RESIZES[0])
    assert (width % 16, height % 16) == (0, 0)
    assert height <= 1024
    assert width * height <= 14 * 14 * 9 * 1024


def test_pixels_equal_the_reference(checkpoint: Checkpoint, maker: Any) -> None:
    for image in _images(2):
        patches, rows, columns = maker.preprocess(image)
        encoded = checkpoint.family.encode_images([image])[0]
        np.testing.assert_allclose(encoded.pixels["pixel_values"], patches.numpy(), rtol=0, atol=1e-6)
        assert encoded.size_px == (columns * 14, rows * 14)


def test_an_image_that_exceeds_the_table_is_rejected() -> None:
    with pytest.raises(ValueError, match="grid of 30"):
        BagelImageProcessor(tuple(RESIZES), 14, 30)(np.zeros((480, 640, 3), np.uint8))


# --- points ---------------------------------------------------------------------------------------------------------


def test_points_are_relative_by_default_and_pixels_if_the_checkpoint_says_so(maker: Any, tmp_path: Path) -> None:
    """A 140 x 70 view (of an image twice as wide as high): half of its width is 500, or 70 pixels."""
    image = np.zeros((100, 200, 3), np.uint8)

    def plan(x: int, y: int) -> str:
        return f'{{"subgoals":[{{"skill":"goto","object":"chair","view":0,"point":[{x},{y}]}}],"done":false}}'

    prompt = _prompt(image, "go")
    for convention, own in ((None, (500, 500)), ("relative", (500, 500)), ("pixels", (70, 35))):
        config = {} if convention is None else {"point_convention": convention}
        family = load_checkpoint(maker.make_original(tmp_path / str(convention), config=config), device="cpu").family
        inputs = family.encode(prompt)
        assert inputs.image_sizes_px == ((140, 70),)
        assert family.answer(plan(*own), prompt, inputs) == plan(500, 500)
        assert family.own_answer(plan(500, 500), "plan", inputs.image_sizes_px) == plan(*own)
        region = family.read_region(json.dumps([{"point_2d": own}]), image)
        assert region.point == (500, 500)


def test_an_unknown_point_convention_is_rejected(maker: Any, tmp_path: Path) -> None:
    directory = maker.make_original(tmp_path / "model", config={"point_convention": "metres"})
    with pytest.raises(CheckpointError, match="relative, pixels, got: 'metres'"):
        load_checkpoint(directory, device="cpu")


# --- loading --------------------------------------------------------------------------------------------------------


class _Recorder:
    """Wraps `safe_open`, and keeps the names of the tensors that are read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from safetensors import safe_open

        opened, read = safe_open(*arguments, **keywords), self.read

        class Opened:
            def __enter__(self) -> Any:
                opened.__enter__()
                return self

            def __exit__(self, *error: object) -> None:
                opened.__exit__(*error)

            def keys(self) -> list[str]:
                return list(opened.keys())

            def get_tensor(self, name: str) -> Any:
                read.add(name)
                return opened.get_tensor(name)

        return Opened()


@pytest.mark.parametrize("name", ["ema.safetensors", "model.safetensors"])
def test_generation_weights_are_not_read(
    name: str, maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are; neither they nor the autoencoder are needed. Under both names of the file."""
    recorder = _Recorder()
    monkeypatch.setattr(original, "safe_open", recorder)
    model = load_checkpoint(maker.make_original(tmp_path / "model", weights=name), device="cpu").model
    assert recorder.read == set(maker.understanding_shapes())
    stored = sum(int(np.prod(shape)) for shape in maker.understanding_shapes().values())
    assert sum(parameter.numel() for parameter in model.parameters()) == stored
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_generation_weights_take_no_memory(original_bagel: Path, maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check before loading counts the understanding branch alone."""
    asked = list[int]()
    monkeypatch.setattr(loading, "check_fits", lambda _name, needed, *_: asked.append(needed))
    load_checkpoint(original_bagel, device="cpu")
    numbers = sum(int(np.prod(shape)) for shape in maker.understanding_shapes().values())
    assert asked == [numbers * STORED_BITS["F32"] // 8]


def test_flash_attention_is_not_used(original_bagel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no mask, so an image would be read causally."""
    with_flash = loading.Placement(torch.device("cpu"), "float32", "full", "flash_attention_2")
    monkeypatch.setattr(loading, "place", lambda *_: with_flash)
    loaded = load_checkpoint(original_bagel)
    assert loaded.kernel == loaded.model.config.text_config._attn_implementation == "sdpa"


def test_a_config_is_not_needed(broken: Path) -> None:
    """The original code does not read it. Images are then resized as for the released checkpoints."""
    (broken / "config.json").unlink()
    assert inspect_checkpoint(broken).original
    assert load_checkpoint(broken, device="cpu").family.image_processor.resizes == tuple(RESIZES)


def test_a_missing_or_unknown_weight_is_named(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "ema.safetensors")
    fewer = {name: value for name, value in weights.items() if name != "connector.fc1.bias"}
    for changed, said in (
        (fewer, r"1 missing keys: model\.connector\.fc1\.bias"),
        (weights | {"connector.fc3.bias": torch.zeros(3)}, "unexpected weight 'connector.fc3.bias'"),
    ):
        save_file(changed, broken / "ema.safetensors")
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint(broken, device="cpu")


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("llm_config.json", "hidden_act", "gelu", "expected hidden_act 'silu', got: 'gelu'"),
        ("llm_config.json", "use_sliding_window", True, "use_sliding_window False"),
        ("llm_config.json", "vocab_size", None, "llm_config.json lacks vocab_size"),
        ("vit_config.json", "hidden_size", None, "vit_config.json lacks hidden_size"),
    ],
)
def test_another_network_is_rejected(file: str, key: str, value: Any, said: str, broken: Path) -> None:
    settings = json.loads((broken / file).read_text())
    (broken / file).write_text(json.dumps({**settings, key: value}))
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(broken, device="cpu")


def test_the_file_has_one_vision_layer_more_than_the_network() -> None:
    """As in the released checkpoints: 27 in the file, 26 in the network."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 27, "num_attention_heads": 2}
    assert convert_config({}, {**sizes, "vocab_size": 9}, sizes)["vision_config"]["num_hidden_layers"] == 26


def test_every_generation_weight_is_known(maker: Any) -> None:
    assert [name for name in maker.generation_shapes() if convert_keys(name)] == []


def test_the_converted_checkpoint_equals_the_original(
    original_bagel: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Tokens, pixels and weights, bit for bit; and it has no weight for generation."""
    out = convert_checkpoint(original_bagel, tmp_path / "converted")
    assert not inspect_checkpoint(out).original
    converted = load_checkpoint(out, device="cpu")
    for content in _episode()[:4]:
        one, other = (each.family.encode(_prompt(*content)) for each in (checkpoint, converted))
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert all((one.pixels[name] == other.pixels[name]).all() for name in one.pixels)
    mine, theirs = checkpoint.model.state_dict(), converted.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(bool((mine[name] == theirs[name]).all()) for name in mine)


def test_the_original_is_converted_before_it_is_tuned(original_bagel: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from si_embodied.training.lora import tune

    with pytest.raises(ConfigError, match="models convert"):
        tune(original_bagel, [], tmp_path / "run")
