"""The nodes that `si-embodied ros up` would start."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from si_embodied.cli.main import parse
from si_embodied.cli.ros import Up
from si_embodied.config import from_mapping
from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.node.bringup import PROFILE_VARIABLE, Bringup, config_file, environment
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.simulator.settings import SimulatorSettings


def parameters_in(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(config_file(name).read_text())["/**"]["ros__parameters"]
    return values


def planner_settings(name: str) -> NodeSettings:
    simulators = SimulatorSettings.__dataclass_fields__
    values = {key: value for key, value in parameters_in(name).items() if key not in simulators}
    return from_mapping(NodeSettings, values)


def nodes(*arguments: str) -> Any:
    command, _ = parse(["ros", "up", *arguments])
    assert isinstance(command, Up)
    return command.bringup.nodes()


def test_the_planner_is_started_active_and_watched() -> None:
    watchdog, planner = nodes()
    assert watchdog.module == "si_embodied.ros_nodes.watchdog_node"
    assert planner.module == "si_embodied.ros_nodes.planner_node"
    assert "autostart:=true" in planner.command()


def test_perfect_pixels_get_their_ground_truth() -> None:
    simulator, _, planner = nodes("--sim", "--backend", "perfect_pixels")
    assert "publish_ground_truth:=true" in simulator.command()
    assert "backend:='perfect_pixels'" in planner.command()
    assert "publish_ground_truth:=true" not in " ".join(nodes("--sim")[0].command())


@pytest.mark.parametrize("world", ["apartment", "tabletop"])
def test_both_nodes_get_the_worlds_parameters_then_the_users(world: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("")
    for node in nodes("--sim", world, "--params-file", str(file)):
        assert node.files == (config_file("sim.yaml"), config_file(f"{world}.yaml"), file)


def test_recordings_go_to_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    recorder = nodes("--sim", "tabletop", "--record", "monday")[0]
    assert recorder.module == "si_embodied.ros_nodes.recorder_node"
    assert recorder.parameters == {"output": str(tmp_path / "monday"), "use_sim_time": True}
    assert config_file("tabletop.yaml") in recorder.files, "the cameras that it records"


def test_the_planner_uses_the_simulators_clock() -> None:
    assert all("use_sim_time:=true" in node.command() for node in nodes("--sim")[1:])
    assert all("use_sim_time:=true" not in node.command() for node in nodes())


def test_the_shipped_settings_match_the_simulated_robots() -> None:
    """The ROS planner must plan for the same robot as the policy in the environment."""
    pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")
    from si_embodied.envs.manipulation import TabletopEnv
    from si_embodied.envs.navigation import ApartmentEnv

    env = ApartmentEnv(action_mode="continuous")
    body, wanted = planner_settings("apartment.yaml").embodiment, env.embodiment
    assert (body.cameras, body.radius_m, body.height_m) == (wanted.cameras, wanted.radius_m, wanted.height_m)
    assert body.tilt_range_rad == pytest.approx(wanted.tilt_range_rad, abs=0.01)
    assert planner_settings("tabletop.yaml").embodiment == TabletopEnv().embodiment


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("--no-planner",), "--sim"),
        (("--seed", "1"), "--sim"),
        (("--speed", "5"), "--sim"),
        (("--params-file", "/no/such.yaml"), "/no/such.yaml"),
    ],
)
def test_an_invalid_command_names_the_fix(arguments: tuple[str, ...], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        nodes(*arguments)


def test_the_shipped_parameters_of_the_simulator_are_its_defaults() -> None:
    values = parameters_in("sim.yaml")
    assert from_mapping(SimulatorSettings, values) == SimulatorSettings()
    assert len(values) == len(SimulatorSettings.__dataclass_fields__), "every one is explained"


def test_only_simulated_robots_get_the_local_dds_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROFILE_VARIABLE, raising=False)
    assert environment(simulated=True)[PROFILE_VARIABLE] == str(config_file("fastdds.xml"))
    assert PROFILE_VARIABLE not in environment(simulated=False)
    monkeypatch.setenv(PROFILE_VARIABLE, "mine.xml")
    assert environment(simulated=True)[PROFILE_VARIABLE] == "mine.xml"


def test_the_dds_profile_fits_images_and_stays_local() -> None:
    space = {"d": "http://www.eprosima.com"}
    root = ElementTree.parse(config_file("fastdds.xml")).getroot()
    segment = int(root.findtext(".//d:segment_size", namespaces=space) or 0)
    message = int(root.findtext(".//d:maxMessageSize", namespaces=space) or 0)
    assert message >= 1280 * 720 * 3
    assert segment >= 4 * message
    assert [each.text for each in root.findall(".//d:address", space)] == ["127.0.0.1"]


def test_rviz_shows_only_published_topics() -> None:
    """The topics are those of the planner node, of sim_node and of Nav2."""
    manager = yaml.safe_load(config_file("planner.rviz").read_text())["Visualization Manager"]
    shown = {each["Topic"]["Value"] for each in manager["Displays"] + manager["Tools"] if "Topic" in each}
    planner = {f"/planner/{name}" for name in ("markers", "object_markers", "annotated")}
    assert shown == {"/scan", "/head/image_raw", "/odom", "/goal_pose"} | planner
    assert manager["Global Options"]["Fixed Frame"] == "map"


def test_a_watched_planner_gets_a_folder_to_show_itself_in(tmp_path: Path) -> None:
    watchdog, planner = Bringup(live_folder=tmp_path).nodes()
    assert planner.parameters["live_folder"] == str(tmp_path)
    assert "live_folder" not in watchdog.parameters
    with pytest.raises(ConfigError, match="--watch shows the planner"):
        Bringup(sim="apartment", no_planner=True, live_folder=tmp_path).nodes()
