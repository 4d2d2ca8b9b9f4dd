"""Stopping and dying, on the core with simulated clocks: what the task loop and the watchdog do. No ROS.

Over real processes: tests/ros/test_watchdog.py and test_stopping.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.backends.base import BackendInfo
from si_embodied.config import PlannerConfig
from si_embodied.errors import MessageError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.boundary import Boundary
from si_embodied.ros_nodes.node.planner_watch import (
    DISCOVERY_S,
    LISTENS_S,
    NOBODY,
    Beat,
    Permission,
    PlannerWatch,
    StopsHeard,
)
from si_embodied.ros_nodes.node.stop_latch import StopLatch
from si_embodied.ros_nodes.node.task_runner import Phase, TaskRunner
from si_embodied.skills import Finish, Rotate
from si_embodied.types import Code, Hold, Observation, Outcome, PlanRecord, Refusal, Task

TASK = Task("go to the red chair", "navigation")
LOST = Refusal(Code.NO_TRANSFORM, "the current pose of 'base_link' is not known")


@dataclass
class World:
    """Clocks, worker, planner, sensors and goal client of a runner, in one."""

    now_s: float = 100.0
    steady_s: float = 0.0
    base: Pose | Refusal = field(default_factory=Pose.identity)
    answers: list[Any] = field(default_factory=list)
    started: list[Any] = field(default_factory=list)
    outcome: Outcome | None = None
    cancels: int = 0
    resets: int = 0

    def pass_time(self, runner: TaskRunner, seconds: float, *, ros: bool = True) -> None:
        """Tick for a while; without `ros` the ROS clock stands still."""
        for _ in range(round(seconds / 0.05)):
            self.steady_s += 0.05
            self.now_s += 0.05 if ros else 0.0
            runner.tick()

    def start(self, goal: Any, T_map_base: Pose) -> None:
        self.started.append(goal)

    def poll(self) -> Any:
        outcome, self.outcome = self.outcome, None
        return outcome

    def cancel(self) -> None:
        self.cancels += 1

    settled = True
    granted = True

    def base_now(self) -> Pose | Refusal:
        return self.base

    def observe(self, after_s: float) -> Any:
        return Observation(self.now_s, (), Pose.identity())


def running(
    world: World, *, goals: int = 3, timeout_s: float = 60.0, max_plan_age_s: float = 10.0, done: bool = False
) -> TaskRunner:
    """A runner that has started the first of `goals` goals; if `done`, the plan ends the task after them."""

    def age(stamp_s: float, now_s: float) -> Refusal | None:
        return Refusal(Code.STALE_PLAN, "old") if now_s - stamp_s > max_plan_age_s else None

    def reset() -> None:
        world.resets += 1

    record = SimpleNamespace(observation_stamp_s=world.now_s, floor_m2=0.0, decision_probability=None)
    plan = SimpleNamespace(
        goals=(*(Rotate(1.0) for _ in range(goals)), *([Finish()] if done else [])), subgoals=(), record=record
    )
    planner: Any = SimpleNamespace(
        config=PlannerConfig(), guard=SimpleNamespace(check_plan_age=age), info=BackendInfo("m", "none", "none"),
        embodiment=SimpleNamespace(kind="navigation"),
    )  # fmt: skip
    answers = [plan]
    worker: Any = SimpleNamespace(reset=reset, submit=lambda *_: None, poll=lambda: answers.pop() if answers else None)
    view: Any = world
    runner = TaskRunner(
        worker=worker, planner=planner, viewer=view, client=view, clock=lambda: world.now_s,
        steady_s=lambda: world.steady_s, may_start=lambda: world.granted,
    )  # fmt: skip
    runner.start(TASK, timeout_s)
    world.pass_time(runner, 0.2)
    assert (runner.phase, len(world.started)) == (Phase.EXECUTING, 1)
    return runner


def end_of(runner: TaskRunner) -> Outcome | None:
    assert runner.report is not None
    return runner.report.progress.end


def last_attempt(runner: TaskRunner) -> Outcome:
    assert runner.report is not None
    return runner.report.progress.memory.attempts[-1].outcome


# --- a stop needs no transform, and no goal starts without one --------------------------------------------------------


def test_the_next_goal_waits_for_the_pose_and_is_dropped_without_one() -> None:
    world = World()
    runner = running(world)
    world.base, world.outcome = LOST, Outcome(Code.OK)
    world.pass_time(runner, 1.0)
    assert len(world.started) == 1
    world.pass_time(runner, 3.0)
    assert len(world.started) == 1
    assert last_attempt(runner) == Outcome(Code.NO_TRANSFORM, LOST.message)
    assert runner.phase is not Phase.EXECUTING


@pytest.mark.promise(recovers="within 0.1 s of the pose's return")
def test_a_pose_that_returns_lets_the_plan_go_on() -> None:
    world = World()
    runner = running(world)
    world.base, world.outcome = LOST, Outcome(Code.OK)
    world.pass_time(runner, 1.0)
    world.base = Pose.identity()
    world.pass_time(runner, 0.1)
    assert len(world.started) == 2


def test_a_goal_under_way_ends_when_the_pose_is_lost() -> None:
    world = World()
    runner = running(world)
    world.base = LOST
    world.pass_time(runner, 0.8)
    assert world.cancels == 0, "a short gap is allowed"
    world.pass_time(runner, 0.5)
    assert world.cancels == 1
    assert last_attempt(runner).code is Code.NO_TRANSFORM


@pytest.mark.promise(recovers="when it is granted")
def test_a_goal_that_is_not_granted_waits_and_the_rest_of_its_plan_with_it() -> None:
    world = World()
    runner = running(world)
    world.granted, world.outcome = False, Outcome(Code.OK)
    world.pass_time(runner, 5.0)  # longer than the pose may be missing
    assert (len(world.started), runner.phase) == (1, Phase.EXECUTING)
    world.granted = True
    world.pass_time(runner, 0.1)
    assert len(world.started) == 2


def test_a_goal_that_has_waited_too_long_is_too_old() -> None:
    world = World()
    runner = running(world)
    world.granted, world.outcome = False, Outcome(Code.OK)
    world.pass_time(runner, 12.0)
    world.granted = True
    world.pass_time(runner, 0.1)
    assert len(world.started) == 1
    assert last_attempt(runner).code is Code.STALE_PLAN


def test_a_task_whose_goal_is_never_granted_times_out() -> None:
    world = World()
    runner = running(world, timeout_s=20.0)
    world.granted, world.outcome = False, Outcome(Code.OK)
    world.pass_time(runner, 21.0)
    end = end_of(runner)
    assert end is not None
    assert end.code is Code.TIMED_OUT


def test_an_interrupt_while_done_waits_does_not_end_the_task() -> None:
    """A plan whose goals are carried out still waits for the stop, and for the watchdog, before it may be `done`."""
    world = World()
    runner = running(world, goals=1, done=True)
    world.granted, world.outcome = False, Outcome(Code.OK)
    world.pass_time(runner, 0.2)
    runner.interrupt(Outcome(Code.SKILL_FAILED, "another planner acts on this robot"))
    assert (end_of(runner), runner.phase) == (None, Phase.OBSERVING)
    assert runner.report is not None
    assert (runner.report.progress.subgoals, runner.report.progress.failures) == (1, 0)


def test_an_interrupt_while_a_goal_waits_fails_that_goal() -> None:
    world = World()
    runner = running(world, goals=3)
    world.granted, world.outcome = False, Outcome(Code.OK)
    world.pass_time(runner, 0.2)
    runner.interrupt(Outcome(Code.SKILL_FAILED, "why"))
    assert last_attempt(runner) == Outcome(Code.SKILL_FAILED, "why")
    world.granted = True
    world.pass_time(runner, 1.0)
    assert len(world.started) == 1, "the rest of the plan is dropped"


# --- clocks and ages --------------------------------------------------------------------------------------------------


def test_a_task_times_out_by_the_steady_clock_while_the_ros_clock_stands_still() -> None:
    world = World()
    runner = running(world, timeout_s=20.0)
    world.pass_time(runner, 3.0, ros=False)
    assert world.cancels == 1, "the robot stands as soon as the clock counts as stopped"
    assert end_of(runner) is None
    world.pass_time(runner, 20.0, ros=False)
    end = end_of(runner)
    assert end is not None
    assert end.code is Code.TIMED_OUT


def test_a_task_sent_before_simulated_time_begins_has_all_its_time() -> None:
    world = World()
    runner = running(world)
    runner.end(Code.CANCELED, "for the next one")
    world.now_s = 0.0
    runner.start(TASK, 20.0)
    world.pass_time(runner, 1.0, ros=False)
    world.now_s = 1_764_400_000.0  # a bag with the stamps of its recording
    world.pass_time(runner, 15.0)
    assert end_of(runner) is None
    world.pass_time(runner, 6.0)
    end = end_of(runner)
    assert end is not None
    assert end.code is Code.TIMED_OUT


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_clock_that_stands_still_is_a_hold_for_whoever_sent_the_task() -> None:
    world, decided = World(), []
    stopped = Refusal(Code.STALE_OBSERVATION, "/clock has stood still")
    runner = running(world)
    runner.on_decision = lambda decision, _: decided.append(decision.record.code)
    world.observe = lambda _: stopped  # type: ignore[method-assign]
    world.base = stopped
    world.pass_time(runner, 30.0, ros=False)
    assert len(decided) >= 5
    assert set(decided) == {Code.STALE_OBSERVATION}
    end = end_of(runner)
    assert end is not None
    assert end.code is Code.STALE_OBSERVATION


@pytest.mark.promise(recovers="when the clock runs again")
def test_no_goal_starts_while_the_ros_clock_stands_still() -> None:
    world = World()
    runner = running(world)
    world.base = LOST
    world.outcome = Outcome(Code.OK)
    world.pass_time(runner, 0.1)  # the next goal waits for the pose
    world.pass_time(runner, 3.0, ros=False)
    world.base = Pose.identity()
    world.pass_time(runner, 1.0, ros=False)
    assert len(world.started) == 1
    world.pass_time(runner, 0.1)
    assert len(world.started) == 2


def test_a_simulation_slower_than_real_time_has_its_own_time() -> None:
    world = World()
    runner = running(world, timeout_s=20.0)
    for _ in range(40):
        world.steady_s += 1.0
        world.now_s += 0.1
        runner.tick()
    assert end_of(runner) is None


@pytest.mark.promise(recovers="with the next task")
def test_a_ros_clock_that_jumps_back_stops_the_robot_and_ends_the_task() -> None:
    world = World()
    runner = running(world)
    resets = world.resets
    world.now_s -= 50.0
    runner.tick()
    end = end_of(runner)
    assert end is not None
    assert (end.code, "jumped back by 50" in end.message) == (Code.STALE_OBSERVATION, True)
    assert (world.cancels, world.resets) == (1, resets + 1)
    runner.start(TASK, 60.0)
    runner.tick()
    assert end_of(runner) is None, "a new task starts without a restart of the node"


def test_a_later_goal_of_an_old_plan_does_not_start() -> None:
    world = World()
    runner = running(world)
    world.pass_time(runner, 12.0)
    world.outcome = Outcome(Code.OK)
    world.pass_time(runner, 0.2)
    assert len(world.started) == 1
    assert last_attempt(runner).code is Code.STALE_PLAN
    assert runner.phase in (Phase.OBSERVING, Phase.PLANNING)


# --- the boundary -----------------------------------------------------------------------------------------------------


def test_an_exception_in_a_callback_is_logged_and_counted_and_holds_the_robot() -> None:
    logged: list[str] = []
    held: list[str] = []
    boundary = Boundary(logged.append, held.append)

    def callback(message: float) -> float:
        return 1.0 / message

    guarded = boundary.guard("head/camera_info", callback, otherwise=-1.0)
    assert (guarded(2.0), guarded(0.0), guarded(0.0), guarded(0.0)) == (0.5, -1.0, -1.0, -1.0)
    assert boundary.refused == {"head/camera_info": 3}
    assert boundary.last == "head/camera_info: ZeroDivisionError: float division by zero"
    assert held == [boundary.last] * 3
    assert len(logged) == 2, "the first, the second, the fourth, …"
    assert "Traceback" in logged[0]


def test_a_hold_that_fails_does_not_end_the_node() -> None:
    logged: list[str] = []

    def hold(reason: str) -> None:
        raise RuntimeError("no runtime")

    Boundary(logged.append, hold).guard("topic", lambda _: {}["x"])(None)
    assert "holding failed" in logged[-1]


# --- a server that fails ----------------------------------------------------------------------------------------------


@pytest.mark.promise(code="BACKEND_FAILED", recovers="with the next plan, asked for 2 s later at most")
def test_a_server_that_fails_is_asked_again_after_growing_pauses_while_the_robot_stands() -> None:
    """Between two requests are the pause and two ticks of 0.05 s."""
    world, asked_s = World(), []
    runner = running(world, goals=1)
    record = PlanRecord(world.now_s, "nav/v1", "m", "none", "none", (), 0, 0, {"total": 0.1}, Code.BACKEND_FAILED, "no")
    worker: Any = SimpleNamespace(
        reset=lambda: None, submit=lambda *_: asked_s.append(world.steady_s), poll=lambda: Hold(record)
    )
    runner.worker, world.outcome = worker, Outcome(Code.OK)
    world.pass_time(runner, 7.0)
    assert np.diff(asked_s) == pytest.approx([0.25, 0.5, 1.0, 2.0, 2.0], abs=0.11)
    assert (end_of(runner), len(world.started)) == (None, 1)
    world.pass_time(runner, 53.0)
    assert end_of(runner) is not None


# --- the watchdog's rules ---------------------------------------------------------------------------------------------

A, B = Beat("a1", "/planner", active=True), Beat("b2", "/planner", active=True)


@pytest.mark.promise(recovers="with an active planner's heartbeat")
def test_a_silent_planner_is_reported_lost_once() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    assert not watch.check(0.5)
    assert watch.check(0.51)
    assert not watch.check(0.6)
    assert (watch.lost, watch.losses, watch.chosen) == ("/planner", 1, "")
    watch.hear(B, 3.0)
    assert (watch.lost, watch.chosen) == ("", "b2")


def test_a_planner_that_is_deactivated_is_not_lost() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    watch.hear(Beat("a1", "/planner", active=False), 0.1)
    assert not watch.check(1.0)
    assert (watch.chosen, watch.lost) == ("", "")


@pytest.mark.parametrize(
    "text", ["", "a b", "a /planner on", "a /planner active more", "a /planner active stopped more", "x" * 10_000]
)
def test_a_malformed_heartbeat_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="expected a heartbeat"):
        Beat.parsed(text)


def test_a_heartbeat_is_read_as_it_was_written() -> None:
    for beat in (A, replace(A, acting=True), replace(A, active=False, stopped=True)):
        assert Beat.parsed(beat.text()) == beat


# --- a planner and its watchdog find each other -----------------------------------------------------------------------


@pytest.mark.promise(recovers="with an active planner's heartbeat")
def test_a_watchdog_that_hears_no_planner_stops_the_robot_once() -> None:
    """The planner was killed before its first heartbeat was heard, or with the watchdog before this one."""
    watch = PlannerWatch(timeout_s=0.5, started_s=10.0)
    assert not watch.check(10.0 + LISTENS_S)
    assert "one may have died before" in watch.check(10.1 + LISTENS_S)
    assert not watch.check(10.2 + LISTENS_S)
    watch.hear(A, 20.0)
    assert watch.chosen == "a1"


@pytest.mark.parametrize("heard_s", [0.0, 0.25, 3.5])
def test_a_planner_killed_in_the_watchdogs_first_seconds_is_lost(heard_s: float) -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, heard_s)
    assert not watch.check(heard_s + 0.5)
    assert "no heartbeat of /planner" in watch.check(heard_s + 0.51)
    assert not watch.check(heard_s + 5.0)


def test_a_watchdog_that_was_restarted_picks_up_the_active_planner() -> None:
    permission, watch = Permission("a1", started_s=0.0), PlannerWatch(0.5, started_s=60.0)
    permission.hear("a1", 59.5)
    permission.look(watchdogs=1, now_s=60.0)  # of a process that was killed, DDS does not know yet
    assert permission.granted, "it goes on meanwhile"
    watch.hear(A, 60.4)
    assert not watch.check(60.8)
    assert watch.chosen == "a1"


def test_no_goal_starts_before_the_watchdog_has_named_the_planner() -> None:
    permission = Permission("a1", started_s=0.0)
    assert not permission.granted, "nobody has looked for a watchdog yet, however long the model took to load"
    assert permission.words == "not found yet"
    permission.look(watchdogs=1, now_s=100.0)
    assert not permission.granted
    assert permission.words == "has not heard this planner yet"
    permission.chosen = "a1"
    assert permission.granted
    assert permission.words == "watches this planner"


@pytest.mark.parametrize("chosen", [NOBODY, "b2", ""])
def test_a_planner_that_the_watchdog_does_not_name_starts_no_goal(chosen: str) -> None:
    permission = Permission("a1", started_s=0.0, chosen=chosen)
    permission.look(watchdogs=1, now_s=100.0)
    assert not permission.granted
    assert bool(permission.refusal) is bool(chosen)
    assert permission.displaced is (chosen == "b2")


def test_a_planner_without_a_watchdog_acts_and_says_so() -> None:
    permission = Permission("a1", started_s=0.0)
    permission.look(watchdogs=0, now_s=DISCOVERY_S)
    assert not permission.granted, "there may be one that was not found yet"
    permission.look(watchdogs=0, now_s=DISCOVERY_S + 0.1)
    assert permission.granted
    assert permission.words.startswith("none: nobody stops the robot")


def test_what_a_watchdog_has_said_is_void_once_it_is_gone() -> None:
    permission = Permission("a1", started_s=0.0)
    permission.look(watchdogs=1, now_s=50.0)
    permission.chosen = NOBODY
    assert permission.refusal
    permission.look(watchdogs=0, now_s=60.0)
    assert not permission.refusal
    assert not permission.granted, "a new one may be on its way: it is looked for as long as at the start"
    permission.look(watchdogs=0, now_s=60.0 + DISCOVERY_S)
    assert not permission.granted
    permission.look(watchdogs=0, now_s=60.1 + DISCOVERY_S)
    assert permission.granted
    assert permission.words.startswith("none")


@pytest.mark.promise(recovers="when the watchdog is heard again")
def test_no_goal_starts_while_the_watchdog_is_there_and_says_nothing() -> None:
    permission = Permission("a1", started_s=0.0)
    permission.hear("a1", 10.0)
    for tenth in range(16):
        permission.look(watchdogs=1, now_s=10.0 + tenth / 10)
        assert permission.granted, tenth
    permission.look(watchdogs=1, now_s=11.6)
    assert not permission.granted
    assert not permission.refusal, "the goal under way goes on"
    assert permission.words.startswith("silent for more than 1.5 s")
    permission.hear("a1", 30.0)
    assert permission.granted
    permission.look(watchdogs=1, now_s=30.0)
    assert permission.words == "watches this planner"


def test_a_second_watchdog_is_named_in_the_state() -> None:
    permission = Permission("a1", started_s=0.0)
    permission.hear("a1", 10.0)
    permission.look(watchdogs=2, now_s=10.0)
    assert permission.words.startswith("watches this planner; 2 publishers of active_planner")


# --- an emergency stop over the restart of either process -------------------------------------------------------------


def beat_of(planner: str, *, stopped: bool = True) -> Beat:
    return Beat(planner, "/planner", active=True, stopped=stopped)


@pytest.mark.promise(recovers="when it is released")
def test_a_new_watchdog_learns_of_the_stop_that_a_planner_holds() -> None:
    assert StopsHeard().hear(Beat.parsed(beat_of("a1").text()), 0.0)
    assert not StopsHeard().hear(A, 0.0)


def test_a_stop_released_at_the_watchdog_is_not_set_again_by_the_planner_that_still_holds_it() -> None:
    heard = StopsHeard()
    assert heard.hear(beat_of("a1"), 0.0)
    heard.released(1.0)
    assert not [now_s for now_s in (1.0, 1.1, 2.0, 60.0) if heard.hear(beat_of("a1"), now_s)]
    assert not heard.hear(beat_of("a1", stopped=False), 61.0)
    assert heard.hear(beat_of("a1"), 62.0), "a new stop"


def test_a_heartbeat_from_before_a_release_does_not_undo_it_and_a_stop_after_it_is_taken() -> None:
    heard = StopsHeard()
    heard.released(1.0)
    assert not heard.hear(beat_of("a1"), 1.05)
    assert not heard.hear(beat_of("a1", stopped=False), 1.15)
    heard.released(2.0)
    assert [now_s for now_s in (2.1, 2.3, 2.5, 2.6) if heard.hear(beat_of("a1"), now_s)] == [2.5]


@pytest.mark.promise(recovers="when it is released")
def test_a_stop_set_at_the_watchdog_while_a_release_is_under_way_is_kept() -> None:
    """The watchdog released its stop and a second operator set it again before the planner heard of either."""
    latch = StopLatch(ours=True)
    latch.hear(latched=True)
    latch.ours = False
    latch.release(10.0)
    assert not latch.set
    assert not latch.hear(latched=True), "it may be the old one"
    assert latch.answered()
    assert latch.set


def test_a_late_message_of_the_old_stop_does_not_undo_a_release() -> None:
    latch = StopLatch()
    latch.release(10.0)
    latch.hear(latched=True)
    latch.hear(latched=False)
    assert not latch.answered()
    assert not latch.set
    assert latch.hear(latched=True), "a new stop counts at once"


def test_a_release_that_the_watchdog_does_not_answer_is_void() -> None:
    latch = StopLatch()
    latch.hear(latched=True)
    latch.release(10.0)
    assert not latch.check(10.9)
    assert not latch.set
    assert latch.check(11.0)
    assert latch.set
    assert not latch.answered(), "too late"
    assert latch.set
