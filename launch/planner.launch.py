"""The planner node: `ros2 launch si_embodied planner.launch.py image_topic:=/camera/color/image_raw …`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(get_package_share_directory("si_embodied")) / "config"
YES_NO = ("true", "false")
ARGUMENTS = (
    # name, default, what it says, choices
    ("params_file", str(CONFIG / "planner.yaml"), "parameters of the node, each explained there", None),
    ("backend", "", "local, server, remote, scripted or perfect_pixels; empty: as params_file says", None),
    ("model", "", "checkpoint directory, or a server's name for its model; empty: as params_file says", None),
    ("url", "", "of the server or of the planning server; empty: as params_file says", None),
    ("namespace", "", "of the node and of its relative topics", None),
    ("use_sim_time", "false", "follow /clock", YES_NO),
    ("autostart", "true", "configure and activate at once; false: someone else does", YES_NO),
    ("lifecycle_manager", "false", "let a lifecycle manager of Nav2's do it instead", YES_NO),
    ("bond", "false", "keep a bond with the lifecycle manager, this one's or Nav2's own; needs bondpy", YES_NO),
    ("respawn", "false", "start the node again when it dies", YES_NO),
    ("record", "", "folder to record everything to, for si-embodied replay and Foxglove; empty: none", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("camera", "head", "which of the parameter `cameras` the next three are of", None),
    ("image_topic", "", "its colour image, without /compressed; empty: CAMERA/image_raw", None),
    ("depth_topic", "", "its depth, registered to the colour image; empty: CAMERA/depth", None),
    ("camera_info_topic", "", "its calibration; empty: CAMERA/camera_info", None),
    ("cmd_vel_topic", "cmd_vel", "where zero velocity is published to stop", None),
    ("goal_topic", "goal_pose", "where goals go without Nav2", None),
)


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
    managed = given["lifecycle_manager"] == "true"
    simulated = {"use_sim_time": given["use_sim_time"] == "true"}
    named = {name: given[name] for name in ("backend", "model", "url") if given[name]}
    node = Node(
        package="si_embodied",
        executable="planner_node",
        name="planner",
        namespace=given["namespace"],
        output="screen",
        parameters=[
            given["params_file"],
            {**named, **simulated, "autostart": given["autostart"] == "true" and not managed, **bond(given)},
        ],
        remappings=remappings(given),
        arguments=["--ros-args", "--log-level", given["log_level"]],
        respawn=given["respawn"] == "true",
        respawn_delay=2.0,
        sigterm_timeout="10",  # after Ctrl-C it first stops the robot
    )
    beside = [
        *([lifecycle_manager(given, simulated)] if managed else []),
        *([recorder(given, simulated)] if given["record"] else []),
    ]
    return [node, *beside]


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """From the names that the node uses to those that were given."""
    camera = given["camera"]
    renamed = [
        (f"{camera}/image_raw", given["image_topic"]),
        (f"{camera}/image_raw/compressed", given["image_topic"] and f"{given['image_topic']}/compressed"),
        (f"{camera}/depth", given["depth_topic"]),
        (f"{camera}/camera_info", given["camera_info_topic"]),
        ("cmd_vel", given["cmd_vel_topic"]),
        ("goal_pose", given["goal_topic"]),
    ]
    return [(name, topic) for name, topic in renamed if topic not in ("", name)]


def bond(given: dict[str, str]) -> dict[str, bool]:
    """Where it is asked for; else as params_file says."""
    return {"bond": True} if given["bond"] == "true" else {}


def recorder(given: dict[str, str], simulated: dict[str, bool]) -> Node:
    """What records; it subscribes to the same topics by the same names."""
    return Node(
        package="si_embodied",
        executable="recorder_node",
        name="recorder",
        namespace=given["namespace"],
        output="screen",
        parameters=[given["params_file"], {**simulated, "output": given["record"]}],
        remappings=remappings(given),
        sigterm_timeout="10",  # to write what it has
    )


def lifecycle_manager(given: dict[str, str], simulated: dict[str, bool]) -> Node:
    """Nav2's manager for this node alone. To bring it up with Nav2, add it to that manager's node_names instead."""
    return Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_planner",
        namespace=given["namespace"],
        output="screen",
        parameters=[
            {
                **simulated,
                "autostart": given["autostart"] == "true",
                "node_names": ["planner"],
                "bond_timeout": 4.0 if given["bond"] == "true" else 0.0,
            }
        ],
    )
