"""How long a robot takes to stop: request to zero velocity, and `kill -9` of the planner to a base that stands.

The robot before a wall of tests/ros, the planner node and the watchdog, each in a process of its own. The last line is
JSON, in milliseconds.

    AMENT_PREFIX_PATH=.venv PYTHONPATH=.:tests/ros .venv/bin/python benchmarks/ros_stopping.py --tries 200 --kills 20
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest
import numpy as np
from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

ROBOT = Path(conftest.__file__).parent / "wall_robot.py"
PLANNER, WATCHDOG = ["-m", "si_embodied.ros_nodes.planner_node"], ["-m", "si_embodied.ros_nodes.watchdog_node"]
SCRIPT = json.dumps({"subgoals": [{"skill": "turn", "degrees": 170}], "done": False})
SETTINGS = {"backend": "scripted", "script": SCRIPT, "autostart": True, "planner.guard.max_repeats": 100_000}
LIMITS_MS = {"emergency stop": 100.0, "cancel": 100.0, "kill -9": 800.0}
WAIT_S = 60.0


class Bench:
    """A robot that turns until it is stopped."""

    def __init__(self, ros: Any) -> None:
        self.ros = ros
        self.goals = ros.listen(PoseStamped, "goal_pose")
        self.velocities: list[float] = []  # time.monotonic of each
        self.poses: list[tuple[float, float]] = []  # time.monotonic, orientation
        ros.node.create_subscription(Twist, "cmd_vel", lambda _: self.velocities.append(time.monotonic()), 50)
        ros.node.create_subscription(Odometry, "odom", self._on_odometry, 50)
        self.button = ros.node.create_publisher(Bool, "emergency_stop", 1)
        ros.start([str(ROBOT)], {"speed": 0.2})
        ros.start(WATCHDOG)
        self.planner = ros.start(PLANNER, SETTINGS)

    def _on_odometry(self, message: Odometry) -> None:
        self.poses.append((time.monotonic(), message.pose.pose.orientation.z))

    def drive(self) -> Any:
        """Start a task; its goal handle, once the base moves."""
        self.goals.clear()
        handle = self.ros.task()
        while not handle.accepted:  # a stop is being ended
            handle = self.ros.task()
        self.ros.wait(lambda: self.goals, WAIT_S, "a goal")
        self.poses.clear()
        self.ros.wait(lambda: len({pose for _, pose in self.poses}) > 2, WAIT_S, "a base that moves")
        self.velocities.clear()
        return handle

    def to_zero_velocity(self, stop: Callable[[Any], None]) -> float:
        """Milliseconds from a request to zero velocity."""
        handle = self.drive()
        started_s = time.monotonic()
        stop(handle)
        self.ros.wait(lambda: self.velocities, WAIT_S, "zero velocity")
        taken_ms = 1e3 * (self.velocities[0] - started_s)
        self.ros.end(handle)
        self.ros.call(SetBool, "planner/emergency_stop", SetBool.Request(data=False))
        return taken_ms

    def kill(self) -> float:
        """Milliseconds from SIGKILL to the base's last motion."""
        self.drive()
        started_s = time.monotonic()
        self.planner.kill()
        self.planner.communicate()
        self.ros.processes.remove(self.planner)
        self.ros.wait(lambda: time.monotonic() - started_s > 2.0, WAIT_S, "two seconds")
        last = self.poses[-1][1]
        stood_s = max(stamp for stamp, pose in self.poses if pose != last)
        self.planner = self.ros.start(PLANNER, SETTINGS)
        self.ros.wait(lambda: time.monotonic() - started_s > 6.0, WAIT_S, "a new planner")
        return 1e3 * (stood_s - started_s)


def main() -> int:
    """Measure, print a table and a line of JSON; 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50, help="of each kind of request (default: 50)")
    parser.add_argument("--kills", type=int, default=5, help="of the planner (default: 5)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, conftest.ros_in(Path(folder)) as ros:
        bench = Bench(ros)
        stop = Bool(data=True)
        kinds: dict[str, tuple[int, Callable[[], float]]] = {
            "emergency stop": (
                given.tries,
                lambda: bench.to_zero_velocity(lambda _: bench.button.publish(stop)),
            ),
            "cancel": (given.tries, lambda: bench.to_zero_velocity(lambda handle: handle.cancel_goal_async())),
            "kill -9": (given.kills, bench.kill),
        }
        found = {kind: [measure() for _ in range(tries)] for kind, (tries, measure) in kinds.items()}
    values = {
        kind: {"tries": len(taken), "median_ms": np.median(taken).round(1), "p99_ms": np.percentile(taken, 99).round(1)}
        for kind, taken in found.items()
    }
    sys.stdout.write(json.dumps(values) + "\n")
    return int(any(each["p99_ms"] > LIMITS_MS[kind] for kind, each in values.items()))


if __name__ == "__main__":
    sys.exit(main())
