"""A supervised first goal: one task through the planner's own action, which ends with the pilot's Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from si_embodied_msgs.action import PlanTask
from std_srvs.srv import SetBool

from si_embodied.findings import Finding
from si_embodied.ros_nodes.checks.graph import PLANNER
from si_embodied.ros_nodes.checks.pilot import RELEASE, Pilot
from si_embodied.types import Code

_ACCEPTS_S, _CANCELS_S, _STOPS_S = 10.0, 15.0, 5.0
_WHAT = "first goal"
_ENDS_LATER_S = 30.0
"""The planner ends a task at its time-out itself, by the ROS clock, which may be slower than ours."""


def first_goal(pilot: Pilot, instruction: str, timeout_s: float, say: Callable[[str], None]) -> Finding:
    """Send one task and follow it; SIGINT and SIGTERM cancel it, and the planner stops the robot.

    Args:
        pilot: has checked the robot.
        instruction: "go to the red chair".
        timeout_s: for the whole task.
        say: tells the pilot what happens.
    """
    client = ActionClient(pilot.node, PlanTask, "plan_task")
    try:
        with _interrupted() as interrupted:
            if not pilot.wait(_ACCEPTS_S, client.server_is_ready):
                return Finding(_WHAT, "off", "nobody serves plan_task", "start and activate the planner")
            follow = _follower(say)
            goal = PlanTask.Goal(instruction=instruction, timeout_s=timeout_s)
            sent = client.send_goal_async(goal, feedback_callback=lambda message: follow(message.feedback))
            if pilot.wait(_ACCEPTS_S, sent.done):
                with _stopped_if_it_raises(pilot):
                    return _followed(pilot, sent.result(), timeout_s, interrupted, say)
            # It may still accept the task, when nobody watches the robot any more.
            told = f"the emergency stop is set; {RELEASE}" if _stop(pilot) else "press the emergency stop"
            return Finding(_WHAT, "off", "the planner did not answer", f"{told}; read the planner's log")
    finally:
        client.destroy()


def _stop(pilot: Pilot) -> bool:
    """Set the planner's emergency stop; whether it confirmed that."""
    client = pilot.node.create_client(SetBool, f"{PLANNER}/emergency_stop")
    answer = client.call_async(SetBool.Request(data=True))
    return pilot.wait(_STOPS_S, answer.done) and bool(answer.result().success)


@contextmanager
def _stopped_if_it_raises(pilot: Pilot) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _stop(pilot)
        raise


def _followed(
    pilot: Pilot, handle: Any, timeout_s: float, interrupted: threading.Event, say: Callable[[str], None]
) -> Finding:
    if not handle.accepted:
        return Finding(_WHAT, "off", "the planner refused the task", "its log and /diagnostics say why")
    ended = handle.get_result_async()
    pilot.wait(timeout_s + _ENDS_LATER_S, lambda: ended.done() or interrupted.is_set())
    if not ended.done():
        say("cancelling: the planner stops the robot")
        handle.cancel_goal_async()
        if not pilot.wait(_CANCELS_S, ended.done):
            return Finding(_WHAT, "off", "the planner did not confirm the cancel", "press the emergency stop")
    result, status = ended.result().result, ended.result().status
    says = (
        f"{result.plans} plans, {result.subgoals} subgoals done, {result.failures} failed, {result.holds} holds in "
        f"{result.duration_s:.0f} s: {Code(result.code).name} {result.message}".rstrip()
    )
    if status == GoalStatus.STATUS_SUCCEEDED:
        return Finding(_WHAT, "fine", says)
    return Finding(
        _WHAT, "off", says, "docs/ros.md#when-it-holds; record it (--record) and look with si-embodied replay"
    )


def _follower(say: Callable[[str], None]) -> Callable[[Any], None]:
    """Tells of each new plan and subgoal once."""
    told: set[tuple[int, str]] = set()

    def follow(feedback: Any) -> None:
        plan, subgoal = feedback.plan, feedback.subgoal
        words = subgoal.skill and f"{subgoal.skill} {subgoal.object}".strip()
        held = f"holds: {Code(plan.code).name} {plan.message}" if plan.code else ""
        text = held or words or "observes"
        if (plan.sequence, text) not in told:
            told.add((plan.sequence, text))
            say(f"{feedback.elapsed_s:6.1f} s  plan {plan.sequence}: {text}")

    return follow


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set in this block."""
    event = threading.Event()
    before = {each: signal.signal(each, lambda *_: event.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
