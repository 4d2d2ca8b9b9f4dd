"""Time-outs that clients ask for: none keeps the planner waiting without end."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
from rclpy.action import GoalResponse
from sensor_msgs.msg import Image
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.srv import AskSpatial

from si_embodied.config import PlannerConfig
from si_embodied.ros_nodes.node import task_server
from si_embodied.ros_nodes.node.boundary import Boundary
from si_embodied.ros_nodes.node.question_server import AskSpatialServer
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.node.task_server import TaskServer
from si_embodied.ros_nodes.node.timeouts import timeout_refusal
from si_embodied.types import Code

ENDLESS = (math.inf, math.nan, -1.0, 1e6)
PICTURE = Image(width=20, height=10, encoding="rgb8", step=60, data=bytes(600))


def test_the_limit_itself_is_accepted_in_the_precision_of_the_message() -> None:
    assert float(np.float32(0.1)) > 0.1
    assert timeout_refusal(float(np.float32(0.1)), 0.1, "limit") == ""
    assert timeout_refusal(0.0, 0.1, "limit") == ""


@pytest.mark.parametrize("asked_s", ENDLESS)
def test_a_refusal_names_the_value_and_the_limit(asked_s: float) -> None:
    words = timeout_refusal(asked_s, 3.0, "planner.deadline_s")
    assert f"got: {asked_s:g}" in words
    assert "3 s (planner.deadline_s)" in words


class Node:
    """A planner node as its servers see it."""

    def __init__(self) -> None:
        self.active, self.warnings = True, list[str]()
        self.boundary = Boundary(self.warnings.append, lambda _: None)
        self.executor = SimpleNamespace(create_task=lambda work, *args: work(*args))

    def create_service(self, *_: Any) -> None: ...
    def create_subscription(self, *_: Any) -> None: ...

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=self.warnings.append)


class Asker:
    """Notes how long each question may take."""

    def __init__(self) -> None:
        self.deadlines_s: list[float] = []

    def ask(self, images: Any, question: str, *, deadline_s: float) -> str:
        self.deadlines_s.append(deadline_s)
        return "yes"


def asked(asker: Asker, timeout_s: float) -> Any:
    """The response to a question with this time-out, where `planner.deadline_s` is 3 s."""
    server = AskSpatialServer(Node())  # type: ignore[arg-type]
    settings = NodeSettings(planner=PlannerConfig(deadline_s=3.0))
    server.attach(SimpleNamespace(asker=asker, settings=settings))  # type: ignore[arg-type]
    request = AskSpatial.Request(question="is it red?", images=[PICTURE], timeout_s=timeout_s)
    answering, end_s = server._on_question(request, AskSpatial.Response()), time.monotonic() + 10
    try:
        while time.monotonic() < end_s:
            answering.send(None)  # type: ignore[attr-defined]
            time.sleep(0.001)
    except StopIteration as done:
        return done.value
    finally:
        server.detach("the test has ended")
    raise TimeoutError("no response")


@pytest.mark.parametrize("timeout_s", ENDLESS)
def test_an_endless_question_is_refused_and_the_model_is_not_asked(timeout_s: float) -> None:
    asker = Asker()
    response = asked(asker, timeout_s)
    assert response.code == int(Code.PLAN_INVALID)
    assert f"got: {timeout_s:g}" in response.message
    assert asker.deadlines_s == []


@pytest.mark.parametrize(("timeout_s", "deadline_s"), [(0.0, 3.0), (1.5, 1.5), (3.0, 3.0)])
def test_a_question_takes_at_most_the_deadline_of_a_plan(timeout_s: float, deadline_s: float) -> None:
    asker = Asker()
    assert asked(asker, timeout_s).answer == "yes"
    assert asker.deadlines_s == [deadline_s]


@pytest.mark.parametrize(
    ("timeout_s", "response"),
    [
        *((timeout_s, GoalResponse.REJECT) for timeout_s in ENDLESS),
        (0.0, GoalResponse.ACCEPT),
        (86_400.0, GoalResponse.ACCEPT),
    ],
)
def test_a_task_without_end_is_rejected(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, response: GoalResponse
) -> None:
    actions: list[dict[str, Any]] = []
    monkeypatch.setattr(task_server, "ActionServer", lambda *_, **callbacks: actions.append(callbacks))
    node = Node()
    TaskServer(node, lambda _: "")  # type: ignore[arg-type]
    goal = PlanTask.Goal(instruction="go to the chair", timeout_s=timeout_s)
    assert actions[0]["goal_callback"](goal) is response
    refused = response is GoalResponse.REJECT
    assert node.warnings == ([f"task rejected: {timeout_refusal(timeout_s, 86_400.0, 'a day')}"] if refused else [])
