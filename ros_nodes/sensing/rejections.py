"""The boundary of every callback: whatever a message raises becomes a counted, named refusal, and the node lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

_MOST_SOURCES = 100
"""Names come from messages (frames, for one), so their number is bounded."""
_OTHERS = "others"


class Rejections:
    """Counts the messages that were dropped, by their source, with the last reason."""

    def __init__(self, log: Callable[[str], None] = lambda _: None) -> None:
        """`log` is told the first reason of each source, and whenever a source's count reaches a power of two."""
        self._log = log
        self._counts: Counter[str] = Counter()
        self.last = ""  # the last reason, with its source

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages dropped so far, by their source."""
        return dict(self._counts)

    def add(self, source: str, reason: object) -> None:
        """Count a dropped message."""
        if source not in self._counts and len(self._counts) >= _MOST_SOURCES:
            source = _OTHERS
        self._counts[source] += 1
        count = self._counts[source]
        self.last = f"{source}: {reason}"[:500]
        if count & (count - 1) == 0:
            self._log(f"dropped message {count} of {self.last}")

    def guarded(self, source: str, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """The callback of a subscription that never raises."""

        def call(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:  # noqa: BLE001 - nothing that arrives may end the node
                self.add(source, f"{type(error).__name__}: {error}")

        return call
