"""Everything that the planner node has while it is configured: eyes, planner, worker, hands and brake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from si_embodied.errors import SiEmbodiedError
from si_embodied.ros_nodes.node.mapping_planner import Asked
from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels
from si_embodied.ros_nodes.node.planners import make_asker, make_backend, make_planner
from si_embodied.ros_nodes.node.robots import make_robot
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.node.task_runner import Phase, TaskReport, TaskRunner
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.sensors import Sensors
from si_embodied.types import Code, Decision, Observation, Task
from si_embodied.worker import PlannerWorker

_BRAKE_S = 0.5
"""Zero velocity is repeated for so long: a controller that was just told to go may still have a command on its way."""

_WORKER_ENDS_S = 2.0
"""For a plan in flight, which nobody waits for any more; `launch` gives a process 5 s to end."""


class PlannerRuntime:
    """Used from the executor's thread alone; the worker's thread is the planner's."""

    def __init__(
        self, node: Any, settings: NodeSettings, on_decision: Callable[[Decision, Observation | None], None]
    ) -> None:
        """Load the model and subscribe.

        Raises:
            SiEmbodiedError: something cannot be had; nothing is left behind.
        """
        self._node = node
        self._backend = make_backend(settings)
        try:
            planner = make_planner(settings, self._backend)
        except SiEmbodiedError:
            if self._backend is not None:
                self._backend.close()
            raise
        self.settings = replace(settings, planner=planner.config)  # with the prompts that the model is asked with
        self.info = planner.info
        self.asker = make_asker(settings, self._backend)
        self.sensors = Sensors(node, settings)
        self._truth = self._subscribe_truth()
        self._brake = Brake(node, self.now_s, stamped=settings.navigation.cmd_vel_stamped)
        self._robot = make_robot(node, settings, planner, self.sensors, self.now_s)
        self._worker = PlannerWorker(self._robot.planner, self.now_s)
        self.runner = TaskRunner(
            worker=self._worker,
            planner=self._robot.planner,
            viewer=self._robot,
            client=self._robot.client,
            clock=self.now_s,
            most_holds=settings.most_holds,
            observation_timeout_s=settings.observation_timeout_s,
            on_decision=on_decision,
        )

    def now_s(self) -> float:
        """The ROS clock."""
        return 1e-9 * float(self._node.get_clock().now().nanoseconds)

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return self.runner.phase is not Phase.IDLE

    @property
    def report(self) -> TaskReport | None:
        """Of the task under way or the last one."""
        return self.runner.report

    @property
    def asked(self) -> Asked | None:
        """What the last decision that was made from an observation rests on."""
        return self._robot.planner.asked

    def start(self, instruction: str, timeout_s: float) -> None:
        """Begin a task.

        Raises:
            ObservationError: an empty instruction.
        """
        task = Task(instruction, self.settings.embodiment.kind)
        self._robot.reset()
        self._brake.release()
        self.runner.start(task, timeout_s if timeout_s > 0 else self.settings.task_timeout_s)

    def halt(self, code: Code, message: str) -> None:
        """End the task and stand still, now."""
        self.runner.end(code, message)
        self._brake.apply()

    def tick(self) -> None:
        """Everything that is done at the node's own pace."""
        busy = self.busy
        try:
            self.runner.tick()
        except Exception as error:  # noqa: BLE001 - whatever the planner raised, the robot stands and the node lives
            self._node.get_logger().error(f"planning failed: {type(error).__name__}: {error}")
            self.halt(Code.BACKEND_FAILED, f"{type(error).__name__}: {error}")
        if busy and not self.busy:
            self._brake.apply()
        self._brake.tick()
        if self.runner.phase is Phase.EXECUTING:
            self._robot.on_the_way(self.now_s())

    def apply(self, settings: NodeSettings) -> None:
        """Take live settings; the next plan is made with them."""
        planner = make_planner(settings, self._backend)
        self.settings = self.sensors.settings = replace(settings, planner=planner.config)
        self._robot.planner.inner = planner

    @property
    def takes_live_settings(self) -> bool:
        """Whether it plans here."""
        return self._backend is not None

    def close(self) -> None:
        """Stop, and release everything."""
        self.halt(Code.CANCELED, "the planner is cleaned up")
        self._worker.close(timeout_s=_WORKER_ENDS_S)
        self.sensors.close()
        self._robot.close()
        self._brake.close()
        if self._truth is not None:
            self._node.destroy_subscription(self._truth)
        self._robot.planner.close()

    def _subscribe_truth(self) -> Any:
        if not isinstance(self._backend, PerfectPixels):
            return None
        topic, backend = self.settings.ground_truth_topic, self._backend
        return self._node.create_subscription(String, topic, backend.on_truth, QoSProfile(depth=50))


class Brake:
    """Zero velocity on cmd_vel, for a while."""

    def __init__(self, node: Any, clock: Callable[[], float], *, stamped: bool) -> None:
        """Publish on cmd_vel, with a stamp where the base wants it."""
        self._node, self._clock, self._stamped = node, clock, stamped
        self._publisher = node.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 1)
        self._until_s: float | None = None

    def apply(self) -> None:
        """Stop now, and go on saying so."""
        self._until_s = self._clock() + _BRAKE_S
        self._publish()

    def release(self) -> None:
        """Let the robot move."""
        self._until_s = None

    def tick(self) -> None:
        """Say it again while it is to be said."""
        if self._until_s is None:
            return
        if self._clock() >= self._until_s:
            self._until_s = None
        else:
            self._publish()

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        message = TwistStamped() if self._stamped else Twist()
        if self._stamped:
            bridge.set_stamp(message.header.stamp, self._clock())
            message.header.frame_id = "base_link"
        self._publisher.publish(message)
