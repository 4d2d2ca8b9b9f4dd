"""The planner node with Nav2's action. Where Nav2 is not installed, PlanTask stands in for NavigateToPose.

A server that answers nothing cannot tell the two apart.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from geometry_msgs.msg import PoseStamped

try:
    from nav2_msgs.action import NavigateToPose
except ModuleNotFoundError:
    from si_embodied_msgs.action import PlanTask as NavigateToPose


def provide() -> None:
    """Make the action importable as Nav2's, for this process alone."""
    NavigateToPose.Goal.pose = PoseStamped()
    stand_in: Any = ModuleType("nav2_msgs.action")
    stand_in.NavigateToPose = NavigateToPose
    sys.modules["nav2_msgs"], sys.modules["nav2_msgs.action"] = ModuleType("nav2_msgs"), stand_in


if __name__ == "__main__":
    if "nav2_msgs" not in sys.modules:
        provide()
    from si_embodied.ros_nodes.planner_node import main

    sys.exit(main())
