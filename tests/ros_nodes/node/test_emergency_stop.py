"""A release of the emergency stop is not confirmed while there may be a watchdog that keeps it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from std_srvs.srv import SetBool

from si_embodied.ros_nodes.node import emergency_stop
from si_embodied.ros_nodes.node.planner_watch import DISCOVERY_S


class FakeNode:
    """Takes what the emergency stop creates. `watchdog` says whether its service has been found."""

    def __init__(self) -> None:
        self.watchdog, self.serve = False, None
        self.asked = 0

    def create_subscription(self, *_: Any, **__: Any) -> None:
        pass

    create_timer = create_subscription

    def create_publisher(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(publish=lambda _: None)

    def create_service(self, kind: type, name: str, serve: Any) -> None:
        self.serve = serve

    def create_client(self, *_: Any) -> Any:
        return SimpleNamespace(service_is_ready=lambda: self.watchdog, call_async=self._ask)

    def _ask(self, request: SetBool.Request) -> Any:
        self.asked += 1
        return SimpleNamespace(done=lambda: False, add_done_callback=lambda _: None)


def test_a_release_waits_until_a_watchdog_would_have_been_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(emergency_stop, "time", SimpleNamespace(monotonic=lambda: now_s))
    node = FakeNode()
    stop = emergency_stop.EmergencyStop(node, lambda: None)

    def ask(*, stopped: bool) -> Any:
        assert node.serve is not None
        return node.serve(SetBool.Request(data=stopped), SetBool.Response())

    assert ask(stopped=True).success
    answer = ask(stopped=False)
    assert not answer.success
    assert "looking for a watchdog" in answer.message
    assert stop.set
    node.watchdog = True
    assert ask(stopped=False).success
    assert node.asked == 1
    node.watchdog = False
    assert ask(stopped=True).success
    now_s += DISCOVERY_S + 0.1
    assert ask(stopped=False).success, "there is none"
    assert not stop.set
