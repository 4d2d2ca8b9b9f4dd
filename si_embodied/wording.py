"""Numbers as a sentence says them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """A number of things: "1 episode", "2,000 episodes"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Sorted seeds: "0 to 2, 5"; a range is told by its ends."""
    if isinstance(seeds, range) and seeds.step == 1 and len(seeds) > 1:
        return f"{seeds[0]} to {seeds[-1]}"
    parts: list[str] = []
    for _, together in itertools.groupby(enumerate(seeds), lambda each: each[1] - each[0]):
        first, *rest = [seed for _, seed in together]
        parts.append(f"{first} to {rest[-1]}" if rest else str(first))
    return ", ".join(parts) or "none"
