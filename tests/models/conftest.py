"""Backends for the tiny checkpoints, and random prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from si_embodied.embodiment import TaskKind
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def backends(checkpoints: dict[str, Path]) -> dict[str, Any]:
    """A loaded CPU backend per family."""
    from si_embodied.backends import LocalBackend

    return {name: LocalBackend(path, device="cpu") for name, path in checkpoints.items()}


@pytest.fixture(scope="session")
def draw_prompt() -> Callable[..., Prompt]:
    """A random prompt: kind, number, size and content of images, and instruction vary."""

    def draw(rng: np.random.Generator, *, side: int = 200, max_images: int = 3, reasoning: bool = False) -> Prompt:
        kind: TaskKind = "navigation" if rng.random() < 0.5 else "manipulation"
        count = int(rng.integers(1, max_images + 1))
        views = int(rng.integers(1, count + 1))
        images = []
        for _ in range(count):
            height, width = rng.integers(24, side, 2)
            image = np.empty((height, width, 3), dtype=np.uint8)
            image[:] = rng.integers(0, 256, 3)
            image[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
            images.append(image)
        words = rng.choice(["red", "chair", "left of", "sofa", "Ünïcode 汉字", "<|im_end|>", '"}', "\n", "\\"], 5)
        content: list[Any] = [" ".join(words)]
        for image in images:
            content.insert(int(rng.integers(0, len(content) + 1)), image)
        schema = plan_schema(kind, views, reasoning=reasoning)
        return Prompt("test/v1", "You plan for a robot.", tuple(content), schema)

    return draw
