"""Remembered views and objects, when the clock or the map frame jumps, or depth is bad: they never become a goal."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import RAMP, Robot, depth, transform
from tf2_msgs.msg import TFMessage

from si_embodied import Code, Execute, Hold, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node.task_runner import Phase, TaskRunner
from si_embodied.ros_nodes.sensing.map_watch import MapWatch
from si_embodied.types import CameraFrame, Decision, Refusal

SHOWN = PlannerConfig(prompts=Prompts(navigation="nav/v2"))
GOTO = {"skill": "goto", "object": "wall", "view": 1, "point": [500, 500]}
WALL_M = 3.0


def viewed(observation: Observation, stamp_s: float, yaw: float = 0.0, **changes: Any) -> Observation:
    """The wall 3 m ahead, from another direction and at another time."""
    turned = Pose.planar(0.0, 0.0, yaw)
    (frame,) = observation.frames
    frame = dataclasses.replace(frame, stamp_s=stamp_s, T_map_camera=turned @ frame.T_map_camera, **changes)
    return Observation(stamp_s, (frame,), turned)


# --- jumps ------------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A robot before the wall, whose planner goes to the first of the images that it is shown."""

    wall_ahead: Observation
    base: MobileBase
    now_s: float = 100.0
    yaw: float = 0.0
    asked: list[Memory] = field(default_factory=list)  # the memory of each request
    outcome: Outcome | None = None
    answering: bool = True
    settled = True

    def __post_init__(self) -> None:
        answer = json.dumps({"subgoals": [GOTO], "done": False})
        self.planner = Planner(ScriptedBackend(lambda _: answer), self.base, SHOWN)
        self.answer: Decision | None = None
        worker: Any = SimpleNamespace(reset=self.drop, submit=self.submit, poll=self.take)
        robot: Any = self
        self.runner = TaskRunner(
            worker=worker, planner=self.planner, viewer=robot, client=robot, clock=lambda: self.now_s,
            steady_s=lambda: self.now_s,
        )  # fmt: skip
        self.runner.start(Task("go to the wall", "navigation"), 1e6)

    def submit(self, task: Task, observation: Observation, memory: Memory) -> None:
        self.asked.append(memory)
        self.answer = self.planner.plan(task, observation, memory, now_s=self.now_s)

    def take(self) -> Decision | None:
        answer = self.answer if self.answering else None
        self.answer = None if answer else self.answer
        return answer

    def drop(self) -> None:
        self.answer = None

    def observe(self, after_s: float) -> Observation:
        return viewed(self.wall_ahead, self.now_s, self.yaw)

    def base_now(self) -> Pose:
        return Pose.planar(0.0, 0.0, self.yaw)

    def start(self, goal: Any, T_map_base: Pose) -> None:
        """Does not move."""

    def poll(self) -> Outcome | None:
        outcome, self.outcome = self.outcome, None
        return outcome

    def cancel(self) -> None:
        """Has nothing to cancel."""

    def until(self, phase: Phase) -> None:
        for _ in range(20):
            if self.runner.phase is phase:
                return
            self.now_s += 0.05
            self.runner.tick()
        raise AssertionError(f"still {self.runner.phase.name}")

    def look_about(self) -> None:
        """Turn while the goal is carried out, and end it."""
        for _ in range(3):
            self.now_s, self.yaw = self.now_s + 1.0, self.yaw + 1.0
            self.runner.saw(self.observe(0.0))
        self.outcome = Outcome(Code.BLOCKED)
        self.now_s += 0.05
        self.runner.tick()

    @property
    def memory(self) -> Memory:
        assert self.runner.report is not None
        return self.runner.report.progress.memory


@pytest.fixture
def world(wall_ahead: Observation, base: MobileBase) -> World:
    """With views and an object in its memory; the next plan is due."""
    world = World(wall_ahead, base)
    world.until(Phase.EXECUTING)
    world.look_about()
    assert len(world.memory.keyframes) >= 2
    assert [seen.name for seen in world.memory.objects] == ["wall"]
    return world


def test_after_a_jump_no_plan_is_shown_what_was_seen_before_it(world: World) -> None:
    """Of the clock, whose stamps mean another time now, or of the map, in which everything is somewhere else."""
    jumped_s = world.now_s
    world.runner.forget()
    world.until(Phase.EXECUTING)
    memory = world.asked[-1]
    assert all(view.stamp_s > jumped_s for view in memory.keyframes)
    assert (memory.before, memory.objects) == (None, ())
    assert [attempt.description for attempt in memory.attempts] == ["goto wall"], "what was tried still counts"


