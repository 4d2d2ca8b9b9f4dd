"""Nothing that arrives ends a node's loop; a failure of its own does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")
import rclpy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from si_embodied.errors import ConfigError, RecordError
from si_embodied.ros_nodes import recorder_node, sim_node
from si_embodied.ros_nodes.recorder_node import Recorder
from si_embodied.ros_nodes.recording.settings import RecorderSettings
from si_embodied.ros_nodes.sim_node import Simulator
from si_embodied.ros_nodes.simulator.imperfections import DelayLine

SPINS = 5


class Node:
    """Keeps what is logged, and sees the one topic /tf."""

    def __init__(self, *_: Any) -> None:
        self.errors: list[str] = []

    def get_logger(self) -> Any:
        log = lambda words, **_: self.errors.append(words)  # noqa: E731
        return SimpleNamespace(error=log, fatal=log, info=lambda _: None)

    def destroy_node(self) -> None: ...
    def create_timer(self, *_: Any, **__: Any) -> None: ...

    def resolve_topic_name(self, name: str) -> str:
        return name

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=1))

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        return [("/tf", ["tf2_msgs/msg/TFMessage"])]

    def count_publishers(self, _: str) -> int:
        return 1

    def get_publishers_info_by_topic(self, _: str) -> list[Any]:
        return []


class Executor:
    """Receives a /clock message from before 1970 on each spin, as rclpy's clock does."""

    def __init__(self) -> None:
        self.spins = 0

    def add_node(self, node: Node) -> None: ...
    def shutdown(self) -> None: ...

    def spin_once(self, *, timeout_sec: float) -> None:
        self.spins += 1
        message = Clock()
        message.clock.sec = -5
        Time.from_msg(message.clock)


class Served:
    """A recorder or a simulator with nothing to do; it may fail on its own."""

    error: RecordError | None = None

    def __init__(self, _: Node) -> None:
        self.bag = SimpleNamespace(folder="bag", messages=0)

    def close(self) -> None: ...


class Failing(Served):
    error = RecordError("no space left on the device: free some")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the nodes' `main` starts, without ROS: it is interrupted after some spins."""
    node, executor = Node(), Executor()
    for module in (recorder_node, sim_node):
        monkeypatch.setattr(module, "init_until_interrupted", lambda _: lambda: executor.spins >= SPINS)
        monkeypatch.setattr(module, "Node", lambda _: node)
        monkeypatch.setattr(module, "SingleThreadedExecutor", lambda: executor)
    for name, value in (("ok", True), ("shutdown", None), ("try_shutdown", None)):
        monkeypatch.setattr(rclpy, name, lambda value=value: value)
    return SimpleNamespace(node=node, executor=executor)


@pytest.mark.parametrize(("module", "name"), [(recorder_node, "Recorder"), (sim_node, "Simulator")])
def test_a_clock_from_before_1970_ends_no_node(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(module, name, Served)
    assert module.main() == 0
    assert world.executor.spins == SPINS
    assert world.node.errors == ["ValueError: Seconds value must not be negative"] * SPINS


@pytest.mark.parametrize(("module", "name"), [(recorder_node, "Recorder"), (sim_node, "Simulator")])
def test_a_failure_of_its_own_ends_a_node_with_2(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(module, name, Failing)
    assert module.main() == 2
    assert world.executor.spins == 0
    assert world.node.errors == ["no space left on the device: free some"]


def test_a_world_that_cannot_be_rendered_ends_the_simulation_and_a_command_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    failure = ConfigError("no graphics driver: install one")
    simulator = object.__new__(Simulator)
    simulator.error, simulator._now_s = None, 1.0
    simulator._commands = DelayLine()
    monkeypatch.setattr(Simulator, "_advance", lambda _: None)
    simulator._commands.put(0.5, fail)
    with pytest.raises(ConfigError):
        simulator._tick()
    assert simulator.error is None
    monkeypatch.setattr(Simulator, "_advance", fail)
    simulator._tick()
    assert simulator.error is failure


def test_a_disk_that_is_full_when_a_topic_appears_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RecorderSettings(output=str(tmp_path / "bag"), image_format="raw")
    monkeypatch.setattr(recorder_node.parameters, "declare", lambda *_: None)
    monkeypatch.setattr(recorder_node.parameters, "read", lambda *_: settings)
    recorder = Recorder(Node())  # type: ignore[arg-type]
    full = RecordError("no space left on the device: free some")

    def add(_: Any) -> None:
        raise full

    monkeypatch.setattr(recorder.bag, "add", add)
    recorder._look()
    assert recorder.error is full
    recorder.close()
