"""Maps InternVL's original format to transformers' own `internvl`: configuration and weight names.

The released SenseNova-SI-InternVL3 checkpoints are `InternVLChatModel`s, whose classes come as Python files beside the
weights. transformers has the same layers under other names. This module maps the names to those of the released
`InternVL3-…-hf` checkpoints, which transformers, vLLM and TensorRT-Edge-LLM know, and rejects checkpoints that would
not give the same network. It needs neither torch nor transformers.

Sources: config.json of the released checkpoints; the InternVL repository's `InternVLChatConfig` and `conversation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from si_embodied.errors import CheckpointError

ORIGINAL_MODEL_TYPE, ORIGINAL_ARCHITECTURE = "internvl_chat", "InternVLChatModel"

SYSTEM_MESSAGES = {
    "internvl2_5": (
        "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
    )
}
"""System message of every training conversation, by the conversation template's name in config.json.

It says: you are InternVL, a multimodal large language model by the Shanghai AI Laboratory, Tsinghua and partners."""

_REQUIRED: Mapping[str, Any] = {
    "ps_version": "v2",  # pixel shuffle; v1 leaves the image transposed
    "select_layer": -1,
    "dynamic_image_size": True,
    "use_thumbnail": True,
    "pad2square": False,
}
_ASSUMED = {"ps_version": "v1", "pad2square": False}  # if missing in config.json; other keys default to _REQUIRED

_VISION = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "patch_size": "patch_size",
    "image_size": "image_size",
    "hidden_act": "hidden_act",
    "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps",
    "qkv_bias": "attention_bias",
    "qk_normalization": "use_qk_norm",
}
_TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "rope_parameters", "use_sliding_window", "sliding_window", "max_window_layers", "bos_token_id", "eos_token_id",
    "pad_token_id",
)  # fmt: skip
_QK_NORM_EPS = 1e-6  # hard-coded in transformers' InternVL

_KEYS = (
    (r"vision_model\.embeddings\.class_embedding", r"vision_tower.embeddings.cls_token"),
    (r"vision_model\.embeddings\.position_embedding", r"vision_tower.embeddings.position_embeddings"),
    (
        r"vision_model\.embeddings\.patch_embedding\.(weight|bias)",
        r"vision_tower.embeddings.patch_embeddings.projection.\1",
    ),
    (r"vision_model\.encoder\.layers\.(\d+)\.ls([12])", r"vision_tower.encoder.layer.\1.lambda_\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.norm1\.(\w+)", r"vision_tower.encoder.layer.\1.layernorm_before.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.norm2\.(\w+)", r"vision_tower.encoder.layer.\1.layernorm_after.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.(mlp\.fc[12]\.\w+)", r"vision_tower.encoder.layer.\1.\2"),
    (
        r"vision_model\.encoder\.layers\.(\d+)\.attn\.proj\.(\w+)",
        r"vision_tower.encoder.layer.\1.attention.projection_layer.\2",
    ),
    (
        r"vision_model\.encoder\.layers\.(\d+)\.attn\.([qk]_norm)\.(\w+)",
        r"vision_tower.encoder.layer.\1.attention.\2.\3",
    ),
    (r"mlp1\.0\.(\w+)", r"multi_modal_projector.layer_norm.\1"),
    (r"mlp1\.1\.(\w+)", r"multi_modal_projector.linear_1.\1"),
    (r"mlp1\.3\.(\w+)", r"multi_modal_projector.linear_2.\1"),
    (r"language_model\.(model\..+|lm_head\.weight)", r"language_model.\1"),
)
_QKV = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.attn\.qkv\.(weight|bias)")


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is in the original format."""
    return config.get("model_type") == ORIGINAL_MODEL_TYPE or ORIGINAL_ARCHITECTURE in (
        config.get("architectures") or []
    )


def convert_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an original config.json to that of transformers' `internvl`.

    The caller adds `image_token_id`, which takes the tokenizer. `system_message` is our own key; transformers keeps it.

    Raises:
        CheckpointError: `internvl` cannot represent this network; names the setting, its value and the expected one.
    """
    for key, expected in _REQUIRED.items():
        value = config.get(key, _ASSUMED.get(key, expected))
        if value != expected:
            raise _refused(key, value, repr(expected))
    vision, text = _group(config, "vision_config"), _group(config, "llm_config")
    language_model = (text.get("architectures") or [text.get("model_type")])[0]
    if language_model not in ("Qwen2ForCausalLM", "qwen2"):
        raise _refused("llm_config.architectures", language_model, "'Qwen2ForCausalLM'")
    if missing := [key for key in _VISION if key not in vision]:
        raise CheckpointError(f"config.json lacks vision_config.{missing[0]}: download it again")
    if vision["qk_normalization"] and vision["layer_norm_eps"] != _QK_NORM_EPS:
        raise _refused(
            "vision_config.layer_norm_eps", vision["layer_norm_eps"], f"{_QK_NORM_EPS} with qk_normalization"
        )
    size = vision["image_size"]
    if config.get("force_image_size") not in (None, size):
        raise _refused("force_image_size", config["force_image_size"], f"vision_config.image_size, {size}")
    ratio = float(config.get("downsample_ratio", 0.5))
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "dtype": config.get("torch_dtype") or config.get("dtype") or "bfloat16",
        "downsample_ratio": ratio,
        "image_seq_length": round((size // vision["patch_size"] * ratio) ** 2),
        "projector_hidden_act": "gelu",
        "system_message": system_message(config),
        "tie_word_embeddings": tied,
        "text_config": {
            "model_type": "qwen2",
            "tie_word_embeddings": tied,
            **{key: text[key] for key in _TEXT if text.get(key) is not None},
        },
        "vision_config": {"model_type": "internvl_vision", **{new: vision[old] for old, new in _VISION.items()}},
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
    }


def system_message(config: Mapping[str, Any]) -> str:
    """The system message of a checkpoint: its own `system_message`, or else its conversation template's.

    Raises:
        CheckpointError: unknown conversation template.
    """
    if isinstance(own := config.get("system_message"), str):
        return own
    template = config.get("template")
    if template not in SYSTEM_MESSAGES:
        raise _refused("template", template, f"one of {', '.join(SYSTEM_MESSAGES)}, or a system_message beside it")
    return SYSTEM_MESSAGES[template]


def convert_keys(key: str) -> tuple[str, ...]:
    """The new name of an original weight; three names if it is split along its first dimension (query, key, value).

    Raises:
        CheckpointError: `internvl` has no such weight.
    """
    if match := _QKV.fullmatch(key):
        layer, kind = match.groups()
        return tuple(f"vision_tower.encoder.layer.{layer}.attention.{part}_proj.{kind}" for part in "qkv")
    for pattern, new in _KEYS:
        if match := re.fullmatch(pattern, key):
            return (match.expand(new),)
    raise CheckpointError(
        f"unexpected weight {key!r} in an original InternVL checkpoint: transformers' internvl has no such layer"
    )


def _group(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A required group of settings."""
    group = config.get(key)
    if not isinstance(group, Mapping):
        raise CheckpointError(f"config.json lacks {key}: download it again")
    return group


def _refused(key: str, value: object, expected: str) -> CheckpointError:
    """The error for a checkpoint that cannot be converted."""
    return CheckpointError(
        f"cannot convert this original InternVL checkpoint: expected {key} to be {expected}, got: {value!r}; "
        "serve it with a server that runs its own code (docs/models.md), or use another checkpoint"
    )
