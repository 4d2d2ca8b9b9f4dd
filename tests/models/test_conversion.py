"""Converted original InternVL checkpoints equal a reference network written from the papers."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from si_embodied.errors import CheckpointError, ConfigError, RecordError
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.conversion import SYSTEM_MESSAGES, convert_config, convert_keys
from si_embodied.types import Prompt

pytest.importorskip("transformers")

from si_embodied.models.loading import load_checkpoint
from si_embodied.models.portable import convert_checkpoint, portable_tokenizer_config

VARIANTS = {
    "as released (8B, 2B)": {},
    "normalised queries and keys": {"qk_norm": True},
    "root-mean-square norms, no bias": {"rms": True, "qkv_bias": False},
}


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module tests/checkpoints/original_internvl.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "checkpoints"))
    return importlib.import_module("original_internvl")


@pytest.fixture
def broken(original_internvl: Path, tmp_path: Path) -> Path:
    """A copy of the original checkpoint, to be broken."""
    return Path(shutil.copytree(original_internvl, tmp_path / "model"))


def _prompt(*content: Any) -> Prompt:
    return Prompt("test/v1", "You plan.", content, {"type": "boolean"})


def _two_images() -> Prompt:
    rng = np.random.default_rng(0)
    wide, square = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((100, 180), (60, 60)))
    return _prompt("look ", wide, "and", square, " go to the red chair")


def _logits(checkpoint: Any, prompt: Prompt) -> Any:
    import torch

    inputs = checkpoint.family.encode(prompt)
    with torch.inference_mode():
        return checkpoint.model(
            input_ids=torch.from_numpy(inputs.input_ids)[None],
            pixel_values=torch.from_numpy(inputs.pixels["pixel_values"]),
        ).logits[0]


def _edit(directory: Path, name: str, **values: Any) -> None:
    content = json.loads((directory / name).read_text())
    (directory / name).write_text(json.dumps({**content, **values}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_the_reference_network(variant: str, maker: Any, tmp_path: Path) -> None:
    """Within 1e-5 where logits are about 1, for two images: 3 tiles with a thumbnail, and 1 tile."""
    directory = maker.make_original(tmp_path / "model", **VARIANTS[variant])
    checkpoint, prompt = load_checkpoint(directory, device="cpu"), _two_images()
    inputs = checkpoint.family.encode(prompt)
    expected = maker.reference_logits(directory, inputs.input_ids, inputs.is_image, inputs.pixels["pixel_values"])
    assert float(expected.std()) > 0.5
    np.testing.assert_allclose(_logits(checkpoint, prompt).numpy(), expected.numpy(), rtol=0, atol=1e-5)


def test_the_comparison_detects_any_wrong_weight(maker: Any, original_internvl: Path) -> None:
    """Halving any single tensor moves the logits by more than the tolerance."""
    from safetensors import safe_open

    inputs = load_checkpoint(original_internvl, device="cpu").family.encode(_two_images())
    arguments = original_internvl, inputs.input_ids, inputs.is_image, inputs.pixels["pixel_values"]
    expected = maker.reference_logits(*arguments)
    for file in sorted(original_internvl.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                moved = (maker.reference_logits(*arguments, halved=name) - expected).abs().max()
                assert float(moved) > 1e-5, name


def test_the_converted_checkpoint_equals_the_original(original_internvl: Path, tmp_path: Path) -> None:
    """The original and the output of `convert` give the same tokens, pixels and logits, bit for bit."""
    out = convert_checkpoint(original_internvl, tmp_path / "converted")
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1, "whoever may read one may read all"
    files = inspect_checkpoint(out)
    assert (files.model_type, files.original) == ("internvl", False)
    before, after = load_checkpoint(original_internvl, device="cpu"), load_checkpoint(out, device="cpu")
    prompt = _two_images()
    one, other = before.family.encode(prompt), after.family.encode(prompt)
    assert one.input_ids.tolist() == other.input_ids.tolist()
    np.testing.assert_array_equal(one.pixels["pixel_values"], other.pixels["pixel_values"])
    assert bool((_logits(before, prompt) == _logits(after, prompt)).all())


def test_transformers_alone_loads_the_converted_checkpoint(original_internvl: Path, tmp_path: Path) -> None:
    """With its Auto classes, all weights, and a chat template that has the original's system message."""
    import transformers

    out = convert_checkpoint(original_internvl, tmp_path / "converted")
    model, info = transformers.AutoModelForImageTextToText.from_pretrained(out, output_loading_info=True)
    assert type(model).__name__ == "InternVLForConditionalGeneration"
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hello"}]}
    rendered = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    expected = (
        f"<|im_start|>system\n{SYSTEM_MESSAGES['internvl2_5']}<|im_end|>\n"
        "<|im_start|>user\n<IMG_CONTEXT>\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert rendered == expected


def test_a_conversation_begins_with_the_templates_system_message(original_internvl: Path) -> None:
    """The prompt's own system text follows in the same message. Both are tokenized as plain text."""
    from transformers import Qwen2Tokenizer

    family = load_checkpoint(original_internvl, device="cpu").family
    tokenizer = Qwen2Tokenizer.from_pretrained(original_internvl)
    system = SYSTEM_MESSAGES["internvl2_5"]
    for own, message in (("You plan.", f"{system}\nYou plan."), ("", system)):
        text = f"<|im_start|>system\n{message}<|im_end|>\n<|im_start|>user\ngo<|im_end|>\n<|im_start|>assistant\n"
        ids = family.encode(Prompt("test/v1", own, ("go",), {"type": "boolean"})).input_ids
        assert ids.tolist() == tokenizer.encode(text)


def test_a_checkpoints_own_system_message_overrides_its_templates(original_internvl: Path) -> None:
    """As in the original code."""
    config = json.loads((original_internvl / "config.json").read_text())
    assert convert_config({**config, "system_message": "Ni hao."})["system_message"] == "Ni hao."
    assert convert_config({**config, "system_message": ""})["system_message"] == ""


def test_added_tokens_keep_their_ids(original_internvl: Path) -> None:
    """Those of added_tokens.json, in a tokenizer built from vocab.json and merges.txt."""
    from si_embodied.models.original import original_tokenizer

    tokenizer = original_tokenizer(original_internvl)
    added = json.loads((original_internvl / "added_tokens.json").read_text())
    assert tokenizer.convert_tokens_to_ids(list(added)) == list(added.values())
    assert load_checkpoint(original_internvl, device="cpu").model.config.image_token_id == added["<IMG_CONTEXT>"]


def test_a_token_with_another_id_is_rejected(broken: Path) -> None:
    """It would get another token's embedding."""
    _edit(broken, "added_tokens.json", **{"<IMG_CONTEXT>": 5})
    with pytest.raises(CheckpointError, match=r"<IMG_CONTEXT>.*says 5"):
        load_checkpoint(broken, device="cpu")


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_an_incomplete_tokenizer_is_rejected(name: str, broken: Path) -> None:
    """The message names both files."""
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match=r"vocab\.json and merges\.txt"):
        inspect_checkpoint(broken)


