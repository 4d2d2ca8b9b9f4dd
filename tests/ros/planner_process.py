"""A planner node in a process of its own that is driven through its lifecycle, and can be ended in any way."""

from __future__ import annotations

import itertools
import subprocess
import time
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.msg import PlannerStatus
from std_srvs.srv import SetBool

from si_embodied.ros_nodes.sensing.qos import LATCHED

REPLIES_S, MOST_S = 2.0, 60.0


def node(name: str) -> list[str]:
    """A node's command; without its log, because nobody reads the pipe."""
    return ["-m", f"si_embodied.ros_nodes.{name}", "--ros-args", "--log-level", "fatal"]


class Planner:
    """A planner process with names of its own, so that its predecessor and its successor can run beside it."""

    _numbers = itertools.count()

    def __init__(self, ros: Any, settings: dict[str, Any]) -> None:
        """Start the process. It does nothing until `activate`."""
        self.ros, self.name = ros, f"planner_{next(self._numbers)}"
        names = [f"__node:={self.name}", f"plan_task:={self.name}/plan_task"]
        self.process = ros.start([*node("planner_node"), *(part for name in names for part in ("-r", name))], settings)
        self.state = PlannerStatus.IDLE
        client = ros.node.create_client
        self.changes = client(ChangeState, f"{self.name}/change_state")
        self.parameters = client(SetParametersAtomically, f"{self.name}/set_parameters_atomically")
        self.stops = client(SetBool, f"{self.name}/emergency_stop")
        self.tasks = ActionClient(ros.node, PlanTask, f"{self.name}/plan_task")
        self.status = ros.node.create_subscription(PlannerStatus, f"{self.name}/status", self._on_status, LATCHED)

    def _on_status(self, message: PlannerStatus) -> None:
        self.state = message.state

    def started(self) -> None:
        """Wait until the process can be spoken to."""
        for each in (self.changes, self.parameters, self.stops):
            self.ros.wait(each.service_is_ready, MOST_S, f"{self.name}'s services")
        self.ros.wait(self.tasks.server_is_ready, MOST_S, f"{self.name}'s action")

    def activate(self, plans_s: float) -> None:
        """Configure and activate the planner, whose model takes so long for a plan; end its emergency stop."""
        self.ros.wait(lambda: self._set_delay(plans_s), MOST_S, "the planner's parameter")
        self.change(Transition.TRANSITION_CONFIGURE)
        self.change(Transition.TRANSITION_ACTIVATE)
        self.release()

    def _set_delay(self, seconds: float) -> bool:
        """Set how long the model is busy; whether the planner confirmed it. A client just found may miss the reply."""
        delay = Parameter("script_delay_s", value=seconds).to_parameter_msg()
        future = self.parameters.call_async(SetParametersAtomically.Request(parameters=[delay]))
        until_s = time.monotonic() + REPLIES_S
        while not future.done() and time.monotonic() < until_s:
            self.ros.executor.spin_once(timeout_sec=0.02)
        return bool(future.done())

    def call(self, client: Any, request: Any) -> Any:
        return self.ros.result(client.call_async(request), MOST_S, f"an answer of {client.srv_name}")

    def change(self, transition: int) -> None:
        assert self.call(self.changes, change_of(transition)).success

    def release(self) -> None:
        """End the emergency stop, once the planner has found the watchdog, which keeps it too."""
        free = lambda: self.call(self.stops, SetBool.Request(data=False)).success  # noqa: E731
        self.ros.wait(free, MOST_S, "the end of the emergency stop")

    def task(self) -> Any:
        """The handle of a task, sent again until it is accepted: an earlier stop may still be going on."""
        goal = PlanTask.Goal(instruction="move until you are stopped", timeout_s=MOST_S)
        send = lambda: self.ros.result(self.tasks.send_goal_async(goal), MOST_S, "the task's acceptance")  # noqa: E731
        return self.ros.wait(lambda: (handle := send()).accepted and handle, MOST_S, "a planner that accepts a task")

    def signal(self, number: int) -> None:
        """End the process; with whatever exit status."""
        self.ros.processes.remove(self.process)
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the process's end after `signal`; its exit status."""
        try:
            self.process.communicate(timeout=MOST_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for client in (self.changes, self.parameters, self.stops):
            self.ros.node.destroy_client(client)
        self.tasks.destroy()
        self.ros.node.destroy_subscription(self.status)
        return int(self.process.returncode)


def change_of(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request
