"""Attention as two matrix products: in bfloat16 on a CPU, at a few hundred tokens, faster than fused kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

with extra("models"):
    import torch
    from transformers import AttentionInterface

if TYPE_CHECKING:
    from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The values (…, L, D) weighted by the softmax of the scaled scores.

    Args:
        query: (…, L, D)
        key: as `query`.
        value: as `query`; its dtype is that of the arithmetic.
        mask: added to the scores (…, L, L).
        scale: of the scores.
    """
    with torch.autocast("cpu", enabled=False):  # it would make the softmax float32
        scores = (query.to(value.dtype) * scale) @ key.to(value.dtype).transpose(-1, -2)
        return (scores if mask is None else scores + mask).softmax(-1) @ value


def _attend_in_layers(
    _layer: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, *, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """The same in the form in which transformers calls it, for a language model.

    Each head of `key` and `value` serves several of `query`. `seen` (B, 1, L, L) is true where a token attends; without
    it, attention is causal.
    """
    batch, heads, length, width = query.shape
    seen = torch.ones(length, length, dtype=torch.bool).tril() if seen is None else seen[:, None]
    mask = torch.zeros(seen.shape, dtype=value.dtype).masked_fill_(~seen, float("-inf"))
    grouped = query.reshape(batch, key.shape[1], -1, length, width)
    mixed = attend(grouped, key[:, :, None], value[:, :, None], mask, scaling)
    return mixed.reshape(batch, heads, length, width).transpose(1, 2), None


PRODUCTS = "products"
"""The name of `attend` among transformers' attention functions."""
AttentionInterface.register(PRODUCTS, _attend_in_layers)
