"""Starts the planner node: `ros2 launch si_embodied planner.launch.py image_topic:=/camera/color/image_raw …`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(get_package_share_directory("si_embodied")) / "config"
YES_NO = ("true", "false")
ARGUMENTS = (
    # name, default, description, choices
    ("params_file", str(CONFIG / "planner.yaml"), "YAML file with the node's parameters; see the default file", None),
    ("backend", "", "local, server, remote, scripted or perfect_pixels; empty: from params_file", None),
    ("model", "", "checkpoint directory, hub name, or a server's name for its model; empty: from params_file", None),
    ("url", "", "address of the model's server or of the planning server; empty: from params_file", None),
    ("namespace", "", "namespace of the node and of its relative topics", None),
    ("use_sim_time", "false", "use the clock on /clock", YES_NO),
    ("autostart", "true", "configure and activate at start; false: leave it to a lifecycle manager", YES_NO),
    ("lifecycle_manager", "false", "let one of Nav2's lifecycle managers configure and activate the planner", YES_NO),
    ("bond", "false", "keep a bond, so that the lifecycle manager notices a crash; needs bondpy", YES_NO),
    ("respawn", "false", "restart the node when it dies", YES_NO),
    ("record", "", "folder to record to, for si-embodied replay and Foxglove; empty: do not record", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("camera", "head", "the camera, of those in parameter `cameras`, that the next three arguments are for", None),
    ("image_topic", "", "colour image, without /compressed; empty: CAMERA/image_raw", None),
    (
        "depth_topic",
        "",
        "depth image, registered to the colour image, without /compressedDepth; empty: CAMERA/depth",
        None,
    ),
    ("camera_info_topic", "", "calibration; empty: CAMERA/camera_info", None),
    ("cmd_vel_topic", "cmd_vel", "topic for zero velocity, which stops the base", None),
    ("goal_topic", "goal_pose", "topic for the base's goals when Nav2 is not used", None),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=planner)])


def planner(context: LaunchContext) -> list[Node]:
    """The planner, and the lifecycle manager and recorder if asked for. Arguments override the file's parameters."""
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
            {**named, **simulated, **recorded(given), **bond(given)},
            {"autostart": given["autostart"] == "true" and not managed},
        ],
        remappings=remappings(given),
        arguments=["--ros-args", "--log-level", given["log_level"]],
        respawn=given["respawn"] == "true",
        respawn_delay=2.0,
        sigterm_timeout="10",  # after Ctrl-C the node stops the robot before it exits
    )
    beside = [
        watchdog(given, simulated),
        *([lifecycle_manager(given, simulated)] if managed else []),
        *([recorder(given, simulated)] if given["record"] else []),
    ]
    return [node, *beside]


def watchdog(given: dict[str, str], simulated: dict[str, bool]) -> Node:
    """Stops the robot when the planner dies or hangs, so it is restarted if it dies itself."""
    return Node(
        package="si_embodied",
        executable="watchdog_node",
        name="watchdog",
        namespace=given["namespace"],
        output="screen",
        parameters=[given["params_file"], simulated],
        remappings=remappings(given),
        respawn=True,
        sigterm_timeout="10",  # it outlives the planner
    )


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """From the node's topic names to the given ones."""
    camera = given["camera"]
    renamed = [
        (f"{camera}/image_raw", given["image_topic"]),
        (f"{camera}/image_raw/compressed", given["image_topic"] and f"{given['image_topic']}/compressed"),
        (f"{camera}/depth", given["depth_topic"]),
        (f"{camera}/depth/compressedDepth", given["depth_topic"] and f"{given['depth_topic']}/compressedDepth"),
        (f"{camera}/camera_info", given["camera_info_topic"]),
        ("cmd_vel", given["cmd_vel_topic"]),
        ("goal_pose", given["goal_topic"]),
    ]
    return [(name, topic) for name, topic in renamed if topic not in ("", name)]


def bond(given: dict[str, str]) -> dict[str, bool]:
    """The parameter, if the argument asks for a bond; otherwise params_file decides."""
    return {"bond": True} if given["bond"] == "true" else {}


def recorded(given: dict[str, str]) -> dict[str, str]:
    """The parameter that lets no task begin before its recording."""
    return {"recorder": "recorder"} if given["record"] else {}


def recorder(given: dict[str, str], simulated: dict[str, bool]) -> Node:
    """The recorder, which subscribes to the same topics under the same names."""
    return Node(
        package="si_embodied",
        executable="recorder_node",
        name="recorder",
        namespace=given["namespace"],
        output="screen",
        parameters=[given["params_file"], {**simulated, "output": given["record"]}],
        remappings=remappings(given),
        sigterm_timeout="10",  # time to write what it has received
    )


def lifecycle_manager(given: dict[str, str], simulated: dict[str, bool]) -> Node:
    """A lifecycle manager for this node alone. To start the planner with Nav2, add it to that manager's node_names."""
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
