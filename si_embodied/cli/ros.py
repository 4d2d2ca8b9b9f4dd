"""`si-embodied ros`: the ROS 2 nodes without the `launch` package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.cli.arguments import whole_number
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.ros_nodes.node.bringup import NodeProcess

WORLDS = ("apartment", "tabletop")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ros`."""
    parser = subparsers.add_parser("ros", help="start the ROS 2 nodes", description="The ROS 2 nodes of a robot.")
    verbs = parser.add_subparsers(dest="ros_verb", metavar="VERB", required=True)
    up = verbs.add_parser(
        "up",
        help="start the planner, with --sim on a simulated robot",
        description="Starts the planner node, configured and active, and with --sim a simulated robot for it; each in "
        "a process of its own. Ctrl-C stops the robot and ends them. With an installed ROS 2, `ros2 launch "
        "si_embodied` does the same and more.",
    )
    up.add_argument(
        "--sim", nargs="?", const="apartment", choices=WORLDS, metavar="WORLD",
        help="a simulated robot: apartment (default) or tabletop",
    )  # fmt: skip
    up.add_argument("--task", metavar="T", help="of the simulated world (default: its first)")
    up.add_argument("--seed", type=whole_number(0, 7), metavar="N", help="of the simulated episode (default: 0)")
    up.add_argument("--speed", type=float, metavar="X", help="simulated seconds in a second, if the machine can")
    up.add_argument("--backend", metavar="NAME", help="of the planner: local (default), server, perfect_pixels, …")
    up.add_argument("--model", metavar="DIR", help="of the planner (default: the one that is shipped)")
    up.add_argument("--params-file", type=Path, metavar="FILE", help="ROS parameters of the nodes, on top of config/")
    up.add_argument("--record", metavar="DIR", help="a folder to make, for si-embodied replay, ros2 bag and Foxglove")
    up.add_argument("--no-planner", action="store_true", help="the simulated robot alone")
    up.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start what was asked for, and wait."""
    from rich.console import Console

    from si_embodied.ros_nodes.node import bringup

    nodes = nodes_for(args)
    bringup.require_ros()
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    console.print(f"starting {', '.join(node.name for node in nodes)} (Ctrl-C stops)", markup=False)
    code = bringup.run(nodes, lambda text: console.print(text, markup=False), simulated=args.sim is not None)
    console.print("stopped", markup=False)
    return code


def nodes_for(args: argparse.Namespace) -> list[NodeProcess]:
    """The nodes that the arguments ask for.

    Raises:
        ConfigError: arguments that do not go together.
    """
    from si_embodied.ros_nodes.node.bringup import NodeProcess, config_file

    if args.no_planner and not args.sim:
        raise ConfigError("--no-planner leaves nothing to start; give --sim too")
    if args.sim is None and not (args.task is args.seed is args.speed is None):
        raise ConfigError("--task, --seed and --speed are of a simulated world; give --sim too")
    if args.params_file is not None and not args.params_file.is_file():
        raise ConfigError(f"there is no parameter file {str(args.params_file)!r}")
    given = () if args.params_file is None else (args.params_file,)
    files = (config_file("sim.yaml"), config_file(f"{args.sim}.yaml"), *given) if args.sim else given
    simulated = True if args.sim else None
    nodes = []
    if args.record is not None:
        parameters = {"output": str(Path(args.record).absolute()), "use_sim_time": simulated}
        nodes.append(NodeProcess("recorder", "si_embodied.ros_nodes.recorder_node", files, _given(parameters)))
    if args.sim:
        truth = True if args.backend == "perfect_pixels" else None
        parameters = {
            "world": args.sim, "task": args.task, "seed": args.seed, "real_time_factor": args.speed,
            "publish_ground_truth": truth,
        }  # fmt: skip
        nodes.append(NodeProcess("sim_node", "si_embodied.ros_nodes.sim_node", files, _given(parameters)))
    if not args.no_planner:
        given_clock = _given({"use_sim_time": simulated})
        nodes.append(NodeProcess("watchdog", "si_embodied.ros_nodes.watchdog_node", files, given_clock))
        parameters = {
            "autostart": True, "use_sim_time": simulated, "backend": args.backend, "model": args.model,
        }  # fmt: skip
        nodes.append(NodeProcess("planner", "si_embodied.ros_nodes.planner_node", files, _given(parameters)))
    return nodes


def _given(parameters: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value is not None}
