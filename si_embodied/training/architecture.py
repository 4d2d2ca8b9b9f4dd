"""The small model: Qwen3-VL's own classes with a few million parameters, initialised so that it learns from the start.

Qwen3-VL: Bai et al., arXiv 2511.21631. The sizes are chosen so that two CPU cores can train it in under an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from si_embodied.errors import ConfigError, extra
from si_embodied.models.tiny import SPECIAL_TOKENS
from si_embodied.training.attention import PRODUCTS
from si_embodied.training.pictures import CELL_PX, IMAGE_PX, SMALL_IMAGE_PX
from si_embodied.training.vocabulary import NUMBERS, make_tokenizer, word_id

with extra("models"):
    import torch
    from transformers import GenerationConfig, Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration

GRID = IMAGE_PX // CELL_PX
"""Cells along each side of an image."""
_EMBEDDING_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class Sizes:
    """Patch size, layer counts and widths."""

    patch_px: int = 20  # divides `CELL_PX`; at half the size, the vision tower reads four times as many patches
    vision_width: int = 128
    vision_layers: int = 4
    vision_heads: int = 4
    text_width: int = 192
    text_layers: int = 4
    text_heads: int = 4
    key_value_heads: int = 2

    def __post_init__(self) -> None:
        """Raise `ConfigError` if a cell is not a whole number of patches."""
        if self.patch_px < 1 or CELL_PX % self.patch_px:
            raise ConfigError(f"expected patch_px to divide a cell of {CELL_PX} px, got: {self.patch_px}")

    @property
    def merge(self) -> int:
        """Patches along each side of a cell."""
        return CELL_PX // self.patch_px


MICRO = Sizes(vision_width=32, vision_layers=1, vision_heads=2, text_width=48, text_layers=2, text_heads=2)
"""For tests."""


def make_model(sizes: Sizes, seed: int) -> Qwen3VLForConditionalGeneration:
    """The untrained model, a function of the seed."""
    tokenizer = make_tokenizer()
    ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in SPECIAL_TOKENS}
    head = sizes.text_width // sizes.text_heads
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.text_width,
            "intermediate_size": 2 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "num_key_value_heads": sizes.key_value_heads,
            "head_dim": head,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": _sections(head // 2)},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": sizes.vision_layers,
            "hidden_size": sizes.vision_width,
            "intermediate_size": 3 * sizes.vision_width,
            "num_heads": sizes.vision_heads,
            "patch_size": sizes.patch_px,
            "spatial_merge_size": sizes.merge,
            "out_hidden_size": sizes.text_width,
            "num_position_embeddings": (GRID * sizes.merge) ** 2,
            "deepstack_visual_indexes": [],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    model.set_attn_implementation({"text_config": PRODUCTS})
    _start(model, torch.Generator().manual_seed(seed))
    model.generation_config = GenerationConfig(
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
        pad_token_id=ids["<|endoftext|>"],
        do_sample=False,
    )
    return model


def image_processor(patch_px: int = Sizes().patch_px) -> Qwen2VLImageProcessorPil:
    """An image processor that resizes images to whole cells, between the two sizes that the model is trained at."""
    return Qwen2VLImageProcessorPil(
        patch_size=patch_px,
        temporal_patch_size=2,
        merge_size=CELL_PX // patch_px,
        size={"shortest_edge": SMALL_IMAGE_PX**2, "longest_edge": IMAGE_PX**2},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def _sections(half: int) -> list[int]:
    """Split `half` rotary frequencies between time, row and column, about a third each."""
    return [half - 2 * (half // 3), half // 3, half // 3]


def _start(model: Any, generator: torch.Generator) -> None:
    """Initialise: sine-cosine positions, numbers on smooth curves, and linear maps scaled by their fan-in."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1 and not name.endswith(("embed_tokens.weight", "pos_embed.weight")):
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
                if name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight", "linear_fc2.weight")):
                    parameter.mul_(0.5)  # outputs that are added to the residual stream
        for layer in model.model.language_model.layers:
            like_attends_to_like(layer.self_attn, generator)
        words = model.model.language_model.embed_tokens.weight
        words.normal_(0.0, _EMBEDDING_SCALE, generator=generator)
        words[:NUMBERS] = number_codes(NUMBERS, words.shape[1]) * _EMBEDDING_SCALE
        vocabulary = make_tokenizer().get_vocab()
        for token, number in vocabulary.items():
            if token.startswith("Ġ") and token[1:] in vocabulary and len(token) > 2:
                words[number] = words[vocabulary[token[1:]]]  # a word means the same after a space
        positions = model.model.visual.pos_embed.weight
        positions.copy_(grid_codes(round(len(positions) ** 0.5), positions.shape[1]))


def like_attends_to_like(attention: Any, generator: torch.Generator) -> None:
    """Initialise attention so that a token attends to tokens that resemble it and copies part of them.

    The vision tower is trained to output the words' embeddings, so an object's name finds its image tokens from the
    start. After mimetic initialization (Trockman and Kolter, arXiv 2305.09828).
    """
    query, key, value, output = (
        getattr(attention, f"{name}_proj").weight.data for name in ("q", "k", "v", "o")
    )  # fmt: skip
    side = attention.head_dim
    groups = query.shape[0] // key.shape[0]
    for head in range(query.shape[0] // side):
        own, shared = slice(head * side, (head + 1) * side), slice(head // groups * side, (head // groups + 1) * side)
        noise = torch.randn(side, key.shape[1], generator=generator) * key.shape[1] ** -0.5
        query[own] = 0.8 * key[shared] + 0.6 * noise
        output[:, own] = 0.5 * output[:, own] + 0.4 * value[shared].T


def number_codes(count: int, width: int) -> torch.Tensor:
    """Sine and cosine codes (count, width) of 0..count-1, with unit variance: near numbers have similar codes."""
    half = width // 2
    periods = 2.2 * count * (1 / 60.0) ** (torch.arange(half) / max(half - 1, 1))  # 2,200 to 37 for 1,001
    angles = 2 * torch.pi * torch.arange(count)[:, None] / periods[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1) * 2**0.5


def grid_codes(side: int, width: int) -> torch.Tensor:
    """2-D sine-cosine position embeddings (side * side, width), raster order: half for the row, half for the column."""
    quarter = width // 4
    periods = 2.0 * side * (1 / 16.0) ** (torch.arange(quarter) / max(quarter - 1, 1))
    angles = 2 * torch.pi * torch.arange(side)[:, None] / periods[None]
    one = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    rows = one[:, None].expand(side, side, -1)
    columns = one[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, -1)


def words_of(names: tuple[str, ...]) -> torch.Tensor:
    """Token ids (n, 2) of words, without and with a leading space."""
    return torch.tensor([[word_id(name, spaced=spaced) for spaced in (False, True)] for name in names])
