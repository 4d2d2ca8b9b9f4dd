"""A watchdog comes up whatever its parameters are: a value that it cannot use keeps its default and is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from si_embodied.ros_nodes.node.goal_cancels import GoalCancels
from si_embodied.ros_nodes.node.parameters import declare_leniently
from si_embodied.ros_nodes.node.watchdog_settings import ACTIONS, WatchdogSettings


def read(**given: Any) -> tuple[WatchdogSettings, list[str]]:
    values = {name.replace("__", "."): value for name, value in given.items()}
    node = SimpleNamespace(declare_parameter=lambda name, default, _: SimpleNamespace(value=values.get(name, default)))
    return declare_leniently(node, WatchdogSettings)


def test_what_is_not_given_has_its_default() -> None:
    assert read() == (WatchdogSettings(), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0, 0.19, 5.1, 6, True, "0.5", None, [0.5]])
def test_a_timeout_that_would_switch_the_watchdog_off_is_refused_and_the_default_stays(value: Any) -> None:
    settings, refused = read(heartbeat_timeout_s=value, navigation__cmd_vel_stamped=True)
    assert settings.heartbeat_timeout_s == 0.5
    assert settings.navigation.cmd_vel_stamped, "only the one value is refused"
    assert len(refused) == 1
    assert refused[0].startswith("heartbeat_timeout_s keeps its default 0.5: expected ")


@pytest.mark.parametrize("value", [0.2, 1, 2.5, 5])
def test_a_timeout_may_be_an_integer(value: float) -> None:
    settings, refused = read(heartbeat_timeout_s=value)
    assert (settings.heartbeat_timeout_s, refused) == (float(value), [])


@pytest.mark.parametrize("value", [None, "navigate_to_pose", ["a b"], ["a", 3], ["a//b"], ["1a"], ["a/"], ["a" * 200]])
def test_actions_that_are_no_names_are_refused_and_the_default_stays(value: Any) -> None:
    settings, refused = read(watchdog_actions=value)
    assert settings.watchdog_actions == ACTIONS
    assert len(refused) == 1


@pytest.mark.parametrize("name", ["robot.tilt_topic", "arm.gripper_action"])
def test_a_name_with_a_space_is_refused_and_the_default_stays(name: str) -> None:
    settings, refused = read(**{name.replace(".", "__"): "head tilt"})
    assert settings == WatchdogSettings()
    assert refused[0].startswith(f"{name} keeps its default")


def test_names_that_ros_knows_are_accepted() -> None:
    settings, refused = read(watchdog_actions=["/robot1/follow_path", "_a/b2"], robot__tilt_topic="head/tilt")
    assert (settings.watchdog_actions, settings.robot.tilt_topic) == (("/robot1/follow_path", "_a/b2"), "head/tilt")
    assert not refused


class Client:
    """A cancel service that is there and never answers."""

    def __init__(self) -> None:
        self.pending: list[Any] = []
        self.sent = 0

    def service_is_ready(self) -> bool:
        return True

    def call_async(self, _: Any) -> Any:
        self.sent += 1
        self.pending.append(SimpleNamespace(done=lambda: False))
        return self.pending[-1]

    def remove_pending_request(self, future: Any) -> None:
        self.pending.remove(future)


def test_requests_to_a_cancel_service_that_never_answers_do_not_pile_up() -> None:
    client = Client()
    goals = GoalCancels(SimpleNamespace(create_client=lambda *_: client), ["navigate_to_pose", "navigate_to_pose", ""])
    for step in range(4000):  # 200 Hz for 20 s
        goals.send(step / 200)
        assert len(client.pending) == 1
    assert client.sent == 20
