"""A planner that never answers a task, and says when it is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

import rclpy
from rclpy.action import ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import Bool
from std_srvs.srv import SetBool


def main() -> None:
    """Spin until interrupted."""
    rclpy.init()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread that waits for ever would be waited for
    node = rclpy.create_node("planner")
    told = node.create_publisher(Bool, "told_to_stop", 1)

    def stop(request: Any, response: Any) -> Any:
        told.publish(Bool(data=request.data))
        response.success = True
        return response

    node.create_service(SetBool, "~/emergency_stop", stop, callback_group=ReentrantCallbackGroup())
    ActionServer(
        node, PlanTask, "plan_task", lambda _: PlanTask.Result(), callback_group=ReentrantCallbackGroup(),
        goal_callback=lambda _: threading.Event().wait(),
    )  # fmt: skip
    rclpy.spin(node, MultiThreadedExecutor(4))


if __name__ == "__main__":
    main()
