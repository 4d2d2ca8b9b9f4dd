"""ROS parameters are declared as the settings dataclasses describe them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("mujoco", reason="the simulated table needs the extra sim")

from si_embodied.config import GuardConfig, descriptions
from si_embodied.envs.manipulation import TabletopEnv
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.settings import ArmSettings, NodeSettings


class Declared:
    """A node that remembers what is declared on it."""

    def __init__(self) -> None:
        self.parameters: dict[str, tuple[Any, Any]] = {}

    def declare_parameter(self, name: str, default: Any, descriptor: Any) -> None:
        self.parameters[name] = default, descriptor


def test_a_parameter_is_declared_with_its_fields_default_and_description() -> None:
    node = Declared()
    parameters.declare(node, NodeSettings)
    default, descriptor = node.parameters["planner.guard.max_failures"]
    assert default == GuardConfig().max_failures
    assert descriptor.description == descriptions(GuardConfig)["max_failures"]


def test_the_default_arm_is_the_simulated_one() -> None:
    body = TabletopEnv("base").embodiment
    assert ArmSettings().embodiment(body.cameras) == body
