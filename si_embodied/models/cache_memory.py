"""The memory of what a local model keeps between prompts, and how it is shared out."""

from __future__ import annotations

from dataclasses import dataclass

CACHE_MB = 1536
"""Enough for three prompts of 3,000 tokens to an 8B model, each with its image features."""


@dataclass(frozen=True, slots=True)
class CacheMemory:
    """Size limits of a model's three stores, in bytes. Answers do not depend on them, only how soon they come."""

    prompts: int  # key/value caches of prompts that the next ones continue, on the model's device
    features: int  # what the vision tower computed from images, on the model's device
    pixels: int  # images as model inputs, on the host

    @classmethod
    def of(cls, megabytes: int) -> CacheMemory:
        """Two thirds for the caches of prompts, and a sixth each for features and pixels."""
        sixth = (megabytes << 20) // 6
        return cls((megabytes << 20) - 2 * sixth, sixth, sixth)


USUAL = CacheMemory.of(CACHE_MB)
