"""Nav2 is late, missing, rejects a goal or fails it. A stopped goal is cancelled once accepted, or never sent.

Over real processes: tests/ros/test_nav2.py.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="the client is rclpy's action client")

from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseStamped

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NavigationSettings
from si_embodied.types import Code


class Server:
    """Nav2 and rclpy's action client for it, in one."""

    def __init__(self, *_: Any) -> None:
        self.ready = True
        self.asked: list[Callable[[Any], None]] = []  # answers a goal that was sent
        self.results: list[Callable[[Any], None]] = []  # reports the end of an accepted goal
        self.cancelled = 0

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal: Any) -> Any:
        return SimpleNamespace(add_done_callback=self.asked.append)

    def accept(self, *, accepted: bool = True) -> None:
        handle = SimpleNamespace(accepted=accepted, cancel_goal_async=self._cancel, get_result_async=self._result)
        self.asked.pop(0)(SimpleNamespace(result=lambda: handle))

    def _cancel(self) -> None:
        self.cancelled += 1

    def _result(self) -> Any:
        return SimpleNamespace(add_done_callback=self.results.append)

    def end(self, status: int, error_code: int = 0) -> None:
        answer = SimpleNamespace(status=status, result=SimpleNamespace(error_code=error_code, error_msg=""))
        self.results.pop(0)(SimpleNamespace(result=lambda: answer))


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
    made.clock, made.steady = clock, SimpleNamespace(now_s=50.0)
    made._unanswered.steady_s = lambda: made.steady.now_s
    return made


def test_a_goal_accepted_after_the_stop_is_cancelled_then(navigator: Any) -> None:
    server = navigator._client
    navigator.go(Pose.identity())
    assert not navigator.settled
    navigator.cancel()
    assert (server.cancelled, navigator.settled) == (0, False), "a node that shuts down still waits for Nav2's response"
    server.accept()
    assert (server.cancelled, navigator.settled) == (1, True)


def test_a_mute_nav2_that_never_answers_a_dropped_goal_is_given_up_in_time(navigator: Any) -> None:
    """Found, but hung: it is waited for `server_timeout_s`, 5 s; what it accepts after that is still cancelled."""
    server = navigator._client
    navigator.go(Pose.identity())
    navigator.steady.now_s += 4.0
    navigator.cancel()
    navigator.steady.now_s += 4.9
    navigator.cancel()  # again, as when the node is deactivated after the task has ended
    assert not navigator.settled
    navigator.steady.now_s += 0.2
    assert navigator.settled
    server.accept()
    assert (server.cancelled, navigator.settled) == (1, True)


def test_a_goal_is_settled_at_once_when_nav2_is_gone(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator.cancel()
    assert not navigator.settled
    navigator._client.ready = False
    assert navigator.settled


def test_a_goal_that_is_still_wanted_is_never_settled_unanswered(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator._client.ready = False
    navigator.steady.now_s += 100.0
    assert not navigator.settled


def test_goals_that_a_mute_nav2_never_answers_do_not_pile_up(navigator: Any) -> None:
    for _ in range(100):
        navigator.go(Pose.identity())
        navigator.steady.now_s += 10.0
    assert len(navigator._unanswered._clients) <= 3


def test_a_goal_under_way_is_cancelled_at_once(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator._client.accept()
    navigator.cancel()
    assert navigator._client.cancelled == 1


@pytest.mark.promise(recovers="when Nav2 is up")
def test_a_goal_is_sent_once_nav2_is_up_and_never_after_a_stop(navigator: Any) -> None:
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


def test_nav2_that_never_comes_up_is_timed_out_and_gets_no_goal(navigator: Any) -> None:
    server = navigator._client
    server.ready = False
    navigator.go(Pose.identity())
    navigator.clock.now_s += 6.0
    outcome = navigator.poll()
    assert outcome.code is Code.TIMED_OUT
    server.ready = True
    navigator.poll()
    assert not server.asked


@pytest.mark.promise(recovers="with the next goal")
def test_a_goal_that_nav2_rejects_is_unreachable_and_the_next_one_is_sent(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator._client.accept(accepted=False)
    assert navigator.poll().code is Code.UNREACHABLE
    assert navigator.settled
    navigator.go(Pose.identity())
    assert len(navigator._client.asked) == 1


@pytest.mark.parametrize(
    ("error_code", "code"),
    [(106, Code.BLOCKED), (202, Code.NO_TRANSFORM), (204, Code.OUT_OF_WORKSPACE), (208, Code.UNREACHABLE)],
)
def test_a_goal_that_nav2_aborts_is_a_failure_with_its_reason(navigator: Any, error_code: int, code: Code) -> None:
    navigator.go(Pose.identity())
    navigator._client.accept()
    navigator._client.end(GoalStatus.STATUS_ABORTED, error_code)
    assert navigator.poll().code is code


def test_a_goal_that_takes_too_long_is_timed_out_and_cancelled(navigator: Any) -> None:
    navigator.go(Pose.identity())
    navigator._client.accept()
    navigator.clock.now_s += NavigationSettings().goal_timeout_s + 1.0
    assert navigator.poll().code is Code.TIMED_OUT
    assert navigator._client.cancelled == 1


def test_the_result_of_an_older_goal_does_not_end_the_current_one(navigator: Any) -> None:
    server = navigator._client
    navigator.go(Pose.identity())
    server.accept()
    navigator.go(Pose.identity())
    server.accept()
    server.end(GoalStatus.STATUS_SUCCEEDED)
    assert navigator.poll() is None
    server.end(GoalStatus.STATUS_SUCCEEDED)
    assert navigator.poll().code is Code.OK
