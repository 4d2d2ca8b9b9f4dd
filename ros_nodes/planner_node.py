"""The planner as a ROS 2 lifecycle node: takes instructions, sends goals, and holds still when in doubt.

ros2 run si_embodied planner_node --ros-args --params-file planner.yaml
python -m si_embodied.ros_nodes.planner_node --ros-args -p backend:=scripted …
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from si_embodied_msgs.msg import Plan

from si_embodied.errors import MissingRosPackageError, ObservationError, SiEmbodiedError
from si_embodied.plugins import load_plugins
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.boundary import Boundary
from si_embodied.ros_nodes.node.emergency_stop import EmergencyStop
from si_embodied.ros_nodes.node.heartbeat import Heartbeat
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.node.listeners import LISTENERS, DecisionListener
from si_embodied.ros_nodes.node.question_server import AskSpatialServer
from si_embodied.ros_nodes.node.recorder_watch import RecorderWatch
from si_embodied.ros_nodes.node.runtime import PlannerRuntime
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.node.task_server import TaskServer
from si_embodied.ros_nodes.node.telemetry import Telemetry, diagnosis
from si_embodied.types import Code, Decision, Observation, Outcome, Task

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.manager_bond import ManagerBond

TICK_S = 0.05
_REPORT_S = 1.0
_LEAST_S, _MOST_S = 0.3, 3.0
"""Time on exit to send cancel requests and the result; and until the robot stands and Nav2 has answered."""
_STOPPING_S = 10.5
"""After it was active, a planner sends heartbeats this long until the robot stands: a little longer than a stop."""


class PlannerNode(LifecycleNode):  # type: ignore[misc]
    """Unconfigured, it has only parameters; inactive, also a model and sensors; active, it accepts tasks."""

    def __init__(self, **options: Any) -> None:
        """Declare the parameters. The model is loaded by `on_configure`."""
        self.active = False
        self._acted_s = time.monotonic()  # when it was last active, or the robot at rest
        # Before rclpy's own constructor, which creates services and subscriptions.
        self.boundary = Boundary(lambda text: self.get_logger().error(text), self._hold)
        self._runtime: PlannerRuntime | None = None
        super().__init__("planner", **options)
        parameters.declare(self, NodeSettings)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._telemetry: Telemetry | None = None
        self._recorder: RecorderWatch | None = None
        self._listeners: list[DecisionListener] = []
        self._make_bond: Callable[[Any], ManagerBond] | None = None  # set if the parameter `bond` asks for one
        self._bond: ManagerBond | None = None
        self._tasks = TaskServer(self, self._refusal)
        self._questions = AskSpatialServer(self)
        self._reported_at = 0.0  # time.monotonic
        self._emergency = EmergencyStop(self, self._on_emergency)
        self._heartbeat = Heartbeat(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # A steady clock: the robot must stop even while simulated time is paused.
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # --- the boundary ------------------------------------------------------------------------------------------------

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any, **options: Any) -> Any:
        """As in rclpy; whatever the callback raises is refused at the boundary."""
        return super().create_subscription(kind, topic, self.boundary.guard(topic, callback), qos, **options)

    def create_service(self, kind: Any, name: str, callback: Any, **options: Any) -> Any:
        """As in rclpy; a callback that raises answers with the response as it was."""
        guarded = self.boundary.guard(name, callback, otherwise=lambda _, response: response)
        return super().create_service(kind, name, guarded, **options)

    def create_timer(self, period_s: float, callback: Any, **options: Any) -> Any:
        """As in rclpy; whatever the callback raises is refused at the boundary."""
        return super().create_timer(period_s, self.boundary.guard("timer", callback), **options)

    def _hold(self, reason: str) -> None:
        if self._runtime is not None:
            self._runtime.interrupt(Outcome(Code.SKILL_FAILED, reason))

    # --- lifecycle -------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create the subscriptions. On failure the node stays unconfigured and can be retried."""
        try:
            self._runtime = PlannerRuntime(
                self, parameters.read(self, NodeSettings), self._on_decision, lambda: self._heartbeat.permission.granted
            )
            self._telemetry = Telemetry(self, self._runtime)
            self._recorder = RecorderWatch(self, self._runtime.settings)
            self._listeners = [self._telemetry]
            for make in LISTENERS:
                self._listeners.append(make(self, self._runtime))
            self._make_bond = bond_maker(wanted=self._runtime.settings.bond)
        except SiEmbodiedError as error:
            return self._not_configured(str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a model's code may raise anything
            return self._not_configured(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        self._tasks.attach(self._runtime, self._telemetry)
        self._questions.attach(self._runtime)
        self.get_logger().info(f"planning with {self._runtime.info.model}, cameras {self._runtime.settings.cameras}")
        return TransitionCallbackReturn.SUCCESS

    def _not_configured(self, reason: str) -> TransitionCallbackReturn:
        self.get_logger().error(f"configuration failed: {reason}")
        self._release()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start accepting tasks."""
        self.active = True
        if self._make_bond is not None:
            self._bond = self._make_bond(self)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot, accept no more tasks, and forget what was seen."""
        self.active = False
        self.end_task(Code.CANCELED, "the planner was deactivated")
        self._forget()
        self._break_bond()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and everything else."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything before the node exits."""
        self.active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self.active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        """Stop the robot, then close everything in reverse order of creation, whatever one of them raises."""
        if self.stopping:
            self._heartbeat.silence()
        with ExitStack() as closing:
            if self._runtime is not None:
                closing.callback(self._runtime.close)
            for listener in self._listeners:
                closing.callback(listener.close)
            closing.callback(self._break_bond)
            closing.callback(self._questions.detach, "the planner is being cleaned up")
            closing.callback(self._tasks.detach, "the planner is shutting down")
            self._runtime, self._telemetry, self._listeners = None, None, []

    def _break_bond(self) -> None:
        if self._bond is not None:
            self._bond.close()
        self._bond = None

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _refusal(self, instruction: str) -> str:
        """Why an instruction cannot be accepted now; empty if it can."""
        if not self.active:
            return "the planner is not active"
        if self.stopped:
            return "the emergency stop is set; release it with the service ~/emergency_stop"
        if self.held:
            return self.held
        if self._recorder is not None and (unrecorded := self._recorder.refusal()):
            return unrecorded
        try:
            task = Task(instruction, "navigation")
        except ObservationError as error:
            return str(error)
        too_long = None if self._runtime is None else self._runtime.refusal_of(task)
        return "" if too_long is None else too_long.message

    def end_task(self, code: Code, message: str) -> None:
        """Stop the robot now and end the current task, if any, with this code."""
        self._tasks.end_task(code, message)

    def _forget(self) -> None:
        """Drop the remembered views and objects: until the next activation the robot or the things may be moved."""
        if self._runtime is not None and self._telemetry is not None:
            self._runtime.forget()
            self._telemetry.publish_objects()

    def interrupt_task(self) -> None:
        """Stop the robot because the process ends; no task is accepted after this."""
        self.active = False
        self.end_task(Code.CANCELED, "the planner was interrupted")

    def say_goodbye(self) -> None:
        """Tell the watchdog that the robot was stopped, if it was."""
        if not self.stopping:
            self._heartbeat.stopped()

    def _on_decision(self, decision: Decision, observation: Observation | None) -> None:
        for listener in self._listeners:
            listener.on_decision(decision, observation)

    # --- reasons to stand --------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is set."""
        return self._emergency.set

    @property
    def held(self) -> str:
        """Why the watchdog does not let this planner act; empty if it does."""
        return self._heartbeat.permission.refusal

    @property
    def watchdog(self) -> str:
        """The watchdog's state, in words."""
        return self._heartbeat.permission.words

    @property
    def stopping(self) -> bool:
        """Whether the robot may still move."""
        return self._runtime is not None and not self._runtime.at_rest

    def _bound_stopping(self) -> None:
        """Fall silent if the robot may still move long after the planner was active: the watchdog stops it then."""
        if self.active or not self.stopping:
            self._acted_s = time.monotonic()
        elif time.monotonic() - self._acted_s > _STOPPING_S:
            self._heartbeat.silence()
            reason = f"the robot may still move {_STOPPING_S} s after the planner was active: the watchdog must stop it"
            self.get_logger().error(reason, once=True)

    def _on_emergency(self) -> None:
        self.end_task(Code.EMERGENCY_STOP, "the emergency stop was set")
        self.get_logger().error("emergency stop", throttle_duration_sec=1.0)

    # --- timer and parameters ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._bound_stopping()
        if self._runtime is not None:
            self._runtime.keep_stopping()
        if self._runtime is not None and self.active:
            if self._heartbeat.permission.displaced and self._runtime.busy:
                self.end_task(Code.CANCELED, self.held)
            if self.held:
                self._runtime.interrupt(Outcome(Code.SKILL_FAILED, self.held))
            else:
                self._runtime.tick()
            for listener in self._listeners:
                listener.tick()
            self._tasks.tick()
        if time.monotonic() - self._reported_at >= _REPORT_S:
            self._reported_at = time.monotonic()
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        plan = self._telemetry.plan if self._telemetry is not None else Plan()
        array = DiagnosticArray(status=[diagnosis(self, self._runtime, plan)])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _on_parameters(self, given: Sequence[Any]) -> SetParametersResult:
        result = parameters.check(self, NodeSettings, given, configured=self._runtime is not None)
        changes = {each.name: each.value for each in given if each.name.startswith(parameters.LIVE)}
        if result.successful and changes and self._runtime is not None:
            if not self._runtime.takes_live_settings:
                reason = "a planning server plans: clean up the node, set the parameter, then configure it again"
                return SetParametersResult(successful=False, reason=reason)
            self._runtime.apply(parameters.read(self, NodeSettings, changes))
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, then stop the robot and shut down."""
    try:
        load_plugins()
    except SiEmbodiedError as error:
        get_logger("planner").fatal(str(error))
        return 2
    interrupted = init_until_interrupted(arguments)
    node, executor = PlannerNode(), make_executor()
    try:
        executor.add_node(node)
        if node.get_parameter("autostart").value and node.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        while rclpy.ok() and not interrupted():
            spin_once(node, executor)
    finally:
        shut_down(node, executor)
    return 0


def spin_once(node: PlannerNode, executor: Any) -> None:
    """Run the callbacks that are due. What no guarded callback has caught is refused here."""
    try:
        executor.spin_once(timeout_sec=TICK_S)
    except Exception as error:  # noqa: BLE001 - done callbacks of futures, and rclpy itself
        node.boundary.refuse("executor", error)
        time.sleep(0.001)  # rclpy may raise each time


def shut_down(node: PlannerNode, executor: Any) -> None:
    """Stop the robot and wait until it stands, then end the node."""
    steps = (
        node.interrupt_task,
        lambda: _spin_until_at_rest(node, executor),
        node.say_goodbye,
        node.trigger_shutdown,
        executor.shutdown,
        node.destroy_node,
    )
    for step in steps:
        try:
            step()
        except Exception:  # noqa: BLE001 - the next step matters as much
            node.get_logger().error(f"while shutting down: {traceback.format_exc()}")
    rclpy.try_shutdown()


def _spin_until_at_rest(node: PlannerNode, executor: Any) -> None:
    started_s = time.monotonic()
    while rclpy.ok() and time.monotonic() < started_s + (_MOST_S if node.stopping else _LEAST_S):
        spin_once(node, executor)


def bond_maker(*, wanted: bool) -> Callable[[Any], ManagerBond] | None:
    """The factory of the bond with the lifecycle manager; None if no bond is wanted.

    Raises:
        MissingRosPackageError: bondpy is not installed.
    """
    if not wanted:
        return None
    try:
        from si_embodied.ros_nodes.node.manager_bond import ManagerBond
    except ModuleNotFoundError as error:
        raise MissingRosPackageError(str(error.name)) from error
    return ManagerBond


def make_executor() -> Any:
    """The events executor if rclpy has it. It halves the cost of receiving an image: no wait set is rebuilt."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:  # before Kilted
        return SingleThreadedExecutor()
    return EventsExecutor()


if __name__ == "__main__":
    sys.exit(main())
