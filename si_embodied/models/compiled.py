"""Compiling the language model's forward pass with torch, where it pays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)


def compiled_pass(
    language: Callable[..., Any], device: torch.device, attempt: Callable[[Callable[..., Any]], object]
) -> Callable[..., Any]:
    """Compile `language`, or return it unchanged and log why that is not possible.

    Compiling pays only on CUDA, where launching the kernels of a step of a few tokens takes longer than running them.
    Shapes stay dynamic because the cache grows with every step. Compiled kernels round slightly differently, so two
    tokens of almost equal probability may swap ranks.

    Args:
        language: the language model.
        device: the model's device.
        attempt: runs one forward pass of every kind with the model it is given, so that a missing compiler shows up
            now and not in the middle of a plan. If it raises, the model is not compiled.
    """
    if device.type != "cuda":
        _LOG.warning("steps are not compiled: compiling pays only on CUDA, and the model is on %s", device.type)
        return language
    try:
        candidate: Callable[..., Any] = torch.compile(language, dynamic=True)
        attempt(candidate)
    except Exception as error:  # noqa: BLE001 - dynamo, inductor, Triton and the C compiler raise their own types
        reason = (str(error).strip().splitlines() or [""])[0]
        _LOG.warning("steps are not compiled: %s: %s", type(error).__name__, reason)
        return language
    return candidate
