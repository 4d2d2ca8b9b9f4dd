"""`si-embodied ros`: start the ROS 2 nodes of a robot, without the `launch` package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from si_embodied.cli.parsing import reader
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.bringup import NodeProcess

WORLDS = ("apartment", "tabletop")


def _world(text: str) -> str:
    if text not in WORLDS:
        raise ValueError(f"expected {' or '.join(WORLDS)}, got {text!r}")
    return text


@dataclass(frozen=True, slots=True)
class Up:
    """Start the planner node, and with --sim a simulated robot.

    The planner is configured and activated, each node runs in its own process, and Ctrl-C stops the robot and ends them
    all. With an installed ROS 2, `ros2 launch si_embodied` does the same and more.
    """

    sim: Annotated[
        str | None,
        Doc("simulate a robot: apartment (the default) or tabletop"),
        reader(_world, "[WORLD]", without_value="apartment"),
    ] = None
    task: Annotated[str | None, Doc("of the simulated world; default: its first")] = None
    seed: Annotated[int | None, Doc("of the simulated episode; default: 0")] = None
    speed: Annotated[float | None, Doc("simulated seconds per second, if the machine is fast enough")] = None
    backend: Annotated[str | None, Doc("of the planner: local (the default), server, perfect_pixels, …")] = None
    model: Annotated[str | None, Doc("of the planner; default: si-nano")] = None
    params_file: Annotated[Path | None, Doc("ROS parameters of the nodes, on top of those in config/")] = None
    record: Annotated[Path | None, Doc("a folder to create, for si-embodied replay, ros2 bag and Foxglove")] = None
    no_planner: Annotated[bool, Doc("start the simulated robot alone")] = False

    def run(self) -> int:
        """Start the nodes, and wait for them."""
        from rich.console import Console

        from si_embodied.ros_nodes.node import bringup

        nodes = nodes_for(self)
        bringup.require_ros()
        console = Console(highlight=False, soft_wrap=True, stderr=True)
        console.print(f"starting {', '.join(node.name for node in nodes)} (Ctrl-C stops)", markup=False)
        code = bringup.run(nodes, lambda text: console.print(text, markup=False), simulated=self.sim is not None)
        console.print("stopped", markup=False)
        return code


COMMAND = {"up": Up}


def nodes_for(options: Up) -> list[NodeProcess]:
    """The nodes to start.

    Raises:
        ConfigError: if the options contradict each other.
    """
    from si_embodied.ros_nodes.node.bringup import NodeProcess, config_file

    sim = options.sim
    if options.no_planner and not sim:
        raise ConfigError("--no-planner leaves nothing to start; give --sim too")
    if sim is None and (options.task, options.seed, options.speed) != (None, None, None):
        raise ConfigError("--task, --seed and --speed set up a simulated world; give --sim too")
    if options.params_file is not None and not options.params_file.is_file():
        raise ConfigError(f"no such parameter file: {str(options.params_file)!r}")
    files = () if options.params_file is None else (options.params_file,)
    if sim:
        files = (config_file("sim.yaml"), config_file(f"{sim}.yaml"), *files)
    nodes = []

    def add(name: str, module: str, **parameters: object) -> None:
        given = {key: value for key, value in parameters.items() if value is not None}
        nodes.append(NodeProcess(name, f"si_embodied.ros_nodes.{module}", files, given))

    simulated = True if sim else None
    if options.record is not None:
        add("recorder", "recorder_node", output=str(options.record.absolute()), use_sim_time=simulated)
    if sim:
        truth = True if options.backend == "perfect_pixels" else None
        add(
            "sim_node", "sim_node", world=sim, task=options.task, seed=options.seed, real_time_factor=options.speed,
            publish_ground_truth=truth,
        )  # fmt: skip
    if not options.no_planner:
        add(
            "planner", "planner_node", autostart=True, use_sim_time=simulated, backend=options.backend,
            model=options.model,
        )  # fmt: skip
    return nodes
