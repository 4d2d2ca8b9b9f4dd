"""The launch files under the real `ros2 launch`, which is not on PyPI: these run where a ROS 2 is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import String

for module in ("launch_ros", "ros2cli", "ros2launch"):
    pytest.importorskip(module, reason=f"{module} comes with an installed ROS 2 and is not on PyPI")
pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")

ROOT = Path(__file__).parents[2]
ROS2 = [sys.executable, "-c", "import sys; from ros2cli.cli import main; sys.exit(main())"]
STARTS_S, TASK_S, ENDS_S = 90.0, 300.0, 30.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ASKED_FOR = (
    "model", "backend", "params_file", "namespace", "use_sim_time", "autostart", "image_topic", "depth_topic",
    "camera_info_topic", "respawn", "log_level",
)  # fmt: skip


@pytest.fixture
def installed(ros: Any, tmp_path: Path) -> None:
    """The package as `colcon build --symlink-install` would have it, in the environment of what `ros` starts."""
    prefix = tmp_path / "install"
    for folder in ("share/ament_index/resource_index/packages", "lib/si_embodied"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/si_embodied").touch()
    (prefix / "share/si_embodied").symlink_to(ROOT)
    for node in ("planner_node", "sim_node", "watchdog_node"):
        program = prefix / "lib/si_embodied" / node
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom si_embodied.ros_nodes.{node} import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
    there = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    ros.environment |= {"AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{there}", "PYTHONUNBUFFERED": "1"}


def launch(ros: Any, file: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*ROS2, "launch", str(ROOT / "launch" / file), *arguments],
        env=ros.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    ros.processes.append(process)
    return process


@pytest.mark.usefixtures("installed")
def test_the_arguments_are_listed_with_what_they_mean(ros: Any) -> None:
    listed = launch(ros, "planner.launch.py", "--show-args").communicate(timeout=STARTS_S)[0]
    for name in ASKED_FOR:
        assert f"'{name}':" in listed
    assert "no description given" not in listed
    assert "tabletop" in launch(ros, "sim.launch.py", "--show-args").communicate(timeout=STARTS_S)[0]


@pytest.mark.usefixtures("installed")
def test_a_simulated_robot_in_a_namespace_does_its_task_and_ctrl_c_ends_all(ros: Any) -> None:
    instructions = ros.listen(String, "/robot/sim_node/instruction", LATCHED)
    truths = ros.listen(String, "/robot/sim_node/ground_truth")
    process = launch(
        ros, "sim.launch.py", "world:=tabletop", "backend:=perfect_pixels", "namespace:=robot", "real_time_factor:=5"
    )
    ros.wait(lambda: instructions and truths, STARTS_S, "the simulator")
    client = ros.action(PlanTask, "/robot/plan_task")
    ros.wait(lambda: state(ros, "/robot/planner") == State.PRIMARY_STATE_ACTIVE, STARTS_S, "an active planner")
    goal = PlanTask.Goal(instruction=instructions[-1].data, timeout_s=120.0)
    handle = ros.result(client.send_goal_async(goal), ENDS_S, "the goal's acceptance")
    answer = ros.result(handle.get_result_async(), TASK_S, "the task's end")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.message
    truths.clear()
    ros.wait(lambda: len(truths) > 1, ENDS_S, "ground truth")
    assert json.loads(truths[-1].data)["at_goal"]
    output = ros.stop(process)
    assert process.returncode == 0, output
    assert output.count("process has finished cleanly") == 3, output


@pytest.mark.usefixtures("installed")
def test_parameters_come_from_the_file_and_the_command_line_and_someone_else_may_configure(
    ros: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {most_holds: 4, backend: local}}")
    process = launch(ros, "planner.launch.py", f"params_file:={file}", "backend:=perfect_pixels", "autostart:=false")
    assert state(ros, "/planner") == State.PRIMARY_STATE_UNCONFIGURED
    request = GetParameters.Request(names=["most_holds", "backend"])
    holds, backend = ros.call(GetParameters, "/planner/get_parameters", request).values
    assert (holds.integer_value, backend.string_value) == (4, "perfect_pixels")
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert ros.call(ChangeState, "/planner/change_state", change).success
    assert state(ros, "/planner") == State.PRIMARY_STATE_INACTIVE
    assert "process has finished cleanly" in ros.stop(process)


def state(ros: Any, node: str) -> int:
    """Of a lifecycle node."""
    return int(ros.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id)
