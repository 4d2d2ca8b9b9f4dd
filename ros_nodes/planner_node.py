"""The planner as a ROS 2 lifecycle node: an instruction in, goals out, and still whenever it is unsure.

ros2 run si_embodied planner_node --ros-args --params-file planner.yaml
python -m si_embodied.ros_nodes.planner_node --ros-args -p backend:=scripted …
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.msg import Plan, PlannerStatus
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool
from visualization_msgs.msg import MarkerArray

from si_embodied.errors import SiEmbodiedError
from si_embodied.ros_nodes import messages, parameters
from si_embodied.ros_nodes.pilot import Pilot
from si_embodied.ros_nodes.settings import NodeSettings
from si_embodied.ros_nodes.task import TaskReport
from si_embodied.types import Code, Decision, Observation

TICK_S = 0.05
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_REPORT_S = 1.0
_FEEDBACK_S = 0.5


class PlannerNode(LifecycleNode):  # type: ignore[misc]
    """Unconfigured it has parameters, inactive a model and sensors, active it takes tasks."""

    def __init__(self, **options: Any) -> None:
        """Declare the parameters; nothing is loaded."""
        super().__init__("planner", **options)
        parameters.declare(self, NodeSettings)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._pilot: Pilot | None = None
        self._active = False
        self._stopped = False  # by the emergency stop, until it is released
        self._handle: Any = None  # of the action under way; none for a task by topic
        self._waiting: Future | None = None  # for the end of the action under way
        self._last_plan = Plan()
        self._last_status: PlannerStatus | None = None
        self._reported_at = self._fed_at = 0.0  # time.monotonic
        self.create_subscription(Bool, "emergency_stop", self._on_stop_topic, 1)
        self.create_service(SetBool, "~/emergency_stop", self._on_stop_service)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # A steady clock: also where simulated time stands still, a robot must be stopped.
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # --- lifecycle -------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and subscribe; a failure leaves the node unconfigured, to be tried again."""
        try:
            self._pilot = Pilot(self, parameters.read(self, NodeSettings), self._on_decision)
        except SiEmbodiedError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._plans = self.create_lifecycle_publisher(Plan, "~/plan", _LATCHED)
        self._statuses = self.create_lifecycle_publisher(PlannerStatus, "~/status", _LATCHED)
        self._markers = self.create_lifecycle_publisher(MarkerArray, "~/markers", 1)
        self._instructions = self.create_subscription(String, "instruction", self._on_instruction, 1)
        self._action = ActionServer(
            self, PlanTask, "plan_task", self._execute, goal_callback=self._on_goal, cancel_callback=self._on_cancel
        )
        self.get_logger().info(f"planning with {self._pilot.info.model}, cameras {self._pilot.settings.cameras}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take tasks from now on."""
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stand still and take no more tasks."""
        self._active = False
        self.end_task(Code.CANCELED, "the planner is deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and everything else."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, for good."""
        self._active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to where it can be configured again."""
        self._active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        if self._pilot is None:
            return
        self.end_task(Code.CANCELED, "the planner is shut down")
        self._action.destroy()
        self.destroy_subscription(self._instructions)
        for publisher in (self._plans, self._statuses, self._markers):
            self.destroy_publisher(publisher)
        self._pilot.close()
        self._pilot, self._last_status = None, None

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _on_goal(self, request: PlanTask.Goal) -> GoalResponse:
        refused = self._why_not(request.instruction)
        if refused:
            self.get_logger().warning(f"task rejected: {refused}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _why_not(self, instruction: str) -> str:
        if not self._active or self._pilot is None:
            return "the planner is not active"
        if self._stopped:
            return "the emergency stop is set; release it with the service ~/emergency_stop"
        return "" if instruction.strip() else "the instruction is empty"

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if handle is self._handle or (self._handle is not None and handle.goal_id == self._handle.goal_id):
            self.end_task(Code.CANCELED, "the client cancelled")
        return CancelResponse.ACCEPT

    def _on_instruction(self, message: String) -> None:
        refused = self._why_not(message.data)
        if refused:
            self.get_logger().warning(f"instruction ignored: {refused}")
            return
        self._begin(message.data, 0.0)

    def _begin(self, instruction: str, timeout_s: float) -> None:
        assert self._pilot is not None  # _why_not has checked
        self.end_task(Code.CANCELED, "a newer task has come")
        self._last_plan = Plan()
        self._pilot.start(instruction, timeout_s)

    async def _execute(self, handle: Any) -> PlanTask.Result:
        """One action, from acceptance to its end; the work is done by the ticks."""
        refused = self._why_not(handle.request.instruction)
        if refused:  # between acceptance and now
            handle.abort()
            return PlanTask.Result(code=int(Code.CANCELED), message=refused)
        self._begin(handle.request.instruction, float(handle.request.timeout_s))
        self._handle, self._waiting = handle, Future()
        report: TaskReport = await self._waiting
        assert report.end is not None  # it is handed over at its end
        if report.end.succeeded:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return _result(report)

    def end_task(self, code: Code, message: str) -> None:
        """Stand still now; whatever is under way ends with a code."""
        if self._pilot is not None:
            self._pilot.halt(code, message)
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the report of a task that has ended to whoever waits for it."""
        assert self._pilot is not None  # the callers have checked
        report = self._pilot.report
        if self._waiting is not None and report is not None and report.end is not None:
            waiting, self._waiting, self._handle = self._waiting, None, None
            words = f"{report.end.code.name} {report.end.message}".strip()
            self.get_logger().info(f"task {report.task.instruction!r} ended after {report.plans} plans: {words}")
            waiting.set_result(report)

    # --- emergency stop --------------------------------------------------------------------------------------------

    def _on_stop_topic(self, message: Bool) -> None:
        """True stops and stays; false changes nothing, because a stop is released on purpose."""
        if message.data:
            self._stop()

    def _on_stop_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self._stop()
        else:
            self._stopped = False
        response.success = True
        response.message = "stopped" if self._stopped else "released"
        return response

    def _stop(self) -> None:
        first, self._stopped = not self._stopped, True
        self.end_task(Code.EMERGENCY_STOP, "the emergency stop was set")
        if first:
            self.get_logger().error("emergency stop")

    # --- at the node's own pace --------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._pilot is not None and self._active:
            self._pilot.tick()
            self._hand_over()
            self._publish_status()
            self._publish_feedback()
        if time.monotonic() - self._reported_at >= _REPORT_S:
            self._reported_at = time.monotonic()
            self._publish_diagnostics()

    def _on_decision(self, decision: Decision, observation: Observation | None) -> None:
        assert self._pilot is not None  # it is the pilot that calls
        assert self._pilot.report is not None  # of the task that the decision is for
        self._last_plan = messages.plan_message(
            decision,
            observation,
            instruction=self._pilot.report.task.instruction,
            sequence=self._pilot.report.plans,
            frame=self._pilot.settings.map_frame,
            now_s=self._pilot.now_s(),
        )
        self._plans.publish(self._last_plan)
        self._markers.publish(messages.markers(self._last_plan))
        if self._last_plan.code:
            self.get_logger().warning(f"hold {decision.record.code.name}: {self._last_plan.message}")

    def _publish_status(self) -> None:
        """When it changes, and once a second."""
        assert self._pilot is not None  # _tick has checked
        runner, report = self._pilot.runner, self._pilot.report
        state = PlannerStatus.STOPPED if self._stopped else int(runner.phase)
        status = messages.status_message(state, frame=self._pilot.settings.map_frame, now_s=self._pilot.now_s())
        status.emergency_stop = self._stopped
        status.code, status.message = self._last_plan.code, self._last_plan.message
        if report is not None:
            status.instruction = report.task.instruction if self._pilot.busy else ""
            status.plans, status.holds = report.plans, report.holds
            if report.end is not None:
                status.code, status.message = int(report.end.code), report.end.message
        if runner.step is not None and runner.step.subgoal is not None:
            status.subgoal = messages.subgoal_message(runner.step.subgoal, runner.step.goal, None)
        if self._last_status is None or _gist(self._last_status) != _gist(status):
            self._statuses.publish(status)
            self._last_status = status

    def _publish_feedback(self) -> None:
        if self._handle is None or time.monotonic() - self._fed_at < _FEEDBACK_S:
            return
        assert self._pilot is not None  # _tick has checked
        self._fed_at = time.monotonic()
        feedback = PlanTask.Feedback(plan=self._last_plan)
        if self._pilot.report is not None:
            feedback.elapsed_s = float(self._pilot.now_s() - self._pilot.report.started_s)
        if self._last_status is not None:
            feedback.subgoal = self._last_status.subgoal
        self._handle.publish_feedback(feedback)

    def _publish_diagnostics(self) -> None:
        status = DiagnosticStatus(name=f"{self.get_fully_qualified_name()}: planner", hardware_id="si_embodied")
        values: dict[str, object] = {"active": self._active, "emergency_stop": self._stopped}
        if self._pilot is None:
            status.level, status.message = DiagnosticStatus.WARN, "not configured"
        else:
            values |= {"model": self._pilot.info.model, "phase": self._pilot.runner.phase.name}
            values |= {f"images of {camera.name}": camera.received for camera in self._pilot.sensors.cameras}
            values |= dict(zip(self._last_plan.latency_part, self._last_plan.latency_s, strict=True))
            code = Code(self._last_plan.code)
            status.level = DiagnosticStatus.OK if code is Code.OK else DiagnosticStatus.WARN
            status.message = "ready" if code is Code.OK else f"holding: {code.name}"
        if self._stopped:
            status.level, status.message = DiagnosticStatus.ERROR, "emergency stop"
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _on_parameters(self, given: Sequence[Any]) -> SetParametersResult:
        result = parameters.check(self, NodeSettings, given, configured=self._pilot is not None)
        changes = {each.name: each.value for each in given if each.name.startswith(parameters.LIVE)}
        if result.successful and changes and self._pilot is not None:
            if not self._pilot.takes_live_settings:
                return SetParametersResult(successful=False, reason="another machine plans: clean up, set, configure")
            self._pilot.apply(parameters.read(self, NodeSettings, changes))
        return result


def _gist(status: PlannerStatus) -> tuple[int, ...]:
    """What makes a status worth publishing when it changes: the second is part of it."""
    return status.state, status.plans, status.code, status.header.stamp.sec


def _result(report: TaskReport) -> PlanTask.Result:
    assert report.end is not None  # the caller has checked
    return PlanTask.Result(
        code=int(report.end.code),
        message=report.end.message,
        duration_s=report.ended_s - report.started_s,
        planning_s=report.planning_s,
        plans=report.plans,
        holds=report.holds,
        subgoals=report.subgoals,
        failures=report.failures,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; then the robot is stopped before the node goes."""
    # ROS's own handlers would close the context first, and then nothing can be published any more.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    asked_to_stop = False

    def stop(*_: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    node, executor = PlannerNode(), SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter("autostart").value and node.trigger_configure() is TransitionCallbackReturn.SUCCESS:
        node.trigger_activate()
    while not asked_to_stop:
        executor.spin_once(timeout_sec=TICK_S)
    node.end_task(Code.CANCELED, "the planner was interrupted")
    until = time.monotonic() + 0.3  # for the cancellations and the result to go out
    while time.monotonic() < until:
        executor.spin_once(timeout_sec=TICK_S)
    node.trigger_shutdown()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
