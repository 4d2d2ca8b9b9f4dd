"""BAGEL's configuration, and the mapping of a released checkpoint to it: settings and weight names.

Sources: llm_config.json and vit_config.json of the released checkpoints; the loading code of the BAGEL repository
(ByteDance-Seed/Bagel, `app.py`), which overrides some of their values; arXiv 2505.14683.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

from si_embodied.errors import CheckpointError, extra

with extra("models"):
    from transformers import PretrainedConfig, Qwen3Config, SiglipVisionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Resize: TypeAlias = tuple[int, int, int]  # longest side at most, shortest side at least, both multiples of; pixels

PointConvention: TypeAlias = Literal["relative", "pixels"]
"""Points in 0..1000 relative to the image, or in pixels of the resized image."""

RESIZES: Sequence[Resize] = ((1024, 512, 16), (980, 224, 14))
"""An image is resized twice: for the image generator, and from that for the vision tower. Hard-coded in `app.py`."""

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "rope_parameters", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
_VISION = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
    "patch_size", "hidden_act", "layer_norm_eps",
)  # fmt: skip

_KEYS = (
    (r"language_model\.lm_head\.weight", r"lm_head.weight"),
    (r"language_model\.model\.(embed_tokens|norm)\.weight", r"model.language_model.\1.weight"),
    (
        (
            r"language_model\.model\.(layers\.\d+\.(?:(?:input|post_attention)_layernorm|mlp\.(?:gate|up|down)_proj|"
            r"self_attn\.(?:[qkvo]_proj|[qk]_norm))\.(?:weight|bias))"
        ),
        r"model.language_model.\1",
    ),
    (r"vit_model\.vision_model\.embeddings\.(.+)", r"model.vision_tower.\1"),
    (r"vit_model\.vision_model\.encoder\.(.+)", r"model.vision_tower.encoder.\1"),
    (r"vit_model\.vision_model\.post_layernorm\.(\w+)", r"model.vision_tower.post_layernorm.\1"),
    (r"connector\.(fc[12]\.\w+)", r"model.connector.\1"),
    (r"vit_pos_embed\.pos_embed", r"model.vit_pos_embed.weight"),
)
_GENERATION = re.compile(r".*_moe_gen\..*|(time_embedder|vae2llm|llm2vae|latent_pos_embed)\..*")


class BagelConfig(PretrainedConfig):  # type: ignore[misc]  # transformers' types are not read
    """Configuration of BAGEL's understanding branch."""

    model_type = "bagel"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": Qwen3Config, "vision_config": SiglipVisionConfig}

    def __init__(
        self,
        text_config: Any = None,
        vision_config: Any = None,
        image_token_id: int = 0,
        image_resizes: Sequence[Resize] = RESIZES,
        point_convention: PointConvention = "relative",
        **keywords: Any,
    ) -> None:
        """Set up; dicts become configurations of Qwen3 and SigLIP.

        Args:
            text_config: of the language model.
            vision_config: of the vision tower.
            image_token_id: the token in place of an image's features.
            image_resizes: how an image is resized, in order.
            point_convention: how the checkpoint writes points.
            keywords: transformers' own settings.

        Raises:
            CheckpointError: unknown point convention.
        """
        if point_convention not in get_args(PointConvention):
            raise CheckpointError(
                f"expected point_convention in config.json to be one of {', '.join(get_args(PointConvention))}, "
                f"got: {point_convention!r}"
            )
        text, vision = text_config or {}, vision_config or {}
        self.text_config = Qwen3Config(**text) if isinstance(text, dict) else text
        self.vision_config = SiglipVisionConfig(**vision) if isinstance(vision, dict) else vision
        self.image_token_id = image_token_id
        self.image_resizes = [list(resize) for resize in image_resizes]
        self.point_convention = point_convention
        super().__init__(**keywords)


def convert_config(config: Mapping[str, Any], llm: Mapping[str, Any], vit: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a released checkpoint for `BagelConfig`, except `image_token_id`, which takes the tokenizer.

    Args:
        config: config.json; only our own keys `image_resizes` and `point_convention` are read.
        llm: llm_config.json.
        vit: vit_config.json.

    Raises:
        CheckpointError: a setting is missing, or the network differs from the one that is built here.
    """
    for name, settings, required in (
        ("llm_config.json", llm, (*_SIZES, "vocab_size")),
        ("vit_config.json", vit, _SIZES),
    ):
        if missing := [key for key in required if type(settings.get(key)) is not int]:
            raise CheckpointError(f"{name} lacks {missing[0]}: download it again")
    for key, value in (("hidden_act", "silu"), ("use_sliding_window", False)):
        if llm.get(key, value) != value:
            raise CheckpointError(f"cannot run this BAGEL checkpoint: expected {key} {value!r}, got: {llm[key]!r}")
    text = {key: llm[key] for key in _TEXT if llm.get(key) is not None}
    vision = {key: vit[key] for key in _VISION if vit.get(key) is not None}
    own = {key: config[key] for key in ("image_resizes", "point_convention") if key in config}
    return {
        "architectures": ["BagelForConditionalGeneration"],
        "dtype": "bfloat16",
        "tie_word_embeddings": False,
        # Queries and keys are normalised, as in Qwen3, and projected with a bias, as in Qwen2.
        "text_config": {
            **text,
            "attention_bias": True,
            "head_dim": llm["hidden_size"] // llm["num_attention_heads"],
            "tie_word_embeddings": False,
        },
        # The last layer of the file's configuration is not part of the network.
        "vision_config": {**vision, "num_hidden_layers": vit["num_hidden_layers"] - 1, "vision_use_head": False},
        **own,
    }


def convert_keys(key: str) -> tuple[str, ...]:
    """The new name of a weight; empty if it belongs to the branch that generates images.

    Raises:
        CheckpointError: the network has no such weight.
    """
    if _GENERATION.fullmatch(key):
        return ()
    for pattern, new in _KEYS:
        if match := re.fullmatch(pattern, key):
            return (match.expand(new),)
    raise CheckpointError(f"unexpected weight {key!r} in a BAGEL checkpoint: the network has no such layer")
