"""The SROS2 policies allow every topic, service and action that the nodes use, and nothing else."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "config" / "sros2" / "policies.xml"
CAMERAS = ("head", "wrist")
DRIVERS = ("navigation/cancel", "arm/cancel", "head/tilt/cancel")
WATCHED = (
    "navigate_to_pose", "navigate_through_poses", "follow_path", "move_action", "execute_trajectory",
    "gripper_controller/gripper_cmd",
)  # fmt: skip

# What each call in the source creates: (file, method, first words of the name's expression) -> node: names.
# A call that is missing here fails the test: add it, and its names to the policies.
CALLS: dict[tuple[str, str, str], dict[str, tuple[str, ...]]] = {
    # The pilot's checks are no nodes of the robot and have no enclave.
    ("checks/first_goal.py", "ActionClient", "'plan_task'"): {},
    ("checks/first_goal.py", "create_client", "f'{PLANNER}/emergency_stop'"): {},
    ("checks/pilot.py", "create_client", "f'{PLANNER}/get_parameters'"): {},
    ("checks/pilot.py", "create_subscription", "ACTIVE_TOPIC"): {},
    ("checks/pilot.py", "create_subscription", "LATCHED_TOPIC"): {},
    ("checks/pilot.py", "create_subscription", "'odom'"): {},
    ("checks/rates.py", "create_subscription", "topic"): {},
    ("motion/arm_drivers.py", "create_publisher", "'arm/goal'"): {"planner": ("arm/goal",)},
    ("motion/arm_drivers.py", "create_publisher", "'gripper/goal'"): {"planner": ("gripper/goal",)},
    ("motion/arm_drivers.py", "create_subscription", "'gripper/opening'"): {"planner": ("gripper/opening",)},
    ("motion/arm_drivers.py", "create_subscription", "'arm/outcome'"): {"planner": ("arm/outcome",)},
    ("motion/camera_tilt.py", "create_publisher", "settings.tilt_topic"): {"planner": ("head/tilt",)},
    ("motion/moveit_arm.py", "ActionClient", "'move_action'"): {"planner": ("move_action",)},
    ("motion/moveit_arm.py", "ActionClient", "settings.gripper_action"): {
        "planner": ("gripper_controller/gripper_cmd",)
    },
    ("motion/moveit_arm.py", "create_subscription", "'joint_states'"): {"planner": ("joint_states",)},
    ("motion/nav2_client.py", "ActionClient", "'navigate_to_pose'"): {"planner": ("navigate_to_pose",)},
    ("motion/navigators.py", "create_publisher", "'goal_pose'"): {"planner": ("goal_pose",)},
    ("motion/navigators.py", "create_subscription", "'navigation/outcome'"): {"planner": ("navigation/outcome",)},
    ("motion/stop.py", "create_publisher", "'cmd_vel'"): {"planner": ("cmd_vel",), "watchdog": ("cmd_vel",)},
    ("motion/stop.py", "create_publisher", "topic"): {"planner": DRIVERS, "watchdog": DRIVERS},
    ("motion/stop.py", "create_subscription", "'odom'"): {"planner": ("odom",), "watchdog": ("odom",)},
    ("node/annotated_image.py", "create_lifecycle_publisher", "'~/annotated'"): {"planner": ("~/annotated",)},
    ("node/emergency_stop.py", "create_client", "WATCHDOG_SERVICE"): {"planner": ("watchdog/emergency_stop",)},
    ("node/emergency_stop.py", "create_publisher", "TOPIC"): {"planner": ("emergency_stop",)},
    ("node/emergency_stop.py", "create_service", "'~/emergency_stop'"): {"planner": ("~/emergency_stop",)},
    ("node/emergency_stop.py", "create_subscription", "LATCHED_TOPIC"): {"planner": ("emergency_stop_latched",)},
    ("node/emergency_stop.py", "create_subscription", "topic"): {
        "planner": ("emergency_stop",),
        "watchdog": ("emergency_stop",),
    },
    ("node/goal_cancels.py", "create_client", "name"): {
        "watchdog": tuple(f"{action}/_action/cancel_goal" for action in WATCHED)
    },
    ("node/heartbeat.py", "create_publisher", "HEARTBEAT_TOPIC"): {"planner": ("planner_heartbeat",)},
    ("node/heartbeat.py", "create_subscription", "ACTIVE_TOPIC"): {"planner": ("active_planner",)},
    ("node/manager_bond.py", "Bond", "_TOPIC"): {"planner": ("bond",)},
    ("node/question_server.py", "create_service", "'~/ask'"): {"planner": ("~/ask",)},
    ("node/record_publisher.py", "create_lifecycle_publisher", "'~/record'"): {"planner": ("~/record",)},
    ("node/runtime.py", "create_subscription", "topic"): {},  # perfect_pixels reads the simulator's ground truth
    ("node/task_server.py", "ActionServer", "'plan_task'"): {"planner": ("plan_task",)},
    ("node/task_server.py", "create_subscription", "'instruction'"): {"planner": ("instruction",)},
    ("node/telemetry.py", "create_lifecycle_publisher", "'~/plan'"): {"planner": ("~/plan",)},
    ("node/telemetry.py", "create_lifecycle_publisher", "'~/status'"): {"planner": ("~/status",)},
    ("node/telemetry.py", "create_lifecycle_publisher", "'~/markers'"): {"planner": ("~/markers",)},
    ("node/telemetry.py", "create_lifecycle_publisher", "'~/objects'"): {"planner": ("~/objects",)},
    ("node/telemetry.py", "create_lifecycle_publisher", "'~/object_markers'"): {"planner": ("~/object_markers",)},
    ("planner_node.py", "create_publisher", "'/diagnostics'"): {"planner": ("/diagnostics",)},
    ("planner_node.py", "create_subscription", "topic"): {},  # passes a call on
    ("planner_node.py", "create_service", "name"): {},
    ("sensing/camera.py", "create_subscription", "f'{name}/{colour[1]}'"): {
        "planner": tuple(f"{name}/image_raw{form}" for name in CAMERAS for form in ("", "/compressed"))
    },
    ("sensing/camera.py", "create_subscription", "f'{name}/{depth[1]}'"): {
        "planner": tuple(f"{name}/depth{form}" for name in CAMERAS for form in ("", "/compressedDepth"))
    },
    ("sensing/camera.py", "create_subscription", "f'{name}/camera_info'"): {
        "planner": tuple(f"{name}/camera_info" for name in CAMERAS)
    },
    ("sensing/transform_listener.py", "create_subscription", "topic"): {"planner": ("/tf", "/tf_static")},
    ("watchdog_node.py", "create_publisher", "LATCHED_TOPIC"): {"watchdog": ("emergency_stop_latched",)},
    ("watchdog_node.py", "create_publisher", "ACTIVE_TOPIC"): {"watchdog": ("active_planner",)},
    ("watchdog_node.py", "create_publisher", "'/diagnostics'"): {"watchdog": ("/diagnostics",)},
    ("watchdog_node.py", "create_subscription", "HEARTBEAT_TOPIC"): {"watchdog": ("planner_heartbeat",)},
    ("watchdog_node.py", "create_service", "'~/emergency_stop'"): {"watchdog": ("~/emergency_stop",)},
    ("recorder_node.py", "create_subscription", "name"): {
        "recorder": (
            "planner/record", "planner/plan", "planner/status", "planner/markers", "planner/objects",
            "planner/object_markers", "planner/annotated", "instruction", "emergency_stop", "/tf", "/tf_static",
            "/diagnostics", "odom", "scan", "goal_pose", "navigation/outcome", "arm/goal", "arm/outcome",
            "gripper/goal", "gripper/opening",
            *(f"{name}/{topic}" for name in CAMERAS
              for topic in ("image_raw", "image_raw/compressed", "depth", "depth/compressedDepth", "camera_info")),
        )
    },
}  # fmt: skip

RIGHTS = {
    "create_publisher": ("topic publish",),
    "create_lifecycle_publisher": ("topic publish",),
    "create_subscription": ("topic subscribe",),
    "create_service": ("service reply",),
    "create_client": ("service request",),
    "ActionClient": ("action call",),
    "ActionServer": ("action execute",),
    "Bond": ("topic publish", "topic subscribe"),
}

# What rclpy gives to every node, and rcl_lifecycle to the planner.
PARAMETERS = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters",
    "set_parameters_atomically",
)  # fmt: skip
LIFECYCLE = ("change_state", "get_available_states", "get_available_transitions", "get_state", "get_transition_graph")
EVERY_NODE = {
    ("topic publish", "/rosout"),
    ("topic publish", "/parameter_events"),
    ("topic subscribe", "/parameter_events"),
    ("topic subscribe", "/clock"),
    *(("service reply", f"~/{name}") for name in (*PARAMETERS, "get_type_description")),
}
OF_THE_PLANNER = {
    ("topic publish", "~/transition_event"),
    *(("service reply", f"~/{name}") for name in LIFECYCLE),
}


def calls() -> set[tuple[str, str, str]]:
    """Every call in the nodes that creates a topic, service or action; the simulator's are left out."""
    found = set()
    for file in sorted((ROOT / "ros_nodes").rglob("*.py")):
        name = str(file.relative_to(ROOT / "ros_nodes"))
        if name.startswith("simulator/") or name == "sim_node.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if method in RIGHTS and len(node.args) > 1:
                takes_node_first = method in ("ActionClient", "ActionServer")
                found.add((name, method, ast.unparse(node.args[2 if takes_node_first else 1])))
    return found


