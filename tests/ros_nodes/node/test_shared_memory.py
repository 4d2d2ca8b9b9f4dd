"""A process that must survive the planner shares no memory with it, and keeps the rest of its Fast DDS profile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from si_embodied.ros_nodes.node import shared_memory
from si_embodied.ros_nodes.node.bringup import PROFILE_VARIABLE, config_file
from si_embodied.ros_nodes.node.shared_memory import (
    BUILTIN_VARIABLE,
    RANGE_VARIABLE,
    no_shared_memory,
    without_shared_memory,
)

SHIPPED = config_file("fastdds.xml").read_text()


def test_the_shared_memory_transport_and_its_use_are_removed_and_udp_stays() -> None:
    left = without_shared_memory(SHIPPED)
    assert "<type>SHM</type>" not in left
    assert re.findall(r"<transport_id>(\w+)</transport_id>", left) == ["udp_here"] * 2
    assert "<address>127.0.0.1</address>" in left


@pytest.mark.parametrize("profile", ["<dds/>", re.sub(r"UDPv4", "SHM", SHIPPED)], ids=["no transport", "no other"])
def test_a_profile_without_another_transport_stays_as_it_is(profile: str) -> None:
    assert without_shared_memory(profile) == profile


@pytest.mark.parametrize(
    "given",
    [{}, {PROFILE_VARIABLE: str(config_file("fastdds.xml"))}, {RANGE_VARIABLE: "LOCALHOST"}],
    ids=["nothing set", "the shipped profile", "this machine only"],
)
def test_the_environment_asks_for_udp_inside_the_block_alone(given: dict[str, str]) -> None:
    environment = dict(given)
    with no_shared_memory(environment):
        assert environment[BUILTIN_VARIABLE] == "UDPv4"
        assert environment.get(RANGE_VARIABLE) != "LOCALHOST"
        if given:
            assert Path(environment[PROFILE_VARIABLE]).read_text() == without_shared_memory(SHIPPED)
    assert environment == given


def test_other_middleware_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "get_rmw_implementation_identifier", lambda: "rmw_cyclonedds_cpp")
    environment = {RANGE_VARIABLE: "LOCALHOST"}
    with no_shared_memory(environment):
        assert environment == {RANGE_VARIABLE: "LOCALHOST"}


@pytest.mark.parametrize("broken", ["tempfile.mkstemp", "os.fdopen"])
def test_where_no_file_can_be_written_the_process_comes_up_with_the_profile_as_it_is(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(
        *((shared_memory.tempfile, "mkstemp") if broken == "mkstemp" else (shared_memory.os, "fdopen")), fail
    )
    environment = {RANGE_VARIABLE: "LOCALHOST"}
    with no_shared_memory(environment):
        assert environment[BUILTIN_VARIABLE] == "UDPv4"
        assert environment[PROFILE_VARIABLE] == str(config_file("fastdds.xml")), "bound to this machine"
    assert environment == {RANGE_VARIABLE: "LOCALHOST"}
