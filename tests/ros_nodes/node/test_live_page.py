"""What the planner node shows to a page, with a runtime that needs no ROS."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from si_embodied import Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.backends.tapped import Tap
from si_embodied.embodiment import MobileBase
from si_embodied.live.folder import FolderSource
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node import live_page
from si_embodied.ros_nodes.node.live_page import LivePage
from si_embodied.ros_nodes.node.task_runner import Phase, TaskReport
from si_embodied.task import TaskProgress
from si_embodied.types import Code, Outcome, Refusal

pytest.importorskip("PIL")

GOTO = '{"subgoals":[{"skill":"goto","object":"red chair","view":1,"point":[500,500]}],"done":false}'


class Robot:
    """A runtime and a node in one, as far as the page looks at them."""

    def __init__(self, base: MobileBase, seen: Observation, folder: Path | None) -> None:
        self.planner = Planner(ScriptedBackend([GOTO]), base)
        self.settings = SimpleNamespace(live_folder="" if folder is None else str(folder), embodiment=base)
        self.info, self.tap, self.plan_inputs = self.planner.info, Tap(), None
        self.runner = SimpleNamespace(phase=Phase.IDLE)
        self.report: TaskReport | None = None
        self.sensors = SimpleNamespace(base_now=lambda: seen.T_map_base)
        self.sees: Observation | Refusal = seen
        self.looked = 0
        self.page = LivePage(self, self)  # type: ignore[arg-type]

    def look(self) -> Observation | Refusal:
        self.looked += 1
        return self.sees

    def get_fully_qualified_name(self) -> str:
        return "/planner"

    def decide(self, task: Task, seen: Observation) -> None:
        memory = Memory.for_planner(self.planner.config, task.kind)
        self.report = TaskReport(TaskProgress(task, memory), 0.0)
        decision = self.planner.plan(task, seen, memory, now_s=seen.stamp_s)
        self.report.progress.decided(decision, seen)
        self.page.on_decision(decision, seen)

    def shown(self, source: FolderSource) -> list[dict[str, Any]]:
        """What a tick shows to an open page."""
        source.news({})
        self.page._looked_s = -live_page.PERIOD_S - 1e9
        self.page.tick()
        assert self.page._drawer is not None
        self.page._drawer.wait(10.0)
        return [json.loads(news.data)["frame"] for news in source.news({}) if news.topic == "frame"]


@pytest.fixture
def robot(base: MobileBase, wall_ahead: Observation, tmp_path: Path) -> Robot:
    return Robot(base, wall_ahead, tmp_path)


def test_a_page_shows_the_cameras_before_any_task(robot: Robot, tmp_path: Path) -> None:
    (frame,) = robot.shown(FolderSource(tmp_path))
    assert (frame["status"], frame["instruction"], frame["plan"]) == ("idle", "no task yet", None)
    assert [each["caption"] for each in frame["pictures"]] == ["head"]
    assert frame["title"].endswith("on /planner")


def test_a_page_shows_the_plan_its_goal_and_how_the_task_ended(
    robot: Robot, tmp_path: Path, find_chair: Task, wall_ahead: Observation
) -> None:
    robot.decide(find_chair, wall_ahead)
    robot.runner.phase = Phase.EXECUTING
    source = FolderSource(tmp_path)
    (frame,) = robot.shown(source)
    assert (frame["status"], frame["instruction"]) == ("executing", find_chair.instruction)
    assert frame["plan"]["steps"] == ["goto red chair"]
    assert [mark["label"] for mark in frame["plan"]["pictures"][0]["marks"]] == ["1 goto red chair"]
    assert [goal["label"] for goal in frame["map"]["goals"]] == ["1 goto red chair"]
    assert frame["map"]["trail"] == [[0.0, 0.0]]
    assert robot.report is not None
    robot.report.progress.stop(Outcome(Code.EMERGENCY_STOP, "the emergency stop was set"))
    robot.runner.phase = Phase.IDLE
    (frame,) = robot.shown(source)
    assert frame["status"] == "failed: EMERGENCY_STOP the emergency stop was set"


def test_a_robot_that_sees_nothing_says_why_beside_its_last_image(robot: Robot, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    robot.shown(source)
    robot.sees = Refusal(Code.STALE_OBSERVATION, "the newest image is 4 s old")
    (frame,) = robot.shown(source)
    assert frame["status"] == "idle, STALE_OBSERVATION: the newest image is 4 s old"
    assert len(frame["pictures"]) == 1


def test_images_are_decoded_only_while_a_page_is_open(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, tmp_path: Path
) -> None:
    for folder in (None, tmp_path):
        robot = Robot(base, wall_ahead, folder)
        robot.decide(find_chair, wall_ahead)
        robot.page.tick()
        robot.page.close()
        assert robot.looked == 0
    assert list(tmp_path.iterdir()) == []


def test_between_two_looks_at_the_cameras_is_some_time(robot: Robot, tmp_path: Path) -> None:
    FolderSource(tmp_path).news({})
    for _ in range(5):
        robot.page.tick()
    assert robot.looked == 1
