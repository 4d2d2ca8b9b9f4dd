"""The order of commands that arrive on several topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GoalOrder:
    """Tells stops of the goals before from stops of the newest goal.

    The planner leaves 0.2 s between them, but a driver that renders images may be busy for longer, and then read a goal
    first and the stops that were published before it afterwards. By the time of publication they are told apart, on one
    machine or on machines with synchronised clocks.
    """

    def __init__(self) -> None:
        """No goal yet."""
        self._newest_ns = 0

    def goal(self, info: Mapping[str, Any]) -> None:
        """Take in the message info of a goal."""
        self._newest_ns = max(self._newest_ns, int(info["source_timestamp"]))

    def outdated(self, info: Mapping[str, Any]) -> bool:
        """Whether a stop was published before the newest goal, and so is none of it."""
        return int(info["source_timestamp"]) < self._newest_ns
