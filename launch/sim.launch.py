"""The planner and a simulated robot: `ros2 launch si_embodied sim.launch.py backend:=perfect_pixels`."""

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
    # name, default, what it says, choices
    ("world", "apartment", "where the robot stands", ("apartment", "tabletop")),
    ("task", "", "of the world, objectnav for example; empty: as the parameters say", None),
    ("seed", "", "of the episode; empty: as the parameters say", None),
    ("real_time_factor", "", "simulated seconds in one second, if the machine can; empty: as the parameters say", None),
    ("params_file", "", "parameters of both nodes, on top of config/sim.yaml and config/WORLD.yaml", None),
    (
        "backend",
        "",
        "of the planner: local, server, remote, scripted or perfect_pixels; empty: as the parameters say",
        None,
    ),
    ("model", "", "checkpoint directory, or a server's name for its model; empty: as the parameters say", None),
    ("url", "", "of the server or of the planning server; empty: as the parameters say", None),
    ("namespace", "", "of both nodes and of their relative topics", None),
    ("autostart", "true", "configure and activate the planner at once", YES_NO),
    ("respawn", "false", "start the planner again when it dies", YES_NO),
    ("record", "", "folder to record everything to, for si-embodied replay and Foxglove; empty: none", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("planner", "true", "start the planner; false: the robot alone", YES_NO),
    ("rviz", "false", "open RViz, with config/planner.rviz", YES_NO),
    ("foxglove", "false", "serve Foxglove: foxglove_bridge, on port 8765", YES_NO),
)
TO_PLANNER = ("backend", "model", "url", "namespace", "autostart", "respawn", "record", "log_level")


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they start."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[object]:
    """The simulator, the planner and what shows them."""
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
        # Beneath the parameters of every node in this group.
        *(SetParametersFromFile(str(file)) for file in (CONFIG / "sim.yaml", world)),
        simulator(given, params_file),
        *([planner] if given["planner"] == "true" else []),
    ]
    shown = [
        *([rviz()] if given["rviz"] == "true" else []),
        *([foxglove()] if given["foxglove"] == "true" else []),
    ]
    # Without it most images are lost between processes with Fast DDS: see docs/ros.md.
    profile = SetEnvironmentVariable(DDS_PROFILE, os.environ.get(DDS_PROFILE) or str(CONFIG / "fastdds.xml"))
    return [profile, GroupAction(robot), *shown]


def simulator(given: dict[str, str], params_file: str) -> Node:
    """The robot."""
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
    """RViz on the simulator's clock."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "planner.rviz")],
        parameters=[{"use_sim_time": True}],
    )


def foxglove() -> Node:
    """What Foxglove connects to, at ws://localhost:8765."""
    return Node(package="foxglove_bridge", executable="foxglove_bridge", parameters=[{"use_sim_time": True}])
