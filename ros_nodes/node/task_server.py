"""Accepts tasks through an action or as an instruction on a topic. A new task replaces the current one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import String

from si_embodied.ros_nodes.node.timeouts import timeout_refusal
from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.ros_nodes.node.task_runner import TaskReport
    from si_embodied.ros_nodes.node.telemetry import Telemetry

LONGEST_TASK_S = 86_400.0
"""The longest time-out that a goal may ask for: a day."""
_FEEDBACK_S = 0.5


class TaskServer:
    """Lives as long as its node, so that clients waiting for a task are always notified when it ends.

    Used only from the executor's thread. The node's timer drives the work.
    """

    def __init__(self, node: NodeView, refusal: Callable[[str], str]) -> None:
        """Serve the action `plan_task`, and subscribe to `instruction`.

        Args:
            node: the planner node.
            refusal: returns why an instruction cannot be accepted now, or "" if it can.
        """
        self._node, self._refusal = node, refusal
        self._runtime: PlannerRuntime | None = None
        self._telemetry: Telemetry | None = None
        self._handle: Any = None  # goal handle of the current action; None for a task from the topic
        self._waiting: Future | None = None  # completed when the current action's task ends
        self._feedback_at = 0.0  # time.monotonic of the last feedback
        node.create_subscription(String, "instruction", self._on_instruction, 1)
        guard = node.boundary.guard
        self._action = ActionServer(
            node,
            PlanTask,
            "plan_task",
            guard("plan_task", self._execute, otherwise=self._failed),
            goal_callback=guard("plan_task goal", self._on_goal, otherwise=GoalResponse.REJECT),
            cancel_callback=guard("plan_task cancel", self._on_cancel, otherwise=CancelResponse.ACCEPT),
        )

    def attach(self, runtime: PlannerRuntime, telemetry: Telemetry) -> None:
        """Execute tasks with `runtime`, and build feedback from `telemetry`."""
        self._runtime, self._telemetry = runtime, telemetry

    def detach(self, message: str) -> None:
        """End the current task. Accept none until `attach` is called again."""
        self.end_task(Code.CANCELED, message)
        self._runtime = self._telemetry = None

    def end_task(self, code: Code, message: str) -> None:
        """Stop the robot now and end the current task, if any, with this code."""
        if self._runtime is not None:
            self._runtime.halt(code, message)
            self._deliver_report(self._runtime)

    def tick(self) -> None:
        """Send the action's client feedback, or the result once the task has ended."""
        if self._runtime is None or self._telemetry is None:
            return
        self._deliver_report(self._runtime)
        if self._handle is not None and time.monotonic() - self._feedback_at >= _FEEDBACK_S:
            self._feedback_at = time.monotonic()
            self._handle.publish_feedback(_feedback(self._runtime, self._telemetry))

    def _on_goal(self, request: PlanTask.Goal) -> GoalResponse:
        refused = self._refusal_of(request)
        if refused:
            self._node.get_logger().warning(f"task rejected: {refused}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _refusal_of(self, request: PlanTask.Goal) -> str:
        """Why a goal cannot be accepted now, or ""."""
        return timeout_refusal(request.timeout_s, LONGEST_TASK_S, "a day") or self._refusal(request.instruction)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if self._handle is not None and handle.goal_id == self._handle.goal_id:
            self.end_task(Code.CANCELED, "the client canceled the task")
        return CancelResponse.ACCEPT

    def _on_instruction(self, message: String) -> None:
        refused = self._refusal(message.data)
        if refused:
            self._node.get_logger().warning(f"instruction ignored: {refused}")
            return
        self._begin(message.data, 0.0)

    def _begin(self, instruction: str, timeout_s: float) -> None:
        assert self._runtime is not None  # an active node is configured
        assert self._telemetry is not None
        if self._runtime.busy:
            self.end_task(Code.CANCELED, "a newer task replaced this one")
        self._deliver_report(self._runtime)
        self._telemetry.begin()
        self._runtime.start(instruction, timeout_s)

    async def _execute(self, handle: Any) -> PlanTask.Result:
        """Execute one accepted goal of the action until it ends."""
        # Since acceptance, the client may have canceled or the node may have been stopped.
        refused = self._refusal_of(handle.request)
        if handle.is_cancel_requested:
            handle.canceled()
            return PlanTask.Result(code=int(Code.CANCELED), message="the client canceled the task")
        if refused:
            handle.abort()
            return PlanTask.Result(code=int(Code.CANCELED), message=refused)
        self._begin(handle.request.instruction, float(handle.request.timeout_s))
        self._handle, self._waiting = handle, Future()
        report: TaskReport = await self._waiting
        end = report.progress.end
        assert end is not None  # the report is delivered when the task ends
        if end.succeeded:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return _result(report)

    def _failed(self, handle: Any) -> PlanTask.Result:
        """The result of a goal whose execution raised."""
        message = f"refused: {self._node.boundary.last}"
        if self._handle is handle:
            self._handle = self._waiting = None
            self.end_task(Code.BACKEND_FAILED, message)
        if handle.is_active:
            handle.abort()
        return PlanTask.Result(code=int(Code.BACKEND_FAILED), message=message)

    def _deliver_report(self, runtime: PlannerRuntime) -> None:
        """If the task has ended, complete the future that its action awaits."""
        report = runtime.report
        if self._waiting is not None and report is not None and report.progress.end is not None:
            waiting, self._waiting, self._handle = self._waiting, None, None
            progress, end = report.progress, report.progress.end
            result = f"{end.code.name} {end.message}".strip()
            instruction = progress.task.instruction
            self._node.get_logger().info(f"task {instruction!r} ended after {progress.plans} plans: {result}")
            waiting.set_result(report)


def _feedback(runtime: PlannerRuntime, telemetry: Telemetry) -> PlanTask.Feedback:
    feedback = PlanTask.Feedback(plan=telemetry.plan)
    if runtime.report is not None:
        feedback.elapsed_s = float(runtime.now_s() - runtime.report.started_s)
    if telemetry.status is not None:
        feedback.subgoal = telemetry.status.subgoal
    return feedback


def _result(report: TaskReport) -> PlanTask.Result:
    progress = report.progress
    assert progress.end is not None  # the caller has checked
    return PlanTask.Result(
        code=int(progress.end.code),
        message=progress.end.message,
        duration_s=report.ended_s - report.started_s,
        planning_s=report.planning_s,
        plans=progress.plans,
        holds=progress.holds,
        subgoals=progress.subgoals,
        failures=progress.failures,
    )