def test_the_original_image_processor_file_is_ignored(broken: Path) -> None:
    """Some checkpoints ship CLIP's, with another mean and crop than InternVL's code uses."""
    clip = {"image_processor_type": "CLIPFeatureExtractor", "image_mean": [0, 0, 0], "size": 224, "crop_size": 224}
    (broken / "preprocessor_config.json").write_text(json.dumps(clip))
    pixels = load_checkpoint(broken, device="cpu").family.encode(_prompt(np.zeros((9, 9, 3), np.uint8))).pixels
    np.testing.assert_allclose(
        pixels["pixel_values"][0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6
    )


def test_the_checkpoints_code_is_never_run(original_internvl: Path) -> None:
    """Running the Python file beside the weights would end the process."""
    assert "SystemExit" in (original_internvl / "modeling_internvl_chat.py").read_text()
    load_checkpoint(original_internvl, device="cpu")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("ps_version", "v1", "'v2'"),
        ("select_layer", -4, "-1"),
        ("template", "phi3-chat", "internvl2_5"),
        ("force_image_size", 224, "56"),
        ("use_thumbnail", False, "True"),
        ("llm_config", {"architectures": ["InternLM2ForCausalLM"]}, "'Qwen2ForCausalLM'"),
    ],
)
def test_a_config_of_another_network_is_rejected(setting: str, value: object, expected: str, broken: Path) -> None:
    """Before reading weights; the message names the setting, its value and the expected one."""
    _edit(broken, "config.json", **{setting: value})
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(broken)
    shown = value["architectures"][0] if isinstance(value, dict) else value
    assert all(part in str(caught.value) for part in (setting, repr(shown), expected, "server"))


def test_a_config_without_its_groups_is_rejected(broken: Path) -> None:
    """Such as a truncated file."""
    _edit(broken, "config.json", vision_config=None)
    with pytest.raises(CheckpointError, match="lacks vision_config"):
        inspect_checkpoint(broken)


def test_an_unknown_weight_is_named(broken: Path) -> None:
    """Such as an unmerged LoRA."""
    from safetensors.torch import load_file, save_file

    file = min(broken.glob("*.safetensors"))
    weights = load_file(file)
    save_file(weights | {"vision_model.lora.weight": weights[next(iter(weights))].clone()}, file)
    with pytest.raises(CheckpointError, match=r"unexpected weight 'vision_model\.lora\.weight'"):
        load_checkpoint(broken, device="cpu")


def test_a_missing_weight_is_named(broken: Path) -> None:
    """By its new name."""
    from safetensors.torch import load_file, save_file

    for file in broken.glob("*.safetensors"):
        save_file({key: value for key, value in load_file(file).items() if key != "mlp1.3.bias"}, file)
    with pytest.raises(CheckpointError, match=r"1 missing keys: model\.multi_modal_projector\.linear_2\.bias"):
        load_checkpoint(broken, device="cpu")


