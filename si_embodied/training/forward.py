"""The forward pass for training: images by size, a subset of their cells, and many questions per image.

It uses the model's own layers and gives the same numbers as transformers' forward pass on whole prompts (tested), in a
fraction of the time on a CPU: a batch's images of one size go through the vision tower together, cells may be left out,
and all questions about an image share its tokens.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra
from si_embodied.training.architecture import GRID
from si_embodied.training.attention import attend
from si_embodied.training.pictures import CELL_PX

with extra("models"):
    import torch
    from torch.nn import functional
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

if TYPE_CHECKING:
    from torch import Tensor

    from si_embodied.training.rows import Packed

CELLS = GRID * GRID


def patches_of(images: Tensor, patch_px: int) -> Tensor:
    """Patches (B, cells, patches of a cell, 3 * patch_px**2) in -1..1, in the processor's order.

    Args:
        images: (B, H, W, 3) uint8, whole cells high and wide.
        patch_px: side of a patch.
    """
    batch, height, width, _ = images.shape
    rows, columns, merge = height // CELL_PX, width // CELL_PX, CELL_PX // patch_px
    blocks = images.reshape(batch, rows, merge, patch_px, columns, merge, patch_px, 3)
    ordered = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)  # cell row, cell column, row and column in it, channel, y, x
    return ordered.reshape(batch, rows * columns, merge**2, 3 * patch_px**2).float() / 127.5 - 1.0


@cache
def _patch_positions(rows: int, columns: int, merge: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each patch of each cell of a grid of `rows` x `columns` cells, where it lies.

    Returns:
        indices: (patches, 4) into the position table of `side` x `side` patches.
        weights: (patches, 4) of these entries: the table is interpolated to the grid.
        positions: (cells, patches of a cell, 2) row and column.
    """
    with torch.inference_mode(False):  # else a later training step could not use what a measurement has cached
        grid = torch.tensor([[1, rows * merge, columns * merge]])
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid, num_grid_per_side=side, mode="bilinear", align_corners=True, spatial_merge_size=merge
        )
        return indices, weights, get_vision_position_ids(grid, merge).reshape(rows * columns, merge**2, 2)


def encode_images(model: Any, images: Tensor, cells: Tensor | None = None) -> Tensor:
    """The image tokens (B, K, width) of images of one size.

    Args:
        model: a model of this architecture.
        images: (B, H, W, 3) uint8, whole cells high and wide.
        cells: (B, K), which of their cells the model sees; None for all, in raster order.
    """
    visual = model.model.visual
    patches = patches_of(images, visual.patch_size)
    batch, count = patches.shape[:2]
    if cells is None:
        cells = torch.arange(count).expand(batch, -1)
    rows, columns = images.shape[1] // CELL_PX, images.shape[2] // CELL_PX
    indices, shares, positions = _patch_positions(
        rows, columns, visual.spatial_merge_size, visual.num_grid_per_side
    )  # fmt: skip
    table = (visual.pos_embed(indices) * shares[..., None]).sum(1).reshape(*positions.shape[:2], -1)
    kept = cells.shape[1] * positions.shape[1]  # patches
    patches = patches[torch.arange(batch)[:, None], cells]  # (B, K, patches of a cell, values)
    weight = visual.patch_embed.proj.weight.sum(dim=2).flatten(1)  # the image stands for both frames of the "video"
    hidden = functional.linear(patches, weight, visual.patch_embed.proj.bias) + table[cells]
    hidden = hidden.reshape(batch, kept, -1)
    cos, sin = visual.rotary_pos_emb(hidden, positions[cells].reshape(-1, 2))
    rotary = cos.reshape(batch, kept, -1), sin.reshape(batch, kept, -1)
    for block in visual.blocks:
        hidden = hidden + _attend(block.attn, block.norm1(hidden), rotary)
        hidden = hidden + block.mlp(block.norm2(hidden))
    tokens: Tensor = visual.merger(hidden.reshape(batch * kept, -1))
    return tokens.reshape(batch, cells.shape[1], -1)


def _attend(attention: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    batch, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).reshape(batch, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, *rotary)
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    mixed = attend(query, key, value, None, query.shape[-1] ** -0.5)
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, length, width))
    return out


def read(model: Any, packed: Packed, image_tokens: Tensor) -> Tensor:
    """The language model's last hidden states (B, L, width).

    `image_tokens` (…, width) take the places of `packed.is_image`, row by row.
    """
    text = model.model.language_model
    embedded = text.embed_tokens(packed.tokens)
    embedded = embedded.masked_scatter(packed.is_image[..., None], image_tokens.to(embedded.dtype))
    mask = None if bool((packed.segments <= 0).all()) else _questions_apart(packed.segments)
    hidden: Tensor = text(
        inputs_embeds=embedded, attention_mask=mask, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    return hidden


def _questions_apart(segments: Tensor) -> Tensor:
    """Which tokens (B, 1, L, L) each token attends to: earlier ones of its own segment and of segment 0."""
    length = segments.shape[1]
    own = segments[:, :, None] == segments[:, None, :]
    shared = (segments == 0)[:, None, :]
    return ((own | shared) & torch.ones(length, length, dtype=torch.bool).tril())[:, None]


def logits_of(model: Any, hidden: Tensor) -> Tensor:
    """Logits over the vocabulary for hidden states (N, width); the output layer shares the embedding's weights."""
    return functional.linear(hidden, model.model.language_model.embed_tokens.weight)
