"""One forward pass over the new tokens of several prompts, each of which attends to its own keys and values.

The tokens are concatenated to one sequence without padding. Linear layers run once for all of them, and `_attend`, an
attention function of transformers, splits them again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from si_embodied.errors import extra

with extra("models"):
    import torch
    from transformers import AttentionInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAME = "si_embodied_several_prompts"

KeysValues: TypeAlias = "tuple[tuple[torch.Tensor, torch.Tensor], ...]"
"""Each layer's keys and values, (1, heads, T, head_dim). Nothing writes into them, so prompts may share them."""


@dataclass(slots=True, eq=False)
class Pass:
    """The new tokens of one prompt, and the keys and values of those before them."""

    embeds: torch.Tensor  # (1, n, hidden)
    positions: torch.Tensor  # (*axes, n), rotary
    past: KeysValues  # empty before the first token
    mask: torch.Tensor | None = None  # (n, T + n), which tokens each new one attends to; None: up to itself
    is_image: torch.Tensor | None = None  # (1, n), where DeepStack's features are added
    deepstack: tuple[torch.Tensor, ...] = ()  # (n_image, hidden) each, for the first layers
    step: bool = False  # of an answer: over before it could be aborted
    bias: torch.Tensor | None = None  # (n, T + n), the mask as it is added to the scores; filled in by the pass
    now: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)  # keys and values after the pass

    @property
    def count(self) -> int:
        """How many new tokens."""
        return self.embeds.shape[1]


def run_passes(language: Any, passes: Sequence[Pass]) -> list[torch.Tensor]:
    """Run the language model; returns each prompt's last hidden states (n, hidden), and fills in `Pass.now`."""
    arguments: dict[str, Any] = {
        "inputs_embeds": torch.cat([each.embeds for each in passes], dim=1),
        "position_ids": torch.cat([each.positions for each in passes], dim=-1),
        **_deepstack(passes),
    }
    for each in passes:
        each.now, each.bias = [], _bias(each)
    with _splitting(language.config) as kernel:
        output = language(use_cache=False, passes=passes, kernel=kernel, **arguments)
    return list(output.last_hidden_state[0].split([each.count for each in passes]))


def _bias(each: Pass) -> torch.Tensor | None:
    """The mask as what is added to the scores; without one, a kernel's own causal mask starts at the first key.

    Each layer would convert a mask of truth values to this, which takes a twentieth of a pass.
    """
    length, allowed = cached(each.past), each.mask
    if allowed is None:
        if not length or each.count == 1:
            return None
        ones = torch.ones(each.count, length + each.count, dtype=torch.bool, device=each.embeds.device)
        allowed = ones.tril(diagonal=length)
    return torch.zeros_like(allowed, dtype=each.embeds.dtype).masked_fill_(~allowed, -torch.inf)


def _deepstack(passes: Sequence[Pass]) -> dict[str, Any]:
    """The arguments that add DeepStack's features; none without images."""
    layers = [each.deepstack for each in passes if each.deepstack]
    if not layers:
        return {}
    device = passes[0].embeds.device
    masks = [
        torch.zeros(1, each.count, dtype=torch.bool, device=device) if each.is_image is None else each.is_image
        for each in passes
    ]
    return {
        "visual_pos_masks": torch.cat(masks, dim=1),
        "deepstack_visual_embeds": [torch.cat(layer) for layer in zip(*layers, strict=True)],
    }


def cached(layers: KeysValues) -> int:
    """How many tokens have keys and values."""
    return layers[0][0].shape[-2] if layers else 0


def cropped(layers: KeysValues, length: int) -> KeysValues:
    """The keys and values of the first `length` tokens."""
    if length == cached(layers):
        return layers
    return tuple((keys[..., :length, :], values[..., :length, :]) for keys, values in layers) if length else ()


@contextmanager
def _splitting(config: Any) -> Iterator[Any]:
    """Use `_attend` for a while; gives the configuration that names the kernel."""
    kernel, config._attn_implementation = config._attn_implementation, _NAME
    try:
        yield SimpleNamespace(_attn_implementation=kernel)
    finally:
        config._attn_implementation = kernel


def _attend(
    module: Any,
    query: torch.Tensor,  # (1, heads, N, head_dim), of all prompts
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: object,  # of one sequence; each prompt has its own
    *,
    passes: Sequence[Pass],
    kernel: Any,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Each prompt's attention to its own keys and values, with the kernel that the model was loaded with."""
    arguments.pop("position_ids", None)  # FlashAttention would look for the starts of sequences in them
    attend = ALL_ATTENTION_FUNCTIONS[kernel._attn_implementation]
    asking = SimpleNamespace(
        config=kernel,
        is_causal=True,
        training=False,
        layer_idx=module.layer_idx,
        num_key_value_groups=module.num_key_value_groups,
    )
    outputs, start = [], 0
    for each in passes:
        new = slice(start, start + each.count)
        start = new.stop
        past = each.past[module.layer_idx : module.layer_idx + 1]
        keys = torch.cat([*(layer[0] for layer in past), key[:, :, new]], dim=-2)
        values = torch.cat([*(layer[1] for layer in past), value[:, :, new]], dim=-2)
        each.now.append((keys, values))
        bias = None if each.bias is None or "flash" in kernel._attn_implementation else each.bias[None, None]
        outputs.append(attend(asking, query[:, :, new], keys, values, bias, **arguments)[0])
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(_NAME, _attend)
