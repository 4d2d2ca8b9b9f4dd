"""A planning server's page."""

from __future__ import annotations

import threading
import time

import pytest

from si_embodied import Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import MobileBase
from si_embodied.live.frame import Frame
from si_embodied.memory import Memory

pytest.importorskip("PIL")
pytest.importorskip("msgpack")

from si_embodied.live.moment import LISTED_PLANS
from si_embodied.live.plans import LivePlans
from si_embodied.serving.messages import PlanRequest
from si_embodied.serving.service import PlanningService

TURN = '{"subgoals":[{"skill":"turn","degrees":30}],"done":false}'


class Slow:
    """A screen on which a drawing takes as long as it is held."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.frames: list[Frame] = []
        self.free = threading.Event()
        self.is_wanted = wanted

    def wanted(self) -> bool:
        return self.is_wanted

    def show(self, frame: Frame) -> None:
        self.free.wait(10.0)
        self.frames.append(frame)


@pytest.fixture
def request_(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> PlanRequest:
    config = PlannerConfig()
    memory = Memory.for_planner(config, "navigation")
    return PlanRequest("robot 7", base, config, find_chair, wall_ahead, memory, 10.0, 5.0)


def served(screen: Slow) -> PlanningService:
    return PlanningService(ScriptedBackend(lambda _: TURN), listener=LivePlans(screen, "scripted"))


def until(condition, seconds: float = 10.0) -> bool:
    end_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return bool(condition())


def test_a_served_plan_is_shown_with_its_prompt(request_: PlanRequest) -> None:
    screen = Slow()
    screen.free.set()
    served(screen).decide(request_, 0.25)
    assert until(lambda: screen.frames)
    (frame,) = screen.frames
    assert (frame.title, frame.instruction) == ("scripted: robot 7", "find the red chair")
    assert frame.plan is not None
    assert frame.plan.steps == ("turn 30",)
    assert frame.plan.latency_s["queue"] == 0.25
    assert frame.prompt is not None
    assert len(frame.prompt.images) == 1


def test_robots_do_not_wait_for_a_drawing_and_the_latest_plan_wins(request_: PlanRequest) -> None:
    screen = Slow()
    service = served(screen)
    for _ in range(LISTED_PLANS + 5):
        service.decide(request_, 0.0)
    screen.free.set()
    assert until(lambda: len(screen.frames) == 2)
    last = screen.frames[-1]
    assert last.step == LISTED_PLANS + 5
    assert [plan.number for plan in last.plans] == list(range(6, LISTED_PLANS + 6))
    assert last.plan is not None
    assert last.plan.number == LISTED_PLANS + 5


def test_nothing_is_drawn_while_no_page_is_open(request_: PlanRequest) -> None:
    screen = Slow(wanted=False)
    served(screen).decide(request_, 0.0)
    assert screen.frames == []
