"""What `si-embodied ros up` starts, without starting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from si_embodied.cli.main import make_parser
from si_embodied.cli.ros import nodes_for
from si_embodied.config import from_mapping
from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.bringup import config_file
from si_embodied.ros_nodes.simulator.settings import SimulatorSettings


def nodes(*arguments: str) -> Any:
    return nodes_for(make_parser().parse_args(["ros", "up", *arguments]))


def test_the_planner_alone_is_started_active() -> None:
    (planner,) = nodes()
    assert planner.module == "si_embodied.ros_nodes.planner_node"
    assert "autostart:=true" in planner.command()


def test_perfect_pixels_get_the_ground_truth_that_they_need() -> None:
    simulator, planner = nodes("--sim", "--backend", "perfect_pixels")
    assert "publish_ground_truth:=true" in simulator.command()
    assert "backend:='perfect_pixels'" in planner.command()
    assert "publish_ground_truth:=true" not in " ".join(nodes("--sim")[0].command())


def test_a_users_parameters_come_after_ours(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("")
    command = nodes("--sim", "--params-file", str(file))[1].command()
    assert command.index(str(config_file("sim.yaml"))) < command.index(str(file))


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("--no-planner",), "--sim"),
        (("--seed", "1"), "--sim"),
        (("--sim", "tabletop"), "--no-planner"),
        (("--params-file", "/no/such.yaml"), "/no/such.yaml"),
    ],
)
def test_what_cannot_be_started_says_the_fix(arguments: tuple[str, ...], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        nodes(*arguments)


def test_the_shipped_parameters_of_the_simulator_are_its_defaults() -> None:
    values = yaml.safe_load(config_file("sim.yaml").read_text())["sim_node"]["ros__parameters"]
    assert from_mapping(SimulatorSettings, values) == SimulatorSettings()
    assert len(values) == len(SimulatorSettings.__dataclass_fields__), "every one is explained"


def test_the_dds_profile_holds_images_and_stays_on_this_machine() -> None:
    space = {"d": "http://www.eprosima.com"}
    root = ElementTree.parse(config_file("fastdds.xml")).getroot()
    segment = int(root.findtext(".//d:segment_size", namespaces=space) or 0)
    message = int(root.findtext(".//d:maxMessageSize", namespaces=space) or 0)
    assert message >= 1280 * 720 * 3
    assert segment >= 4 * message
    assert [each.text for each in root.findall(".//d:address", space)] == ["127.0.0.1"]


def test_rviz_shows_topics_that_are_published() -> None:
    """The names are those of the planner node, of sim_node and of Nav2."""
    manager = yaml.safe_load(config_file("planner.rviz").read_text())["Visualization Manager"]
    shown = {each["Topic"]["Value"] for each in manager["Displays"] + manager["Tools"] if "Topic" in each}
    assert shown == {"/scan", "/head/image_raw", "/odom", "/planner/markers", "/goal_pose"}
    assert manager["Global Options"]["Fixed Frame"] == "map"
