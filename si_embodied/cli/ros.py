"""`si-embodied ros`: start the ROS 2 nodes of a robot, without the `launch` package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from si_embodied.cli.parsing import flags, reader
from si_embodied.ros_nodes.node.bringup import Bringup, require_ros, run


@dataclass(frozen=True, slots=True)
class Up:
    """Start the planner node, and with --sim a simulated robot.

    The planner is configured and activated, each node runs in its own process, and Ctrl-C stops the robot and ends them
    all. With an installed ROS 2, `ros2 launch si_embodied` does the same and more.
    """

    bringup: Annotated[
        Bringup,
        flags(
            "task", "seed", "speed", "backend", "model", "params_file", "record", "no_planner",
            sim=reader(str, "[WORLD]", without_value="apartment"),
        ),
    ] = Bringup()  # fmt: skip

    def run(self) -> int:
        """Start the nodes, and wait for them."""
        from rich.console import Console

        nodes = self.bringup.nodes()
        require_ros()
        console = Console(highlight=False, soft_wrap=True, stderr=True)
        console.print(f"starting {', '.join(node.name for node in nodes)} (Ctrl-C stops)", markup=False)
        code = run(nodes, lambda text: console.print(text, markup=False), simulated=self.bringup.sim is not None)
        console.print("stopped", markup=False)
        return code


SUBCOMMANDS = {"up": Up}
