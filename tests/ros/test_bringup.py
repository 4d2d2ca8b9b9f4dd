"""`si-embodied ros up`: all nodes, started as a user would."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import String
from std_srvs.srv import Trigger

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import located
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.session import Session
from si_embodied.types import Code

LOG = logging.getLogger(__name__)
UP = [sys.executable, "-m", "si_embodied.cli.main", "ros", "up"]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STARTS_S, ENDS_S = 90.0, 30.0
TASK_S, SLOWDOWN = 600.0, 5.0
"""Simulated seconds for a task, as in planner.yaml, and how much longer a busy machine may take for one."""
FAST = "5"
"""Times real time; what a machine cannot do takes longer, and planning then takes more simulated seconds."""
SLOW = "2"
"""For a model beside the simulator: transforms that are late in real time are later in simulated time."""


class Up:
    """One `ros up` in its own process, and the simulator's reports."""

    def __init__(self, ros: Any, *arguments: str) -> None:
        self.ros, self.begun = ros, False
        self.process = subprocess.Popen(
            [*UP, *arguments], env=ros.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        ros.processes.append(self.process)
        self.instructions = ros.listen(String, "sim_node/instruction", LATCHED)
        self.truths = ros.listen(String, "sim_node/ground_truth")

    def instruction(self) -> str:
        self.ros.wait(lambda: self.instructions, STARTS_S, "the simulator's instruction")
        return str(self.instructions[-1].data)

    def carry_out(self, instruction: str) -> Any:
        """Run a task and return its result; the planner may still be activating."""
        client, until = self.ros.action(PlanTask, "plan_task"), time.monotonic() + STARTS_S
        while time.monotonic() < until:
            goal = PlanTask.Goal(instruction=instruction, timeout_s=TASK_S)
            # A planner that loads its model answers nothing until it is loaded.
            handle = self.ros.result(client.send_goal_async(goal), STARTS_S, "an answer to the task")
            if handle.accepted:
                return self.ros.result(handle.get_result_async(), TASK_S * SLOWDOWN, "the task's end").result
            time.sleep(0.2)
        raise AssertionError("the planner accepts no task")

    def begin(self, seed: int) -> str:
        """Reset to the episode of a seed; its instruction.

        A planner remembers what it saw from task to task. While it is inactive, the world may change.
        """
        if self.begun:
            assert self.ros.change(Transition.TRANSITION_DEACTIVATE)
        request = SetParameters.Request(parameters=[Parameter("seed", value=seed).to_parameter_msg()])
        assert self.ros.call(SetParameters, "sim_node/set_parameters", request).results[0].successful
        instruction = str(self.ros.call(Trigger, "sim_node/reset", Trigger.Request()).message)
        if self.begun:
            assert self.ros.change(Transition.TRANSITION_ACTIVATE)
        self.begun = True
        self.truths.clear()
        self.ros.wait(lambda: len(self.truths) > 3, ENDS_S, "images of the new episode")
        return instruction

    def at_goal(self) -> bool:
        """Whether the simulator reports success once the robot stands still."""
        self.truths.clear()
        self.ros.wait(lambda: len(self.truths) > 1, ENDS_S, "ground truth")
        return bool(json.loads(self.truths[-1].data)["at_goal"])

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=ENDS_S)[0]


@pytest.mark.parametrize("world", ["apartment", "tabletop"])
def test_a_task_succeeds_and_ctrl_c_stops_all_nodes(ros: Any, world: str) -> None:
    up = Up(ros, "--sim", world, "--backend", "perfect_pixels", "--seed", "0", "--speed", FAST)
    result = up.carry_out(up.instruction())
    assert result.code == Code.OK, result.message
    assert result.subgoals >= 2
    assert up.at_goal(), "the simulator agrees"
    output = up.stop()
    assert up.process.returncode == 0, output
    assert output.endswith("stopped\n")
    assert "Traceback" not in output


def test_killing_it_leaves_no_node_behind(ros: Any) -> None:
    up = Up(ros, "--sim", "--no-planner")
    up.instruction()
    up.process.kill()
    up.process.communicate(timeout=ENDS_S)  # returns once every process has closed the pipe


def test_when_one_node_exits_the_others_stop(ros: Any) -> None:
    """A planner whose configuration failed stays alive for a retry; a node that exits stops the others."""
    up = Up(ros, "--sim", "--no-planner", "--task", "objectnaw")
    output = up.process.communicate(timeout=STARTS_S)[0]
    assert up.process.returncode == 1
    assert "sim_node exited with code 2" in output
    assert "Did you mean 'objectnav'?" in output


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("world", "least"), [("apartment", 18), ("tabletop", 17)])
def test_tasks_succeed_on_most_of_20_seeds(ros: Any, world: str, least: int) -> None:
    """With perfect pixels, as without ROS, only geometry and skills can fail."""
    up = Up(ros, "--sim", world, "--backend", "perfect_pixels", "--speed", FAST)
    assert episodes_won(up, world, range(20)) >= least


SEEDS = range(100_000, 100_020)
"""si-nano was not trained on these."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("world", "env"),
    [
        pytest.param("apartment", "si_embodied/Apartment-v0", id="many-apartment"),
        pytest.param("tabletop", "si_embodied/Tabletop-v0", id="many-tabletop"),
    ],
)
def test_si_nano_does_over_ros_as_well_as_in_gymnasium(ros: Any, tmp_path: Path, world: str, env: str) -> None:
    """At least four of five episodes that it wins there; a world over ROS goes on while the planner plans."""
    si_nano = located(BackendConfig("local"))
    config = EvaluationConfig(env, "planner", backend=si_nano, episodes=len(SEEDS), seed=SEEDS.start)
    expected = sum(episode.success for episode in Session(tmp_path).run(config).episodes)
    told = tmp_path / "told.yaml"  # the simulator tells these tests what is true; the planner does not listen
    told.write_text(json.dumps({"sim_node": {"ros__parameters": {"publish_ground_truth": True}}}))
    up = Up(ros, "--sim", world, "--speed", SLOW, "--params-file", str(told))
    won = episodes_won(up, world, SEEDS)
    LOG.info("%s: %d of %d over ROS, %d in Gymnasium", world, won, len(SEEDS), expected)
    assert won >= 0.8 * expected


def episodes_won(up: Up, world: str, seeds: range) -> int:
    """Carry out one task for each seed; how many the planner ended as done and the simulator calls a success."""
    up.instruction()
    successes = 0
    for seed in seeds:
        instruction = up.begin(seed)
        result = up.carry_out(instruction)
        success = result.code == Code.OK and up.at_goal()
        successes += success
        words = "success" if success else f"no success, code {result.code} {result.message}"
        LOG.info("%s, seed %d, %s: %s after %.0f s", world, seed, instruction, words, result.duration_s)
    return successes
