"""Questions to the planner node, with a robot in front of a wall, each in its own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from si_embodied_msgs.msg import Plan
from si_embodied_msgs.srv import AskSpatial

from si_embodied.types import Code

Ros = Any  # of conftest.py
PLANNER, ROBOT = ["-m", "si_embodied.ros_nodes.planner_node"], [str(Path(__file__).parent / "wall_robot.py")]
WALL_M, SOON_S, STARTS_S = 3.0, 30.0, 60.0
WIDTH, HEIGHT = 64, 48  # of the robot's images
BOX = json.dumps([{"bbox_2d": [400, 300, 600, 500]}])  # straight ahead, above the horizon: the wall
WORDS = json.dumps({"answer": "a grey wall"})


def asked(ros: Ros, **request: Any) -> Any:
    return ros.call(AskSpatial, "planner/ask", AskSpatial.Request(**request))


def started(ros: Ros, *script: str, **more: Any) -> Ros:
    ros.start(ROBOT, {})
    parameters = {"backend": "scripted", "script": "\n".join(script), "navigation.navigator": "topic", **more}
    ros.start(PLANNER, {"autostart": True, **parameters})
    ros.wait(lambda: ros.node.count_publishers("planner/plan"), STARTS_S, "the planner")
    return ros


@pytest.fixture(scope="module")
def where(shared_ros: Ros) -> Ros:
    """A planner whose model always points at the wall."""
    started(shared_ros, BOX)
    shared_ros.wait(lambda: asked(shared_ros, question="wall", region=True).code == 0, STARTS_S, "the first image")
    return shared_ros


def test_a_region_has_pixels_and_a_map_position(where: Ros) -> None:
    answer = asked(where, question="the wall", region=True)
    assert (answer.code, answer.has_box, answer.has_point, answer.has_position) == (0, True, True, True)
    left, top, right, bottom = answer.box
    assert (left, right) == pytest.approx((0.4 * WIDTH, 0.6 * WIDTH), abs=1.0)
    assert (top, bottom) == pytest.approx((0.3 * HEIGHT, 0.5 * HEIGHT), abs=1.0)
    assert answer.header.frame_id == "map"
    assert answer.position.x == pytest.approx(WALL_M, abs=0.02)


def test_an_image_in_the_request_has_no_map_position(where: Ros) -> None:
    picture = Image(width=20, height=10, encoding="rgb8", step=60, data=bytes(600))
    answer = asked(where, question="the wall", region=True, images=[picture])
    assert (answer.code, answer.has_box, answer.has_position) == (0, True, False)
    assert tuple(answer.point) == pytest.approx((10.0, 4.0), abs=1.0)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"question": " "}, Code.PLAN_INVALID, "empty"),
        ({"question": "what? " * 1000}, Code.INSTRUCTION_TOO_LONG, "6000 characters, more than 2000"),
        ({"question": "the wall", "camera": "wrist"}, Code.NO_IMAGE, "the cameras are head"),
        ({"question": "the wall", "images": [Image(encoding="yuv", width=1, height=1)]}, Code.NO_IMAGE, "encoded as"),
        ({"question": "the wall", "region": True, "images": [Image(), Image()]}, Code.NO_IMAGE, "one image"),
        ({"question": "what is this?"}, Code.BACKEND_FAILED, 'an "answer"'),  # and the model points instead
    ],
)
def test_a_refused_question_has_a_code(where: Ros, request_: dict[str, Any], code: Code, words: str) -> None:
    answer = asked(where, **request_)
    assert answer.code == int(code)
    assert words in answer.message


def test_a_question_is_answered_while_a_task_runs(ros: Ros) -> None:
    """Both use one model: the plan waits for the answer or the answer for the plan, and both arrive."""
    plans = ros.listen(Plan, "planner/plan")
    started(ros, WORDS, script_delay_s=0.5)
    ros.wait(lambda: asked(ros, question="what is this?").code == 0, STARTS_S, "the first image")
    ros.task()
    answers = [asked(ros, question="what is this?") for _ in range(3)]
    assert [(each.code, each.answer) for each in answers] == [(0, "a grey wall")] * 3
    ros.wait(lambda: plans, SOON_S, "a plan")
    assert plans[0].code == int(Code.PLAN_INVALID), "words are not a plan"


def test_cleanup_answers_waiting_questions(ros: Ros) -> None:
    started(ros, WORDS, script_delay_s=8.0)
    client = ros.node.create_client(AskSpatial, "planner/ask")
    ros.wait(client.service_is_ready, STARTS_S, "the service")
    picture = Image(width=2, height=1, encoding="rgb8", step=6, data=bytes(6))
    waiting = client.call_async(AskSpatial.Request(question="what is this?", images=[picture]))
    ros.wait(lambda: ros.change(Transition.TRANSITION_DEACTIVATE), SOON_S, "deactivation")
    assert ros.change(Transition.TRANSITION_CLEANUP)
    assert ros.result(waiting, SOON_S, "an answer").code == int(Code.CANCELED)
    assert ros.change(Transition.TRANSITION_CONFIGURE), "and it can be configured again"
