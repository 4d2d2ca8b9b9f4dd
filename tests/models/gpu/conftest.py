"""Every test here runs on the CPU, where that proves something, and on CUDA, where it is marked gpu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from si_embodied.plan import plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """Both, for what is cheap on a CPU."""
    return str(request.param)


@pytest.fixture(params=[CUDA])
def cuda(request: pytest.FixtureRequest) -> str:
    """For what only a GPU can prove."""
    return str(request.param)


@pytest.fixture
def prompts(draw_prompt: Callable[..., Prompt]) -> list[Prompt]:
    """Six prompts of different kinds, with one or two images."""
    rng = np.random.default_rng(11)
    return [draw_prompt(rng, side=120, max_images=2) for _ in range(6)]


@pytest.fixture
def heavy_prompt() -> Callable[[int], Prompt]:
    """A prompt with so many large images, no two of them alike."""

    def make(images: int) -> Prompt:
        rng = np.random.default_rng(images)
        shown = tuple(rng.integers(0, 256, (320, 320, 3), dtype=np.uint8) for _ in range(images))
        return Prompt(
            "test/v1", "You plan for a robot.", ("Find the chair.", *shown), plan_schema("navigation", images)
        )

    return make