@pytest.mark.promise(recovers="with the next image")
def test_a_plan_in_the_making_when_the_map_jumps_is_made_again(world: World) -> None:
    world.answering = False
    world.until(Phase.PLANNING)
    asked = len(world.asked)
    world.runner.forget()
    assert (world.runner.phase, world.answer) == (Phase.OBSERVING, None)
    world.answering = True
    world.until(Phase.EXECUTING)
    assert len(world.asked) == asked + 1


def test_the_next_task_after_a_jump_knows_nothing_from_before_it(world: World) -> None:
    world.runner.end(Code.CANCELED, "the test")
    world.runner.forget()
    world.runner.start(Task("go back", "navigation"), 1e6)
    assert (world.memory.keyframes, world.memory.objects) == ((), ())


def test_a_view_from_after_the_present_is_never_shown(wall_ahead: Observation) -> None:
    """The clock was set back, and nobody has noticed yet."""
    memory = Memory().saw(viewed(wall_ahead, 500.0)).planned(viewed(wall_ahead, 501.0, 1.0))
    assert memory.recall(viewed(wall_ahead, 10.0)).keyframes == ()


@pytest.mark.parametrize(("correction_m", "jumps"), [(3.0, True), (0.2, False)])
def test_a_map_frame_that_jumps_is_noticed_by_the_odometry(correction_m: float, jumps: bool) -> None:
    robot = Robot()
    watch = MapWatch(lambda: robot.sensors.transforms.latest("map", "odom"))

    def localised(x: float) -> str:
        robot.node.now_s += 0.1
        stamp_s = robot.node.now_s
        placed = transform("map", "odom", Pose.planar(x, 0.0, 0.0), stamp_s)
        driven = transform("odom", "base_link", Pose.identity(), stamp_s)
        robot.node.send("/tf", TFMessage(transforms=[placed, driven]))
        return watch.check()

    assert not localised(0.0)
    assert bool(localised(correction_m)) is jumps
    assert not localised(correction_m)


# --- depth ------------------------------------------------------------------------------------------------------------


def remembering(wall_ahead: Observation, depth_m: np.ndarray | None) -> Memory:
    """A memory whose only view has this depth."""
    view: CameraFrame = viewed(wall_ahead, 5.0, depth_m=depth_m).frames[0]
    return dataclasses.replace(Memory.for_planner(SHOWN, "navigation"), keyframes=(view,))


def decided(base: MobileBase, observation: Observation, memory: Memory) -> Decision:
    planner = Planner(ScriptedBackend([json.dumps({"subgoals": [GOTO], "done": False})]), base, SHOWN)
    return planner.plan(Task("go to the wall", "navigation"), observation, memory)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
@pytest.mark.promise(code="DEPTH_INVALID")
def test_a_point_in_a_remembered_view_without_depth_there_is_refused(
    base: MobileBase, wall_ahead: Observation, value: float
) -> None:
    good = np.full((100, 100), WALL_M, np.float32)
    assert isinstance(decided(base, wall_ahead, remembering(wall_ahead, good)), Execute)
    bad = good.copy()
    bad[40:60, 40:60] = value
    hold = decided(base, wall_ahead, remembering(wall_ahead, bad))
    assert isinstance(hold, Hold)
    assert hold.code is Code.DEPTH_INVALID


@pytest.mark.promise(code="NO_DEPTH")
def test_a_remembered_view_whose_depth_is_missing_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    """A plan's own view is remembered even without depth, to show what its goals have changed."""
    memory = Memory.for_planner(SHOWN, "navigation").planned(viewed(wall_ahead, 5.0, depth_m=None))
    hold = decided(base, wall_ahead, memory)
    assert isinstance(hold, Hold)
    assert hold.code is Code.NO_DEPTH


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
def test_a_view_without_any_depth_is_not_kept(wall_ahead: Observation, value: float) -> None:
    empty = viewed(wall_ahead, 5.0, depth_m=np.full((100, 100), value, np.float32))
    assert Memory().saw(empty).keyframes == ()


def test_a_view_whose_depth_is_refused_is_never_seen() -> None:
    """Millimetres labelled as metres: the node has no observation to remember."""
    robot = Robot()
    robot.step(depth=depth(RAMP * 1000))
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_DEPTH
