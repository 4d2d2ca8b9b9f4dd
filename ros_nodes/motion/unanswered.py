"""The goals that action servers were sent and have neither accepted nor rejected. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Client(Protocol):
    """What is used of rclpy's action client."""

    def server_is_ready(self) -> bool:
        """Whether its server is there."""


@dataclass(slots=True)
class UnansweredGoals:
    """Whether a goal may still be accepted. Times are of the steady clock: simulated time may stand still.

    A goal that was dropped counts until it is answered, its server is gone, or `most_s` have passed: a server that is
    found but never answers does not keep the planner waiting for ever. A goal that is not dropped counts always.
    """

    most_s: float  # how long an answer to a dropped goal is waited for
    steady_s: Callable[[], float] = time.monotonic
    _clients: dict[int, Client] = field(default_factory=dict)  # by the ticket of the goal
    _dropped_s: dict[int, float] = field(default_factory=dict)
    _sent: int = 0

    def sent(self, client: Client) -> int:
        """A goal was sent by this client. Returns the goal's ticket."""
        self._sent += 1
        self._clients[self._sent] = client
        return self._sent

    def answered(self, ticket: int) -> None:
        """The goal was accepted or rejected."""
        self._clients.pop(ticket, None)
        self._dropped_s.pop(ticket, None)

    def drop(self) -> None:
        """None of the goals sent so far is wanted any more."""
        now_s = self.steady_s()
        for ticket in [each for each in self._clients if not self._may_be_accepted(each)]:
            self.answered(ticket)
        for ticket in self._clients:
            self._dropped_s.setdefault(ticket, now_s)

    @property
    def settled(self) -> bool:
        """Whether no goal may still be accepted."""
        return not any(self._may_be_accepted(ticket) for ticket in self._clients)

    def _may_be_accepted(self, ticket: int) -> bool:
        dropped_s = self._dropped_s.get(ticket)
        if dropped_s is None:
            return True
        return self.steady_s() - dropped_s < self.most_s and self._clients[ticket].server_is_ready()
