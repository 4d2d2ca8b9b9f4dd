"""The planner and a simulated robot: `ros2 launch si_embodied sim.launch.py backend:=perfect_pixels`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("si_embodied"))
ARGUMENTS = (
    # name, default, what it says, choices
    ("world", "apartment", "apartment or tabletop", ("apartment", "tabletop")),
    ("task", "", "of the world, objectnav for example; empty: the world's first", None),
    ("seed", "0", "of the episode", None),
    ("backend", "local", "of the planner: local, server, remote or perfect_pixels", None),
    ("model", "", "checkpoint directory, or a server's name for its model; empty: the one that is shipped", None),
    ("params_file", str(SHARE / "config" / "sim.yaml"), "parameters of the simulator and of the planner", None),
    ("rviz", "false", "open RViz", ("true", "false")),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they start."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    # Without it most images are lost between processes with Fast DDS: see docs/ros.md.
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(SHARE / "config" / "fastdds.xml"))
    return LaunchDescription([*declared, profile, OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[object]:
    """The simulator, the planner and what shows them."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    world = {"world": given["world"], "task": given["task"], "seed": int(given["seed"])}
    simulator = Node(
        package="si_embodied",
        executable="sim_node",
        name="sim_node",
        output="screen",
        parameters=[
            given["params_file"], {**world, "publish_ground_truth": given["backend"] == "perfect_pixels"}
        ],
        arguments=["--ros-args", "--log-level", given["log_level"]],
    )  # fmt: skip
    passed_on = {name: given[name] for name in ("params_file", "backend", "model", "log_level")}
    planner = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "planner.launch.py")),
        launch_arguments={**passed_on, "use_sim_time": "true"}.items(),
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "planner.rviz")],
        parameters=[{"use_sim_time": True}],
    )
    return [simulator, planner, *([rviz] if given["rviz"] == "true" else [])]
