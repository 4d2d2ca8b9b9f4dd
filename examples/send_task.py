"""Send a task to the planner node and follow it: `python examples/send_task.py "go to the red chair"`.

Without an instruction: the simulated robot's own (`si-embodied ros up --sim`). The exit code is 0 if the task succeeds.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import String

from si_embodied import Code


def main() -> int:
    rclpy.init()
    node = Node("send_task")
    instruction = " ".join(sys.argv[1:]) or simulated_instruction(node)
    client = ActionClient(node, PlanTask, "plan_task")
    client.wait_for_server()
    told: list[tuple[str, float]] = [("", 0.0)]
    goal = PlanTask.Goal(instruction=instruction)
    while not (handle := wait(node, client.send_goal_async(goal, feedback_callback=lambda m: tell(m, told)))).accepted:
        sys.stdout.write("the planner takes no task yet; its log and /diagnostics say why\n")
        time.sleep(2.0)  # it may still be loading its model, or wait for a recorder
    result = wait(node, handle.get_result_async()).result
    sys.stdout.write(f"{instruction}: {Code(result.code).name} after {result.plans} plans, {result.duration_s:.0f} s\n")
    rclpy.shutdown()
    return 0 if result.code == Code.OK else 1


def simulated_instruction(node: Node) -> str:
    heard, latched = list[str](), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(String, "sim_node/instruction", lambda message: heard.append(message.data), latched)
    while not heard:
        rclpy.spin_once(node)
    return heard[0]


def wait(node: Node, future: Any) -> Any:
    rclpy.spin_until_future_complete(node, future)
    return future.result()


def tell(m: Any, told: list[tuple[str, float]]) -> None:
    words, now_s = f"{m.feedback.subgoal.skill} {m.feedback.subgoal.object}".strip(), m.feedback.elapsed_s
    if words and (words != told[-1][0] or now_s > told[-1][1] + 10.0):  # new, or still going on
        told.append((words, now_s))
        sys.stdout.write(f"{now_s:6.1f} s  {words}\n")


if __name__ == "__main__":
    sys.exit(main())
