"""Starts the planner and a simulated robot: `ros2 launch si_embodied sim.launch.py backend:=perfect_pixels`."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParametersFromFile

SHARE = Path(get_package_share_directory("si_embodied"))
CONFIG = SHARE / "config"
DDS_PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
YES_NO = ("true", "false")
ARGUMENTS = (
    # name, default, description, choices
    ("world", "apartment", "simulated world, and with it the robot", ("apartment", "tabletop")),
    ("task", "", "task of the world, for example objectnav; empty: from the parameters", None),
    ("seed", "", "seed of the episode; empty: from the parameters", None),
    ("real_time_factor", "", "simulated seconds per second, if the machine keeps up; empty: from the parameters", None),
    ("params_file", "", "YAML file with parameters of both nodes; wins over config/sim.yaml and WORLD.yaml", None),
    ("backend", "", "local, server, remote, scripted or perfect_pixels; empty: from the parameters", None),
    ("model", "", "checkpoint directory, hub name, or a server's name for it; empty: from the parameters", None),
    ("url", "", "address of the model's server or of the planning server; empty: from the parameters", None),
    ("namespace", "", "namespace of both nodes and of their relative topics", None),
    ("autostart", "true", "configure and activate the planner at start", YES_NO),
    ("respawn", "false", "restart the planner when it dies", YES_NO),
    ("record", "", "folder to record to, for si-embodied replay and Foxglove; empty: do not record", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("planner", "true", "start the planner; false: only the simulated robot", YES_NO),
    ("rviz", "false", "open RViz with config/planner.rviz", YES_NO),
    ("foxglove", "false", "start foxglove_bridge on port 8765", YES_NO),
)
TO_PLANNER = ("backend", "model", "url", "namespace", "autostart", "respawn", "record", "log_level")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[object]:
    """The simulator, the planner and the viewers."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    world = CONFIG / f"{given['world']}.yaml"
    params_file = given["params_file"] or str(world)
    planner = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "planner.launch.py")),
        launch_arguments={
            **{name: given[name] for name in TO_PLANNER}, "params_file": params_file, "use_sim_time": "true",
        }.items(),
    )  # fmt: skip
    robot = [
        # Defaults for every node in this group; the nodes' own parameters override them.
        *(SetParametersFromFile(str(file)) for file in (CONFIG / "sim.yaml", world)),
        simulator(given, params_file),
        *([planner] if given["planner"] == "true" else []),
    ]
    shown = [
        *([rviz()] if given["rviz"] == "true" else []),
        *([foxglove()] if given["foxglove"] == "true" else []),
    ]
    # Fast DDS's default profile loses most images between processes: see docs/ros.md.
    profile = SetEnvironmentVariable(DDS_PROFILE, os.environ.get(DDS_PROFILE) or str(CONFIG / "fastdds.xml"))
    return [profile, GroupAction(robot), *shown]


def simulator(given: dict[str, str], params_file: str) -> Node:
    """The simulated robot."""
    episode: dict[str, object] = {"world": given["world"]}
    types = {"task": str, "seed": int, "real_time_factor": float}
    episode |= {name: kind(given[name]) for name, kind in types.items() if given[name]}
    if given["backend"] == "perfect_pixels":
        episode["publish_ground_truth"] = True
    return Node(
        package="si_embodied",
        executable="sim_node",
        name="sim_node",
        namespace=given["namespace"],
        output="screen",
        parameters=[params_file, episode],
        arguments=["--ros-args", "--log-level", given["log_level"]],
    )


def rviz() -> Node:
    """RViz, on the simulator's clock."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "planner.rviz")],
        parameters=[{"use_sim_time": True}],
    )


def foxglove() -> Node:
    """The bridge that Foxglove connects to, at ws://localhost:8765."""
    return Node(package="foxglove_bridge", executable="foxglove_bridge", parameters=[{"use_sim_time": True}])
