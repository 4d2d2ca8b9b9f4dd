"""Cancels every goal of Nav2 and MoveIt, whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from action_msgs.srv import CancelGoal

_ANSWERED_S = 1.0
"""A request that is not answered by then is dropped: rclpy would remember it for ever."""


class GoalCancels:
    """Calls the cancel service of each action. One request per action is under way at a time; nothing blocks."""

    def __init__(self, node: Any, actions: Iterable[str]) -> None:
        """Create a client for each action, given by its name."""
        names = [f"{action}/_action/cancel_goal" for action in dict.fromkeys(actions) if action]
        self._clients = [node.create_client(CancelGoal, name) for name in names]
        self._pending: dict[Any, tuple[Any, float]] = {}  # by client: its future, and when it was sent

    def send(self, now_s: float) -> None:
        """Cancel all goals of every action that is there: a request without id and stamp means all of them."""
        for client in self._clients:
            future, sent_s = self._pending.get(client, (None, 0.0))
            if future is not None and not future.done():
                if now_s - sent_s < _ANSWERED_S:
                    continue
                client.remove_pending_request(future)
            self._pending.pop(client, None)
            if client.service_is_ready():
                self._pending[client] = client.call_async(CancelGoal.Request()), now_s