def test_an_extra_layer_is_named(broken: Path) -> None:
    """A third language model layer, where config.json says two."""
    from safetensors.torch import load_file, save_file

    file = min(broken.glob("*.safetensors"))
    extra = {"language_model.model.layers.2.mlp.up_proj.weight": load_file(file)[next(iter(load_file(file)))].clone()}
    save_file(load_file(file) | extra, file)
    with pytest.raises(CheckpointError, match=r"1 unexpected keys: model\.language_model\.layers\.2"):
        load_checkpoint(broken, device="cpu")


def test_a_fast_tokenizer_is_sufficient(original_internvl: Path, broken: Path) -> None:
    """A checkpoint may have tokenizer.json instead of vocab.json and merges.txt."""
    from si_embodied.models.original import original_tokenizer

    original_tokenizer(original_internvl).save_pretrained(broken)
    (broken / "vocab.json").unlink()
    (broken / "merges.txt").unlink()
    loaded, expected = load_checkpoint(broken, device="cpu"), load_checkpoint(original_internvl, device="cpu")
    ids = [checkpoint.family.encode(_two_images()).input_ids.tolist() for checkpoint in (loaded, expected)]
    assert ids[0] == ids[1]


def test_packed_attention_is_split_in_three() -> None:
    """In the order query, key, value."""
    assert convert_keys("vision_model.encoder.layers.7.attn.qkv.bias") == tuple(
        f"vision_tower.encoder.layer.7.attention.{part}_proj.bias" for part in ("q", "k", "v")
    )


def test_converting_does_not_overwrite_a_directory(original_internvl: Path, tmp_path: Path) -> None:
    """And a checkpoint that needs no conversion says so."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not an empty directory"):
        convert_checkpoint(original_internvl, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_a_record_error(original_internvl: Path, tmp_path: Path) -> None:
    """The partial output is removed, so that the same command can be repeated."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(RecordError, match="free some space"):
            convert_checkpoint(original_internvl, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_with_a_damaged_tokenizer_is_not_copied(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "broken")
    (broken / "tokenizer.json").write_text((broken / "tokenizer.json").read_text()[:500])
    with pytest.raises(CheckpointError, match="cannot be read.*download its JSON files again"):
        convert_checkpoint(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "internvl"])
def test_a_checkpoint_of_transformers_5_gets_the_settings_of_4_57(
    family: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """And stays the same model. Converted once, there is nothing to convert."""
    out = convert_checkpoint(checkpoints[family], tmp_path / "out")
    before, after = (json.loads((path / "config.json").read_text()) for path in (checkpoints[family], out))
    text = after["text_config"]
    assert text["rope_theta"] == before["text_config"]["rope_parameters"]["rope_theta"]
    assert "rope_parameters" not in text
    assert text["tie_word_embeddings"] == before["tie_word_embeddings"]
    assert load_checkpoint(out, device="cpu").model.config.get_text_config().rope_parameters.items() >= (
        before["text_config"]["rope_parameters"].items()
    )
    with pytest.raises(CheckpointError, match="nothing to convert"):
        convert_checkpoint(out, tmp_path / "again")


def test_a_processor_in_one_file_is_split(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """transformers 5 saves a processor in one file; 4.57 does not find its parts there."""
    whole = Path(shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "whole"))
    parts = {"image_processor": "preprocessor_config.json", "video_processor": "video_preprocessor_config.json"}
    nested = {key: json.loads((whole / name).read_text()) for key, name in parts.items()}
    for name in parts.values():
        (whole / name).unlink()
    _edit(whole, "processor_config.json", **nested)
    out = convert_checkpoint(whole, tmp_path / "out")
    assert {key: json.loads((out / name).read_text()) for key, name in parts.items()} == nested
    assert json.loads((out / "processor_config.json").read_text()) == {"processor_class": "Qwen3VLProcessor"}


def test_bagel_is_converted_from_its_original_format_only(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """No other program reads what this package writes of it."""
    with pytest.raises(CheckpointError, match="nothing to convert"):
        convert_checkpoint(checkpoints["bagel"], tmp_path / "out")


def test_a_plain_tokenizer_has_the_name_that_4_57_knows() -> None:
    """And no trace of how it was loaded; the list of special tokens is under its older name."""
    new = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<img>"]}
    assert portable_tokenizer_config(new, {"start_image_token": "<img>"}) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<img>"],
        "extra_special_tokens": {"start_image_token": "<img>"},
    }


def test_generation_ends_where_a_turn_ends(original_internvl: Path, tmp_path: Path) -> None:
    """The original names no end token in its settings; `generate` would write on."""
    out = convert_checkpoint(original_internvl, tmp_path / "converted")
    ids = json.loads((original_internvl / "added_tokens.json").read_text())
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == ids["<|im_end|>"]


def test_weights_have_the_names_of_the_released_checkpoints(original_internvl: Path, tmp_path: Path) -> None:
    """Under which vLLM and TensorRT-Edge-LLM look for them."""
    out = convert_checkpoint(original_internvl, tmp_path / "converted")
    names = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    parts = ("language_model.model.", "language_model.lm_head.", "vision_tower.", "multi_modal_projector.")
    assert {part for part in parts for name in names if name.startswith(part)} == set(parts)
    assert all(name.startswith(parts) for name in names)
