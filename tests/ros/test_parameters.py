"""The parameters, their file, and the settings that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("mujoco", reason="the simulated table needs the extra sim")

from si_embodied.envs.manipulation import TabletopEnv
from si_embodied.ros_nodes.node.parameters import settings_of
from si_embodied.ros_nodes.node.settings import ArmSettings, NodeSettings

FILE = Path(__file__).parents[2] / "config" / "planner.yaml"


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_the_file_has_every_parameter_with_its_default_and_its_meaning() -> None:
    text = FILE.read_text(encoding="utf-8")
    written = leaves(yaml.safe_load(text)["/**"]["ros__parameters"])
    del written["use_sim_time"]  # every node's
    settings = list(settings_of(NodeSettings))
    defaults = {each.name: list(each.default) if isinstance(each.default, tuple) else each.default for each in settings}
    assert written == defaults
    assert not [each.name for each in settings if each.description and f"# {each.description}" not in text]


def test_the_default_arm_is_the_simulated_one() -> None:
    body = TabletopEnv("base").embodiment
    assert ArmSettings().embodiment(body.cameras) == body
