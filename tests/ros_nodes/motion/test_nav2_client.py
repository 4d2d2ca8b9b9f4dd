"""Goals of Nav2 that are stopped before it has accepted them: cancelled on acceptance, or never sent."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="the client is rclpy's action client")

from geometry_msgs.msg import PoseStamped

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NavigationSettings
from si_embodied.types import Code


class Server:
    """Nav2 and rclpy's action client for it, in one."""

    def __init__(self, *_: Any) -> None:
        self.ready = True
        self.asked: list[Callable[[Any], None]] = []  # answers a goal that was sent
        self.cancelled = 0

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal: Any) -> Any:
        return SimpleNamespace(add_done_callback=self.asked.append)

    def accept(self) -> None:
        handle = SimpleNamespace(accepted=True, cancel_goal_async=self._cancel, get_result_async=self._result)
        self.asked.pop(0)(SimpleNamespace(result=lambda: handle))

    def _cancel(self) -> None:
        self.cancelled += 1

    def _result(self) -> Any:
        return SimpleNamespace(add_done_callback=lambda _: None)


@pytest.fixture
def nav2(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The client's module; where Nav2 is not installed, with a stand-in for its messages."""
    try:
        import nav2_msgs.action  # noqa: F401
    except ModuleNotFoundError:
        action: Any = ModuleType("nav2_msgs.action")
        action.NavigateToPose = type(
            "NavigateToPose",
            (),
            {"Goal": type("Goal", (), {"__init__": lambda self: setattr(self, "pose", PoseStamped())})},
        )
        monkeypatch.setitem(sys.modules, "nav2_msgs", ModuleType("nav2_msgs"))
        monkeypatch.setitem(sys.modules, "nav2_msgs.action", action)
        monkeypatch.delitem(sys.modules, "si_embodied.ros_nodes.motion.nav2_client", raising=False)
    module = importlib.import_module("si_embodied.ros_nodes.motion.nav2_client")
    monkeypatch.setattr(module, "ActionClient", Server)
    yield module
    sys.modules.pop("si_embodied.ros_nodes.motion.nav2_client", None)


@pytest.fixture
def navigator(nav2: Any) -> Any:
    clock = SimpleNamespace(now_s=10.0)
    made = nav2.Nav2Navigator(None, NavigationSettings(), "map", clock=lambda: clock.now_s)
    made.clock = clock
    return made


def test_a_goal_accepted_after_the_stop_is_cancelled_then(navigator: Any) -> None:
    server = navigator._client
    navigator.go(Pose.identity())
    assert not navigator.settled
    navigator.cancel()
    assert (server.cancelled, navigator.settled) == (0, False), "it waits for the answer, also when the node ends"
    server.accept()
    assert (server.cancelled, navigator.settled) == (1, True)


def test_a_goal_under_way_is_cancelled_at_once(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator._client.accept()
    navigator.cancel()
    assert navigator._client.cancelled == 1


def test_a_goal_is_sent_when_the_server_is_there_and_never_after_a_stop(navigator: Any) -> None:
    server = navigator._client
    server.ready = False
    navigator.go(Pose.identity())
    assert not server.asked
    server.ready = True
    assert navigator.poll() is None
    assert len(server.asked) == 1
    server.ready = False
    navigator.go(Pose.identity())
    navigator.cancel()
    server.ready = True
    assert navigator.poll() is None
    assert len(server.asked) == 1


def test_a_server_that_never_comes_is_a_time_out_and_gets_no_goal(navigator: Any) -> None:
    server = navigator._client
    server.ready = False
    navigator.go(Pose.identity())
    navigator.clock.now_s += 6.0
    outcome = navigator.poll()
    assert outcome.code is Code.TIMED_OUT
    server.ready = True
    navigator.poll()
    assert not server.asked