def resolved(name: str, node: str) -> str:
    """A ROS name in the root namespace, as SROS2 resolves it."""
    if name.startswith("/"):
        return name
    return f"/{node}{name[1:]}" if name.startswith("~") else f"/{name}"


def used(node: str) -> set[tuple[str, str]]:
    rights = EVERY_NODE | (OF_THE_PLANNER if node == "planner" else set())
    for (_, method, _), names in CALLS.items():
        rights |= {(right, name) for name in names.get(node, ()) for right in RIGHTS[method]}
    return {(right, resolved(name, node)) for right, name in rights}


def allowed(node: str) -> set[tuple[str, str]]:
    (enclave,) = (each for each in ET.parse(POLICIES).iter("enclave") if each.get("path") == f"/si_embodied/{node}")
    (profile,) = enclave.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", node)
    rights = set()
    for group in profile:
        assert set(group.attrib.values()) == {"ALLOW"}
        rights |= {(f"{each.tag} {right}", resolved(str(each.text), node)) for each in group for right in group.attrib}
    return rights


def test_every_topic_that_the_nodes_create_is_known_here() -> None:
    assert calls() == set(CALLS), "add the new call to CALLS and its names to config/sros2/policies.xml"


@pytest.mark.parametrize("node", ["planner", "watchdog", "recorder"])
def test_a_node_may_use_what_it_creates_and_nothing_else(node: str) -> None:
    assert allowed(node) == used(node)


def test_the_policies_have_the_format_of_sros2() -> None:
    root = ET.parse(POLICIES).getroot()
    assert (root.tag, root.get("version"), [each.tag for each in root]) == ("policy", "0.2.0", ["enclaves"])
    kinds = {"topics": {"publish", "subscribe"}, "services": {"reply", "request"}, "actions": {"call", "execute"}}
    for profile in root.iter("profile"):
        for group in profile:
            assert set(group.attrib) <= kinds[group.tag], group.attrib
            assert {each.tag for each in group} == {group.tag.removesuffix("s")}


def test_the_recorder_may_publish_nothing_that_moves_the_robot() -> None:
    published = {name for right, name in allowed("recorder") if right == "topic publish"}
    assert published == {"/rosout", "/parameter_events"}
    assert not {right for right, _ in allowed("recorder")} & {"service request", "action call", "action execute"}


def test_the_recorder_s_topics_are_its_parameters_default() -> None:
    import yaml

    settings = yaml.safe_load((ROOT / "config" / "recorder.yaml").read_text())["/**"]["ros__parameters"]
    names = {resolved(name, "recorder") for name in settings["topics"]}
    assert names <= {name for right, name in allowed("recorder") if right == "topic subscribe"}
