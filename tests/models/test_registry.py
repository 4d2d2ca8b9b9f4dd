"""The released checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from si_embodied.models.checkpoints import SUPPORTED
from si_embodied.models.registry import (
    BAGEL_7B,
    INTERNVL3_2B,
    INTERNVL3_8B,
    QWEN3_VL_8B,
    QWEN25_VL_3B,
    QWEN25_VL_7B,
    RELEASES,
    Architecture,
    find_release,
)

QWEN25_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
QWEN25_1B5 = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
QWEN25_3B = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16}
INTERNVIT_300M = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "attention_bias": True}
QWEN3_8B = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
}  # fmt: skip
QWEN3_VISION = {
    "hidden_size": 1152, "intermediate_size": 4304, "depth": 27, "num_heads": 16, "out_hidden_size": 4096,
    "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
}  # fmt: skip


VISION_SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 980, "patch_size": 14,
}  # fmt: skip


def _bagel() -> Any:
    from si_embodied.models.bagel.config import BagelConfig, convert_config

    text = {**QWEN25_7B, "num_key_value_heads": 4, "vocab_size": 152064}
    return BagelConfig(**convert_config({}, text, VISION_SO400M))


def _internvl(text: dict[str, Any], kv_heads: int) -> Any:
    from transformers import InternVLConfig

    text = {"model_type": "qwen2", "vocab_size": 151674, "num_key_value_heads": kv_heads, **text}
    return InternVLConfig(vision_config=INTERNVIT_300M, text_config=text, tie_word_embeddings=False)


def _qwen25(text: dict[str, Any], kv_heads: int, rows: int, *, tied: bool) -> Any:
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    text = {"vocab_size": rows, "num_key_value_heads": kv_heads, "rope_parameters": rope, **text}
    vision = {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32, "out_hidden_size": text["hidden_size"]}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def _qwen3() -> Any:
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(text_config=QWEN3_8B, vision_config=QWEN3_VISION, tie_word_embeddings=False)


CONFIGURATIONS: list[tuple[str, Architecture, Any]] = [
    ("InternVL3-8B", INTERNVL3_8B, lambda: _internvl(QWEN25_7B, 4)),
    ("InternVL3-2B", INTERNVL3_2B, lambda: _internvl(QWEN25_1B5, 2)),
    ("Qwen3-VL-8B", QWEN3_VL_8B, _qwen3),
    ("Qwen2.5-VL-7B", QWEN25_VL_7B, lambda: _qwen25(QWEN25_7B, 4, 152064, tied=False)),
    ("Qwen2.5-VL-3B", QWEN25_VL_3B, lambda: _qwen25(QWEN25_3B, 2, 151936, tied=True)),
    ("BAGEL-7B", BAGEL_7B, _bagel),
]


@pytest.mark.parametrize(
    ("name", "architecture", "configuration"), CONFIGURATIONS, ids=[row[0] for row in CONFIGURATIONS]
)
def test_parameters_are_those_of_the_architecture(name: str, architecture: Architecture, configuration: Any) -> None:
    """Counted from the published configurations of the base models, on torch's meta device."""
    pytest.importorskip("transformers")
    import torch

    from si_embodied.models.families import FAMILIES

    with torch.device("meta"):
        model = FAMILIES[architecture.family].network()(configuration())
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters
    kept = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and id(m) not in kept]
    assert sum(module.weight.numel() for module in linear) == architecture.linear_parameters


@pytest.mark.parametrize(("weights", "gigabytes"), [("full", 19.1), ("8bit", 12.2), ("4bit", 8.9)])
def test_memory_of_an_8b(weights: Any, gigabytes: float) -> None:
    """6.85 billion in linear layers and 1.09 others: 2 bytes each, or 1 or 0.516 for the former; 3.2 GB of headroom."""
    assert INTERNVL3_8B.memory_bytes(weights) / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_every_release_has_a_supported_family() -> None:
    """All names can be found, and are unique."""
    assert {release.family for release in RELEASES} == set(SUPPORTED)
    assert len({release.hub_id for release in RELEASES}) == len(RELEASES) == 12


@pytest.mark.parametrize(
    "name", ["1.4-InternVL3-8B", "SenseNova-SI-1.4-internvl3-8b", "sensenova/SenseNova-SI-1.4-InternVL3-8B"]
)
def test_a_release_has_three_names(name: str) -> None:
    """Short, long, and the hub id."""
    release = find_release(name)
    assert release is not None
    assert release.hub_id == "sensenova/SenseNova-SI-1.4-InternVL3-8B"
    assert find_release("SenseNova-SI-9") is None
