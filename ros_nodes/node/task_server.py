"""Tasks as they come: through the action, or as a bare instruction on a topic. One at a time, the newest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import String

from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.ros_nodes.node.task_runner import TaskReport
    from si_embodied.ros_nodes.node.telemetry import Telemetry

_FEEDBACK_S = 0.5


class TaskServer:
    """There for as long as its node, so that who waits for a task hears of its end whatever ends it.

    Used from the executor's thread alone; the work is done by the node's ticks.
    """

    def __init__(self, node: NodeView, refusal: Callable[[str], str]) -> None:
        """Serve `plan_task`, and listen on `instruction`.

        Args:
            node: the planner node.
            refusal: why an instruction is not taken now; empty where it is.
        """
        self._node, self._refusal = node, refusal
        self._runtime: PlannerRuntime | None = None
        self._telemetry: Telemetry | None = None
        self._handle: Any = None  # of the action under way; none for a task by topic
        self._waiting: Future | None = None  # for the end of the action under way
        self._fed_at = 0.0  # time.monotonic
        node.create_subscription(String, "instruction", self._on_instruction, 1)
        self._action = ActionServer(
            node, PlanTask, "plan_task", self._execute, goal_callback=self._on_goal, cancel_callback=self._on_cancel
        )

    def attach(self, runtime: PlannerRuntime, telemetry: Telemetry) -> None:
        """Let `runtime` carry the tasks out; feedback is made of `telemetry`."""
        self._runtime, self._telemetry = runtime, telemetry

    def detach(self, message: str) -> None:
        """End the task under way; none is carried out from now on."""
        self.end_task(Code.CANCELED, message)
        self._runtime = self._telemetry = None

    def end_task(self, code: Code, message: str) -> None:
        """Stand still now; whatever is under way ends with a code."""
        if self._runtime is not None:
            self._runtime.halt(code, message)
            self._hand_over(self._runtime)

    def tick(self) -> None:
        """Tell whoever waits for a task how it goes, or how it ended."""
        if self._runtime is None or self._telemetry is None:
            return
        self._hand_over(self._runtime)
        if self._handle is not None and time.monotonic() - self._fed_at >= _FEEDBACK_S:
            self._fed_at = time.monotonic()
            self._handle.publish_feedback(_feedback(self._runtime, self._telemetry))

    def _on_goal(self, request: PlanTask.Goal) -> GoalResponse:
        refused = self._refusal(request.instruction)
        if refused:
            self._node.get_logger().warning(f"task rejected: {refused}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if self._handle is not None and handle.goal_id == self._handle.goal_id:
            self.end_task(Code.CANCELED, "the client cancelled")
        return CancelResponse.ACCEPT

    def _on_instruction(self, message: String) -> None:
        refused = self._refusal(message.data)
        if refused:
            self._node.get_logger().warning(f"instruction ignored: {refused}")
            return
        self._begin(message.data, 0.0)

    def _begin(self, instruction: str, timeout_s: float) -> None:
        assert self._runtime is not None  # an active node is configured
        assert self._telemetry is not None  # the same
        self.end_task(Code.CANCELED, "a newer task has come")
        self._telemetry.begin()
        self._runtime.start(instruction, timeout_s)

    async def _execute(self, handle: Any) -> PlanTask.Result:
        """One action, from acceptance to its end."""
        # Between acceptance and now the client may have cancelled, or the node have been stopped.
        refused = self._refusal(handle.request.instruction)
        if handle.is_cancel_requested:
            handle.canceled()
            return PlanTask.Result(code=int(Code.CANCELED), message="the client cancelled")
        if refused:
            handle.abort()
            return PlanTask.Result(code=int(Code.CANCELED), message=refused)
        self._begin(handle.request.instruction, float(handle.request.timeout_s))
        self._handle, self._waiting = handle, Future()
        report: TaskReport = await self._waiting
        end = report.progress.end
        assert end is not None  # the report is handed over at its end
        if end.succeeded:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return _result(report)

    def _hand_over(self, runtime: PlannerRuntime) -> None:
        """Give the report of a task that has ended to whoever waits for it."""
        report = runtime.report
        if self._waiting is not None and report is not None and report.progress.end is not None:
            waiting, self._waiting, self._handle = self._waiting, None, None
            progress, end = report.progress, report.progress.end
            words = f"{end.code.name} {end.message}".strip()
            instruction = progress.task.instruction
            self._node.get_logger().info(f"task {instruction!r} ended after {progress.plans} plans: {words}")
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
