"""The parameter files in `config/` list every parameter with its default and its description."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from si_embodied.config import descriptions, settings_of
from si_embodied.ros_nodes.node.bringup import config_file
from si_embodied.ros_nodes.node.parameter_files import listed_in_config, rewritten
from si_embodied.ros_nodes.simulator.settings import SimulatorSettings

REWRITE = "run: python -m si_embodied.ros_nodes.node.parameter_files"


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize(("name", "cls"), listed_in_config().items())
def test_a_file_has_every_parameter_with_its_default_and_description(name: str, cls: type) -> None:
    text = config_file(name).read_text(encoding="utf-8")
    assert text == rewritten(text, cls), f"config/{name} differs from {cls.__name__}; {REWRITE}"
    written = leaves(yaml.safe_load(text)["/**"]["ros__parameters"])
    written.pop("use_sim_time", None)  # every node has it
    assert written == {
        each.name: list(each.default) if isinstance(each.default, tuple) else each.default for each in settings_of(cls)
    }


@pytest.mark.parametrize("cls", listed_in_config().values())
def test_every_parameter_is_described(cls: type) -> None:
    assert not [each.name for each in settings_of(cls) if not each.description]


def test_a_description_is_the_text_beside_the_field() -> None:
    assert descriptions(SimulatorSettings)["world"] == "apartment or tabletop"
