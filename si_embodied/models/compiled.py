"""The language model's pass compiled by torch, where that is worth it."""

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
    """A compiled `language` model, or itself where that does not work; the log says why.

    On CUDA alone: a step of a few tokens is launched kernel by kernel there, and the launches take longer than the
    kernels. Shapes stay dynamic, because the cache grows with every step. What is compiled rounds a little differently:
    two tokens that are equally likely to the last digits may change places.

    Args:
        language: the language model.
        device: where it is.
        attempt: runs a pass of every kind with what it is given. Whatever that raises is why not to compile: it is
            here that compilers that are missing show, and not in the middle of a plan.
    """
    if device.type != "cuda":
        _LOG.warning("steps are not compiled: it pays on CUDA alone, and the model is on %s", device.type)
        return language
    try:
        candidate: Callable[..., Any] = torch.compile(language, dynamic=True)
        attempt(candidate)
    except Exception as error:  # noqa: BLE001 - dynamo, inductor, Triton and the C compiler each have their own
        reason = (str(error).strip().splitlines() or [""])[0]
        _LOG.warning("steps are not compiled: %s: %s", type(error).__name__, reason)
        return language
    return candidate
