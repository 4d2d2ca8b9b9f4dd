"""The play page's commands, as its script sends them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from si_embodied.backends.config import BackendConfig
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.live.board import Board
from si_embodied.play.app import MOST_BYTES, PlayApp
from si_embodied.play.session import PlaySession
from si_embodied.play.settings import PlaySettings

ANSWER = '{"answer": "a red cube"}'


class Page:
    """What a browser with the page open can do."""

    def __init__(self, session: PlaySession, board: Board) -> None:
        self.session, self.board = session, board
        self.client = TestClient(PlayApp(session, board).app)

    def do(self, **command: Any) -> dict[str, Any]:
        reply = self.client.post("/do", json=command)
        assert reply.status_code in (200, 400)
        told: dict[str, Any] = reply.json()
        return told

    def latest(self, topic: str) -> dict[str, Any]:
        (news,) = (each for each in self.board.news({}) if each.topic == topic)
        told: dict[str, Any] = json.loads(news.data)
        return told

    def until(self, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
        end_s = time.monotonic() + seconds
        while (state := self.latest("state"))["status"] not in statuses and time.monotonic() < end_s:
            time.sleep(0.02)
        assert state["status"] in statuses
        return state


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    board = Board()
    config = EvaluationConfig(env="si_embodied/Tabletop-v0", policy="perfect-pixels", task="base", seed=3, episodes=1)
    session = PlaySession(PlaySettings(config, tmp_path_factory.mktemp("play")), board)
    session.start()
    board.pages(1)
    yield Page(session, board)
    session.close()


def test_an_instruction_is_typed_and_the_episode_succeeds(page: Page) -> None:
    state = page.latest("state")
    assert (state["status"], state["kind"], state["can_save"]) == ("ready", "manipulation", False)
    assert page.do(do="instruct", instruction=state["instruction"])["said"] == "the world will say if it succeeds"
    ended = page.until("succeeded", "failed", "ended")
    assert (ended["status"], ended["news"]) == ("succeeded", "the world says that it succeeded")
    frame = page.latest("frame")
    assert frame["status"] == "succeeded"
    assert frame["plans"]
    assert frame["prompt"]["images"]
    assert frame["map"]["robot_name"] == "gripper"  # the dot is where the gripper is
    saved = page.do(do="save")["said"]
    assert Path(saved.rpartition(" in ")[2], "questions.jsonl").is_file()


def test_a_running_episode_is_stopped(page: Page) -> None:
    page.do(do="begin", seed=4)
    page.do(do="instruct", instruction="do anything at all")
    assert page.do(do="stop")["said"] == "stopped"
    assert page.latest("state")["status"] == "stopped"


def test_why_a_step_by_hand_failed_is_told_until_the_person_gives_another(page: Page) -> None:
    page.do(do="begin", seed=3)
    page.do(do="instruct", instruction="look", by_hand=True)
    page.until("your turn")
    bare = {"skill": "pick", "object": "object", "view": 0, "point": [500, 980]}  # the table's near edge
    page.do(do="act", subgoal=bare)
    told = page.until("your turn")["news"]
    assert told == "plan: failed (no_grasp): no object above its support at [500, 980] in the head view"
    page.do(do="act", subgoal={"skill": "home"})
    assert page.until("your turn")["news"] == ""
    page.do(do="stop")
    page.do(do="hand", by_hand=False)


def test_a_person_picks_by_hand_and_the_world_waits_for_their_next_plan(page: Page) -> None:
    page.do(do="begin", seed=3)
    page.do(do="hand", by_hand=True)
    page.do(do="instruct", instruction="look", by_hand=True)
    page.until("your turn")
    steps = page.latest("frame")["step"]
    assert page.do(do="act", subgoal={"skill": "home"})["said"] == "home"
    page.until("your turn")
    assert page.latest("frame")["step"] > steps
    assert page.latest("frame")["plan"]["model"].startswith("person")
    page.do(do="stop")
    page.do(do="hand", by_hand=False)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"do": "instruct", "instruction": "   "}, "the instruction is empty"),
        ({"do": "instruct"}, "instruction: Field required"),
        ({"do": "dance"}, "not a command"),
        ({"do": "act", "subgoal": {"skill": "fly"}}, "not a step that the robot can take"),
        ({"do": "act", "subgoal": {"skill": "turn", "degrees": 9000}}, "less than or equal to 180"),
        ({"do": "begin", "seed": -1}, "greater than or equal to 0"),
        ({"do": "begin", "seed": 1, "task": "juggle"}, "unknown task 'juggle'"),
        ({"do": "move", "name": "<b>", "x_m": 0, "y_m": 0}, "no object called '<b>'"),
        ({"do": "move", "name": "cube", "x_m": 1e9, "y_m": 0}, "less than or equal to 20"),
        ({"do": "ask", "question": "what is there?"}, "Perfect pixels answers no questions"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(page: Page, command: dict[str, Any], words: str) -> None:
    assert words in page.do(**command)["error"]


def test_a_command_that_is_no_json_or_too_long_is_refused(page: Page) -> None:
    assert "expected JSON" in page.client.post("/do", content=b"{").json()["error"]
    assert str(MOST_BYTES) in page.client.post("/do", content=b"x" * (MOST_BYTES + 1)).json()["error"]


def test_a_model_is_asked_about_what_the_robot_sees(tmp_path: Path) -> None:
    region = '[{"bbox_2d": [400, 300, 600, 500]}]'
    config = EvaluationConfig(
        env="si_embodied/Tabletop-v0", policy="planner", task="base", seed=3, episodes=1,
        backend=BackendConfig("scripted", script=(ANSWER, region)),
    )  # fmt: skip
    session = PlaySession(PlaySettings(config, tmp_path), Board())
    session.start()
    try:
        asked = session.ask("what is on the table?", camera="side")
        assert (asked.text, asked.camera) == ("a red cube", "side")
        found = session.ask("the cube", region=True)
        assert (found.point, found.box) == ((0.5, 0.4), (0.4, 0.3, 0.6, 0.5))
        assert found.position.endswith("m in the map")
        with pytest.raises(ValueError, match="no camera 'tail'; the robot has: head, side, wrist"):
            session.ask("where am I?", camera="tail")
    finally:
        session.close()


def test_a_world_that_cannot_be_opened_says_why_at_once(tmp_path: Path) -> None:
    config = EvaluationConfig(env="si_embodied/Tabletop-v0", policy="perfect-pixels", task="juggle", episodes=1)
    with pytest.raises(LookupError, match="unknown task 'juggle'"):
        PlaySession(PlaySettings(config, tmp_path), Board()).start()
