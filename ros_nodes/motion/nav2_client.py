"""A navigator that uses Nav2's NavigateToPose. Needs nav2_msgs, which comes with Nav2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from nav2_msgs.action import NavigateToPose
from rclpy.action import ActionClient

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.unanswered import UnansweredGoals
from si_embodied.ros_nodes.node.settings import NavigationSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.types import Code, Outcome

_CODES = {
    # NavigateToPose itself uses 9xxx; its servers: controller from 100, planner from 200 (nav2_msgs, Jazzy and later).
    103: Code.NO_TRANSFORM, 104: Code.BLOCKED, 105: Code.BLOCKED, 106: Code.BLOCKED, 107: Code.TIMED_OUT,
    202: Code.NO_TRANSFORM, 203: Code.OUT_OF_WORKSPACE, 204: Code.OUT_OF_WORKSPACE, 205: Code.BLOCKED,
    206: Code.UNREACHABLE, 207: Code.TIMED_OUT, 208: Code.UNREACHABLE,
}  # fmt: skip


class Nav2Navigator:
    """One goal at a time; replies to older goals are ignored."""

    def __init__(self, node: Any, settings: NavigationSettings, map_frame: str, *, clock: Callable[[], float]) -> None:
        """Create the action client."""
        self._settings, self._map_frame, self._clock = settings, map_frame, clock
        self._client = ActionClient(node, NavigateToPose, "navigate_to_pose")
        self._number = 0  # of the current goal; replies with another are ignored
        self._handle: Any = None
        self._outcome: Outcome | None = None
        self._active = self._accepted = False
        self._unsent: NavigateToPose.Goal | None = None  # waits for the server
        self._unanswered = UnansweredGoals(settings.server_timeout_s)
        self._started_s = 0.0

    @property
    def settled(self) -> bool:
        """Whether Nav2 can accept no goal any more; one accepted after this process has ended would be driven."""
        return self._unanswered.settled

    def go(self, T_map_base: Pose) -> None:
        """Send the goal once the server is there; `poll` reports a server that is not running."""
        self._drop()
        self._outcome, self._handle, self._active, self._accepted = None, None, True, False  # Nav2 preempts its goal
        self._started_s = self._clock()
        self._unsent = NavigateToPose.Goal()
        bridge.set_stamped_pose(self._unsent.pose, T_map_base, self._map_frame, self._started_s)
        self._send()

    def poll(self) -> Outcome | None:
        """The action's outcome; TIMED_OUT if Nav2 does not respond or takes too long."""
        if not self._active:
            return None
        self._send()
        waited_s = self._clock() - self._started_s
        if self._outcome is None and not self._accepted and waited_s > self._settings.server_timeout_s:
            self._outcome = Outcome(Code.TIMED_OUT, f"Nav2 did not accept the goal in {waited_s:.1f} s; is it active?")
        if self._outcome is None and waited_s > self._settings.goal_timeout_s:
            self._outcome = Outcome(Code.TIMED_OUT, f"Nav2 did not reach the goal in {waited_s:.0f} s")
        if self._outcome is None:
            return None
        outcome = self._outcome
        if outcome.code is Code.TIMED_OUT:
            self.cancel()
        self._active = False
        return outcome

    def cancel(self) -> None:
        """Cancel the goal. One that was not sent never will be; one that Nav2 accepts only later is cancelled then."""
        self._drop()
        self._active = False
        if self._handle is not None:
            self._handle.cancel_goal_async()
            self._handle = None

    def close(self) -> None:
        """Destroy the action client."""
        self._client.destroy()

    def _drop(self) -> None:
        self._number += 1
        self._unsent = None
        self._unanswered.drop()

    def _send(self) -> None:
        if self._unsent is None or not self._client.server_is_ready():
            return
        goal, self._unsent, number = self._unsent, None, self._number
        ticket = self._unanswered.sent(self._client)
        sent = self._client.send_goal_async(goal)
        sent.add_done_callback(lambda future: self._on_response(number, ticket, future.result()))

    def _on_response(self, number: int, ticket: int, handle: Any) -> None:
        self._unanswered.answered(ticket)
        if number != self._number:
            if handle.accepted:
                handle.cancel_goal_async()
            return
        self._accepted = True
        if not handle.accepted:
            self._outcome = Outcome(Code.UNREACHABLE, "Nav2 rejected the goal")
            return
        self._handle = handle
        handle.get_result_async().add_done_callback(lambda future: self._on_result(number, future.result()))

    def _on_result(self, number: int, answer: Any) -> None:
        if number != self._number:
            return
        self._handle = None
        self._outcome = outcome_of(answer.status, answer.result)


def outcome_of(status: int, result: Any) -> Outcome:
    """Map Nav2's status and error code to an `Outcome`."""
    if status == GoalStatus.STATUS_SUCCEEDED:
        return Outcome(Code.OK)
    number, text = int(getattr(result, "error_code", 0)), str(getattr(result, "error_msg", ""))
    if status == GoalStatus.STATUS_CANCELED:
        return Outcome(Code.CANCELED, text or "Nav2 cancelled the goal")
    return Outcome(_CODES.get(number, Code.UNREACHABLE), f"Nav2 error {number}: {text or 'no message'}")
