"""The parts of a model that become ONNX graphs: modules with tensor inputs and outputs and no data-dependent control.

Everything that depends on an image's size (positions, interpolation weights, windows) is computed outside, in
layout.py, and passed in as a tensor. The vision tower takes one image at a time, so no mask is needed between images.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

with extra("models"):
    import torch
    from torch import nn
    from torch.export import Dim
    from transformers import AttentionInterface

from si_embodied.models.onnx.manifest import cache_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.models.onnx.manifest import Manifest

# transformers passes an attention implementation with "flash" in its name all images packed into one sequence. Others
# get one call per image, which would fix the number of images in the graph.
_ATTENTION = "flash_free_packed"

_NEW, _SEEN = Dim("new"), Dim("seen")  # tokens of this pass, and tokens in the cache before it


@dataclass(frozen=True, slots=True)
class Graph:
    """A module with example inputs and their dynamic axes."""

    module: nn.Module
    inputs: dict[str, Any]  # tensors or lists of tensors, by the module's argument names
    outputs: tuple[str, ...]
    varying: dict[str, Any]


def attention(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Grouped-query attention without copies of the shared keys and values, as a transformers attention function.

    Args:
        query: (1, heads, T, D).
        key: (1, shared heads, S, D).
        value: as `key`.
        attention_mask: (1, 1, T, S), added to the scores.
        scaling: factor on the scores.
        cu_seq_lens_q: here the segment of each position (T,), not cumulative lengths: attention stays inside a segment.
    """
    batch, heads, length, width = query.shape
    shared, total = key.shape[1], key.shape[2]
    grouped = (query * scaling).reshape(batch, shared, (heads // shared) * length, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float()
    if cu_seq_lens_q is not None and cu_seq_lens_q.shape[0] > 1:
        apart = cu_seq_lens_q[:, None] != cu_seq_lens_q[None, :]
        attention_mask = torch.zeros(length, total).masked_fill(apart, -torch.inf)[None, None]
    if attention_mask is not None:
        scores = scores.reshape(batch, shared, heads // shared, length, total) + attention_mask[:, :, None]
        scores = scores.reshape(batch, shared, (heads // shared) * length, total)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    mixed = torch.matmul(weights, value).reshape(batch, heads, length, width)
    return mixed.transpose(1, 2), None


@contextmanager
def exportable(model: Any) -> Iterator[None]:
    """Make `model` exportable: attention, norms, DeepStack features for every position, rotary frequencies that stay.

    Rotary positions of the type "dynamic" have those of "default" up to `max_position_embeddings` tokens, and others
    beyond; a graph cannot change between the two.
    """
    AttentionInterface.register(_ATTENTION, attention)
    configs = (model.config, model.config.get_text_config(), model.config.vision_config)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = _ATTENTION  # set_attn_implementation would look for an installed kernel
    text = model.model.language_model
    if hasattr(text, "_deepstack_process"):
        text._deepstack_process = lambda hidden, _mask, features: hidden + features
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    for norm in norms:
        norm.forward = partial(_rms_norm, norm)
    rotary, rope_type = text.rotary_emb, text.rotary_emb.rope_type
    rotary.rope_type = "default" if rope_type == "dynamic" else rope_type
    try:
        yield
    finally:
        rotary.rope_type = rope_type
        for norm in norms:
            del norm.forward
        vars(text).pop("_deepstack_process", None)
        for config, kernel in zip(configs, before, strict=True):
            config._attn_implementation = kernel


def _rms_norm(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """A transformers RMS norm by division: onnxruntime fuses that to one operator, but not a reciprocal root."""
    wide = hidden.float()
    wide = wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * wide.to(hidden.dtype)  # type: ignore[no-any-return]


class _Cache:
    """A key/value cache with the one method that transformers' attention layers use."""

    def __init__(self, past: list[torch.Tensor]) -> None:
        self.states = list(past)  # keys and values of layer 0, of layer 1, …

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to a layer's keys and values, and return all of them."""
        for index, new in ((2 * layer, key), (2 * layer + 1, value)):
            self.states[index] = torch.cat([self.states[index], new], dim=2)
        return self.states[2 * layer], self.states[2 * layer + 1]


class Decoder(nn.Module):
    """The language model without its output layer: from embeddings and cache to hidden states and the longer cache."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text = model.model.language_model

    def forward(
        self,
        inputs_embeds: torch.Tensor,  # (1, T, H)
        position_ids: torch.Tensor,  # (axes, 1, T)
        past: list[torch.Tensor],  # each (1, shared heads, S, D)
        deepstack: torch.Tensor | None = None,  # (layers, 1, T, H), zero except at image tokens
        block_ends: torch.Tensor | None = None,  # (T,), the last token that each attends to; without it, itself
    ) -> tuple[torch.Tensor, ...]:
        """Hidden states (1, T, H) after the last norm, and the cache with T more positions."""
        length, seen = inputs_embeds.shape[1], past[0].shape[2]
        rows = torch.arange(length) + seen if block_ends is None else block_ends
        later = torch.arange(seen + length)[None, :] > rows[:, None]
        mask = torch.zeros(length, seen + length).masked_fill(later, -torch.inf)[None, None]
        cache = _Cache(past)
        arguments: dict[str, Any] = {}
        if deepstack is not None:
            arguments = {"deepstack_visual_embeds": list(deepstack.unbind(0)), "visual_pos_masks": None}
        hidden = self.text(
            inputs_embeds=inputs_embeds,
            position_ids=position_ids if position_ids.shape[0] == 3 else position_ids[0],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **arguments,
        ).last_hidden_state
        return hidden, *cache.states


class _QwenVision(nn.Module):
    """The vision tower of Qwen-VL for one image."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.model.visual

    def _see(self, pixel_values: torch.Tensor, **layout: Any) -> Any:
        """The tower's output; its own grid arithmetic is replaced by `layout` (layout.py)."""
        one_segment = torch.zeros(1, dtype=torch.int64)  # `attention` then masks nothing
        return self.tower(pixel_values, grid_thw=None, cu_seqlens=one_segment, max_seqlen=1, return_dict=True, **layout)


class Qwen3Vision(_QwenVision):
    """From one image's patches to features (tokens, H), and DeepStack features (layers, tokens, H) if it has any."""

    def forward(
        self,
        pixel_values: torch.Tensor,
        position_ids: torch.Tensor,
        interp_indices: torch.Tensor,
        interp_weights: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Everything but the pixels comes from layout.py."""
        out = self._see(
            pixel_values,
            position_ids=position_ids,
            interp_indices=interp_indices,
            interp_weights=interp_weights,
        )
        layers = out.deepstack_features
        return (out.pooler_output, torch.stack(layers)) if layers else (out.pooler_output,)


class Qwen25Vision(_QwenVision):
    """From one image's patches to features (tokens, H); most layers attend only inside windows."""

    def forward(
        self,
        pixel_values: torch.Tensor,
        position_ids: torch.Tensor,
        window_index: torch.Tensor,
        window_of_patch: torch.Tensor,
    ) -> torch.Tensor:
        """Everything but the pixels comes from layout.py."""
        features: torch.Tensor = self._see(
            pixel_values,
            position_ids=position_ids,
            window_index=window_index,
            cu_window_seqlens=window_of_patch,
            max_window_seqlen=1,
        ).pooler_output
        return features


class InternVision(nn.Module):
    """From tiles to features."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """From (tiles, 3, side, side) to (tiles x tokens per tile, H)."""
        features: torch.Tensor = self.model.get_image_features(pixel_values, return_dict=True).pooler_output
        return features.flatten(0, 1)


class BagelVision(nn.Module):
    """From one image's patches and their positions to features."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model

    def forward(self, pixel_values: torch.Tensor, patch_positions: torch.Tensor) -> torch.Tensor:
        """From (patches, 3 x side²) and (patches,) to (patches, H)."""
        features: torch.Tensor = self.model.see(pixel_values, patch_positions)
        return features


def vision_graph(model: Any, family: str) -> Graph:
    """The vision tower's graph, for one image."""
    vision = model.config.vision_config
    if family == "bagel":
        places = torch.arange(12)
        parts = {"pixel_values": torch.zeros(12, 3 * vision.patch_size**2), "patch_positions": places}
        return Graph(BagelVision(model), parts, ("features",), {name: {0: Dim("patches")} for name in parts})
    if family == "internvl":
        tiles = torch.zeros(2, 3, *vision.image_size)
        return Graph(InternVision(model), {"pixel_values": tiles}, ("features",), {"pixel_values": {0: Dim("tiles")}})
    tokens, per_token = 12, vision.spatial_merge_size**2
    patches = tokens * per_token
    inputs = {
        "pixel_values": torch.zeros(patches, 3 * vision.temporal_patch_size * vision.patch_size**2),
        "position_ids": torch.zeros(patches, 2, dtype=torch.int64),
    }
    if family == "qwen3_vl":
        inputs["interp_indices"] = torch.zeros(patches, 4, dtype=torch.int64)
        inputs["interp_weights"] = torch.zeros(patches, 4)
        module: nn.Module = Qwen3Vision(model)
    else:
        inputs["window_index"] = torch.arange(tokens)
        inputs["window_of_patch"] = torch.zeros(patches, dtype=torch.int64)
        module = Qwen25Vision(model)
    varying = {name: {0: per_token * Dim("tokens")} for name in inputs}
    if family == "qwen2_5_vl":
        varying["window_index"] = {0: Dim("tokens")}
    deepstack = getattr(vision, "deepstack_visual_indexes", None)
    outputs = ("features", "deepstack") if deepstack else ("features",)
    return Graph(module, inputs, outputs, varying)


def decoder_graph(model: Any, manifest: Manifest) -> Graph:
    """The graph of the language model without its output layer."""
    new, seen = 5, 7  # example sizes; torch.export would treat 0 and 1 as constants
    dtype = getattr(torch, manifest.dtype)
    inputs: dict[str, Any] = {
        "inputs_embeds": torch.zeros(1, new, manifest.hidden_size, dtype=dtype),
        "position_ids": torch.zeros(manifest.position_axes, 1, new, dtype=torch.int64),
    }
    varying: dict[str, Any] = {"inputs_embeds": {1: _NEW}, "position_ids": {2: _NEW}}
    past = [
        torch.zeros(1, manifest.shared_heads, seen, manifest.head_dim, dtype=dtype) for _ in range(2 * manifest.layers)
    ]
    inputs["past"], varying["past"] = past, [{2: _SEEN} for _ in past]
    if manifest.deepstack_layers:
        shape = (manifest.deepstack_layers, 1, new, manifest.hidden_size)
        inputs["deepstack"], varying["deepstack"] = torch.zeros(shape, dtype=dtype), {2: _NEW}
    if manifest.takes_block_ends:
        inputs["block_ends"], varying["block_ends"] = torch.arange(seen, seen + new), {0: _NEW}
    return Graph(Decoder(model), inputs, ("hidden", *cache_names("present", manifest.layers)), varying)
