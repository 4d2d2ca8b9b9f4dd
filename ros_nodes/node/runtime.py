"""Everything the planner node owns while configured: sensors, planner, worker, robot, task runner and motion stop."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from rclpy.qos import QoSProfile
from std_msgs.msg import String

from si_embodied.backends.tapped import Tap
from si_embodied.geometry import Pose
from si_embodied.planner import AnyPlanner
from si_embodied.ros_nodes.motion.stop import ARM_CANCEL, BASE_CANCEL, CANCEL_SUFFIX, MotionStop
from si_embodied.ros_nodes.node.mapping_planner import PlanInputs
from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels
from si_embodied.ros_nodes.node.planners import make_asker, make_backend, make_planner
from si_embodied.ros_nodes.node.robots import make_robot
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.node.task_runner import Phase, TaskReport, TaskRunner
from si_embodied.ros_nodes.sensing.map_watch import MapWatch
from si_embodied.ros_nodes.sensing.sensors import Sensors
from si_embodied.types import Code, Decision, Observation, Outcome, Refusal, SeenObject, Task
from si_embodied.worker import PlannerWorker

_SENSOR_GRACE_S = 1.0
"""How long clock or cameras may fail while a goal is carried out: a late image is no reason to stop."""

_WORKER_SHUTDOWN_S = 2.0
"""Time for a plan in flight to finish on shutdown; its answer is dropped. `launch` gives a process 5 s to exit."""


class PlannerRuntime:
    """Used only from the executor's thread. The planner itself runs in the worker's thread."""

    def __init__(
        self,
        node: Any,
        settings: NodeSettings,
        on_decision: Callable[[Decision, Observation | None], None],
        granted: Callable[[], bool],
    ) -> None:
        """Load the model and create the subscriptions.

        Args:
            node: the planner node.
            settings: its parameters.
            on_decision: called with every decision and its observation (None if the robot had none).
            granted: whether the watchdog lets a goal start.

        Raises:
            SiEmbodiedError: the backend or the planner cannot be created. Nothing is left open, whatever is raised.
        """
        self._node = node
        self._trusted_s = time.monotonic()  # when clock and cameras were last sound, or no goal was under way
        with ExitStack() as opened:
            self._open(node, settings, on_decision, granted, opened)
            self._opened = opened.pop_all()

    def _open(
        self,
        node: Any,
        settings: NodeSettings,
        on_decision: Callable[[Decision, Observation | None], None],
        granted: Callable[[], bool],
        opened: ExitStack,
    ) -> None:
        self._backend = make_backend(settings)
        if self._backend is not None:
            opened.callback(self._backend.close)
        self.tap = Tap()
        planner = self._make_planner(settings)
        if self._backend is None:
            opened.callback(planner.close)
        self.settings = replace(settings, planner=planner.config)  # with the prompt versions actually used
        self.info = planner.info
        self.asker = make_asker(settings, self._backend)
        cancels = _cancel_topics(settings)
        self._stop = MotionStop(node, stamped=settings.navigation.cmd_vel_stamped, cancels=cancels)
        opened.callback(self._stop.close)
        self._subscribe_truth(opened)
        self.sensors = Sensors(node, settings)
        opened.callback(self.sensors.close)
        self._map, self._jumps = MapWatch(self._odom_now), self.sensors.clock.jumps
        self._robot = make_robot(node, settings, planner, self.sensors, self.now_s, self._stop)
        opened.callback(self._robot.close)
        self._worker = PlannerWorker(self._robot.planner, self.now_s)
        opened.callback(self._worker.close, timeout_s=_WORKER_SHUTDOWN_S)
        self.runner = TaskRunner(
            worker=self._worker,
            planner=self._robot.planner,
            viewer=self._robot,
            client=self._robot.client,
            clock=self.now_s,
            most_holds=settings.most_holds,
            most_outage_s=settings.most_outage_s,
            observation_timeout_s=settings.observation_timeout_s,
            on_decision=on_decision,
            may_start=lambda: granted() and self._stop.lets_goal_start(),
        )

    def _make_planner(self, settings: NodeSettings) -> AnyPlanner:
        return make_planner(settings, None if self._backend is None else self.tap.on(self._backend))

    def now_s(self) -> float:
        """The ROS time in seconds."""
        return 1e-9 * float(self._node.get_clock().now().nanoseconds)

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self.runner.phase is not Phase.IDLE

    @property
    def report(self) -> TaskReport | None:
        """The report of the current task, or else of the last one."""
        return self.runner.report

    @property
    def plan_inputs(self) -> PlanInputs | None:
        """The inputs of the last decision that was made from an observation."""
        return self._robot.planner.inputs

    def look(self) -> Observation | Refusal:
        """What the robot sees now, or why it sees nothing. Decodes images."""
        return self._robot.observe(0.0)

    def start(self, instruction: str, timeout_s: float) -> None:
        """Start a task.

        Args:
            instruction: what to do.
            timeout_s: end the task after this long; 0 means the parameter `task_timeout_s`.

        Raises:
            ObservationError: the instruction is empty.
        """
        task = Task(instruction, self.settings.embodiment.kind)
        self._robot.reset()
        self.runner.start(task, timeout_s if timeout_s > 0 else self.settings.task_timeout_s)

    def refusal_of(self, task: Task) -> Refusal | None:
        """Why the guard would never let this task be planned; None if it may be."""
        return self._robot.planner.guard.check_task(task)

    def halt(self, code: Code, message: str) -> None:
        """End the task and stop the robot now."""
        try:
            self.runner.end(code, message)
        finally:
            self._stop.apply()

    def interrupt(self, outcome: Outcome) -> None:
        """Stop the robot and end the goal under way with a failure; the task goes on with a new plan."""
        if self.runner.phase is Phase.EXECUTING:
            try:
                self.runner.interrupt(outcome)
            finally:
                self._stop.apply()

    @property
    def at_rest(self) -> bool:
        """Whether the robot was stopped, and no goal is on its way that a server could still accept."""
        return not self.busy and not self._stop.applied and self._robot.client.settled

    def keep_stopping(self) -> None:
        """Repeat a stop until the base stands; called by the node's timer, active or not."""
        self._stop.tick()

    def tick(self) -> None:
        """Advance the task; called by the node's timer while it is active."""
        self._watch_jumps()
        try:
            self.runner.tick()
        except Exception as error:  # noqa: BLE001 - whatever the planner raises, stop the robot and keep the node alive
            self._node.get_logger().error(f"planning failed: {traceback.format_exc()}")
            self.halt(Code.BACKEND_FAILED, f"{type(error).__name__}: {error}")
        if self.runner.phase is Phase.EXECUTING:
            seen = self._robot.while_executing(self.now_s())
            if seen is not None:
                self.runner.saw(seen)
        self._watch_sensors()

    def _watch_jumps(self) -> None:
        """Forget what was seen before the clock was set back, or before the map frame jumped."""
        if self.sensors.clock.jumps != self._jumps:
            self._jumps = self.sensors.clock.jumps
            self.forget()
        jumped = self._map.check()
        if jumped:
            self._node.get_logger().warning(f"{jumped}: the map, the views and the objects seen before it are dropped")
            self._robot.forget_map()
            self.forget()
            self.interrupt(Outcome(Code.STALE_OBSERVATION, jumped))

    def forget(self) -> None:
        """Drop the views and objects that the planner remembers."""
        self.runner.forget()

    @property
    def known_objects(self) -> tuple[SeenObject, ...]:
        """The objects that the planner remembers."""
        return () if self.report is None else self.report.progress.memory.objects

    def _watch_sensors(self) -> None:
        """Interrupt a goal while the clock or a camera cannot be trusted."""
        now_s = time.monotonic()
        problem = self.sensors.problem() if self.runner.phase is Phase.EXECUTING else None
        if problem is None:
            self._trusted_s = now_s
        elif now_s - self._trusted_s > _SENSOR_GRACE_S:
            self.interrupt(Outcome(problem.code, problem.message))

    def apply(self, settings: NodeSettings) -> None:
        """Apply live settings, from the next plan on."""
        planner = self._make_planner(settings)
        self.settings = self.sensors.settings = replace(settings, planner=planner.config)
        self._robot.planner.inner = planner

    @property
    def takes_live_settings(self) -> bool:
        """Whether settings can change while configured: only if this process plans, not a planning server."""
        return self._backend is not None

    def close(self) -> None:
        """Stop the robot and release everything."""
        with self._opened:
            self.halt(Code.CANCELED, "the planner is being cleaned up")

    def _odom_now(self) -> Pose | None:
        return self.sensors.transforms.latest(self.settings.map_frame, self.settings.odom_frame)

    def _subscribe_truth(self, opened: ExitStack) -> None:
        if isinstance(self._backend, PerfectPixels):
            topic, backend = self.settings.ground_truth_topic, self._backend
            truth = self._node.create_subscription(String, topic, backend.on_truth, QoSProfile(depth=50))
            opened.callback(self._node.destroy_subscription, truth)


def _cancel_topics(settings: NodeSettings) -> tuple[str, ...]:
    """On which topics the robot's own drivers are told to drop a goal."""
    if settings.kind != "navigation":
        return (ARM_CANCEL,)
    tilt = settings.robot.tilt_topic
    return (BASE_CANCEL, f"{tilt}{CANCEL_SUFFIX}") if tilt else (BASE_CANCEL,)
