"""The boundary around every callback: an exception becomes a counted, named refusal, and the robot holds."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from si_embodied.errors import SiEmbodiedError

_LONGEST = 300
"""Characters of a reason that are kept."""


class Boundary:
    """Wraps callbacks. Nothing that arrives can end the node, or keep it from stopping."""

    def __init__(self, log: Callable[[str], None], hold: Callable[[str], None]) -> None:
        """Start with no refusals.

        Args:
            log: told about a refusal when a source's count reaches a power of two.
            hold: stops the robot, given the reason; it may raise.
        """
        self._log, self._hold = log, hold
        self.refused: Counter[str] = Counter()  # by source, for example "navigation/outcome"
        self.last = ""  # the last refusal: source and reason

    def guard(self, source: str, callback: Callable[..., Any], *, otherwise: Any = None) -> Callable[..., Any]:
        """The callback, returning `otherwise` (called, if it is a function of the arguments) when it raises."""

        @functools.wraps(callback)  # rclpy reads from its signature what a callback takes
        def call(*args: Any) -> Any:
            try:
                return callback(*args)
            except Exception as error:  # noqa: BLE001 - this is the boundary
                self.refuse(source, error)
                return otherwise(*args) if callable(otherwise) else otherwise

        @functools.wraps(callback)
        async def call_later(*args: Any) -> Any:
            try:
                return await callback(*args)
            except Exception as error:  # noqa: BLE001
                self.refuse(source, error)
                return otherwise(*args) if callable(otherwise) else otherwise

        return call_later if inspect.iscoroutinefunction(callback) else call

    def refuse(self, source: str, error: Exception) -> None:
        """Count a refusal, log it, and hold the robot."""
        reason = str(error) if isinstance(error, SiEmbodiedError) else f"{type(error).__name__}: {error}"
        self.refused[source] += 1
        count, self.last = self.refused[source], f"{source}: {reason}"[:_LONGEST]
        if count & (count - 1) == 0:
            unforeseen = "" if isinstance(error, SiEmbodiedError) else "\n" + "".join(traceback.format_exception(error))
            self._log(f"refused {self.last} ({count} from {source} so far){unforeseen[-4000:]}")
        try:
            self._hold(self.last)
        except Exception:  # noqa: BLE001 - log it; there is nothing left to try
            self._log(f"holding failed:\n{traceback.format_exc()[-4000:]}")
