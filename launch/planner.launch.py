"""The planner node: `ros2 launch si_embodied planner.launch.py image_topic:=/camera/color/image_raw …`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("si_embodied"))
ARGUMENTS = (
    # name, default, what it says, choices
    ("params_file", str(SHARE / "config" / "planner.yaml"), "parameters of the node, each explained there", None),
    ("backend", "", "local, server, remote, scripted or perfect_pixels; empty: as params_file says", None),
    ("model", "", "checkpoint directory, or a server's name for its model; empty: as params_file says", None),
    ("url", "", "of the server or of the planning server; empty: as params_file says", None),
    ("namespace", "", "of the node and of its relative topics", None),
    ("use_sim_time", "false", "follow /clock", ("true", "false")),
    ("autostart", "true", "configure and activate at once; false: a lifecycle manager does", ("true", "false")),
    ("respawn", "false", "start the node again when it ends", ("true", "false")),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("image_topic", "head/image_raw", "the camera's colour image; compressed, its topic ends in /compressed", None),
    ("depth_topic", "head/depth", "its depth, registered to the colour image", None),
    ("camera_info_topic", "head/camera_info", "its calibration", None),
    ("cmd_vel_topic", "cmd_vel", "where zero velocity is published to stop", None),
    ("goal_topic", "goal_pose", "where goals go without Nav2", None),
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the node that they make."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=planner)])


def planner(context: LaunchContext) -> list[Node]:
    """The node, with what was given on the command line on top of the file's parameters."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    over = {name: given[name] for name in ("backend", "model", "url") if given[name]}
    flags = {name: given[name] == "true" for name in ("use_sim_time", "autostart")}
    remappings = [
        ("head/image_raw", given["image_topic"]),
        ("head/image_raw/compressed", f"{given['image_topic']}/compressed"),
        ("head/depth", given["depth_topic"]),
        ("head/camera_info", given["camera_info_topic"]),
        ("cmd_vel", given["cmd_vel_topic"]),
        ("goal_pose", given["goal_topic"]),
    ]
    return [
        Node(
            package="si_embodied",
            executable="planner_node",
            name="planner",
            namespace=given["namespace"],
            output="screen",
            parameters=[given["params_file"], {**over, **flags}],
            remappings=[(name, topic) for name, topic in remappings if name != topic],
            arguments=["--ros-args", "--log-level", given["log_level"]],
            respawn=given["respawn"] == "true",
            respawn_delay=2.0,
            sigterm_timeout="10",
        )
    ]
