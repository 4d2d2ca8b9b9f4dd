"""Ends a text that arrives in pieces before a stop string."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stops:
    """Ends a text before the first stop string, and holds back what could be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """End before any of these."""
        self._stops, self._held = stops, ""
        self.found = False

    def feed(self, text: str, *, last: bool = False) -> str:
        """The text that may be sent after `text` has been written; with `last`, all that was held back."""
        text = self._held + text
        ends = [end for end in (text.find(stop) for stop in self._stops) if end >= 0]
        if ends:
            self._held, self.found = "", True
            return text[: min(ends)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
