"""A task that is to be replayed waits for its recorder."""

from __future__ import annotations

from types import SimpleNamespace as Made

import pytest

pytest.importorskip("rclpy", reason="settings of the node need ROS")

from si_embodied.ros_nodes.node.recorder_watch import RecorderWatch
from si_embodied.ros_nodes.node.settings import NodeSettings


class Graph:
    """What a node knows of others."""

    def __init__(self) -> None:
        self.listeners: dict[str, str] = {}  # node by topic
        self.now_s = 0.0

    def clock(self) -> float:
        return self.now_s

    def resolve_topic_name(self, name: str) -> str:
        return f"/robot/{name}"

    def get_subscriptions_info_by_topic(self, name: str) -> list[object]:
        return [Made(node_name=self.listeners[name])] if name in self.listeners else []


def test_without_a_recorder_every_task_may_begin() -> None:
    assert RecorderWatch(Graph(), NodeSettings()).refusal() == ""


def test_a_task_waits_until_the_recorder_has_heard_every_camera_for_a_second() -> None:
    graph = Graph()
    watch = RecorderWatch(graph, NodeSettings(recorder="black_box", cameras=("left", "right")), graph.clock)
    graph.listeners = {
        f"/robot/{name}/{form}": "black_box" for name in ("left", "right") for form in ("depth", "camera_info")
    }
    graph.listeners["/robot/left/image_raw/compressed"] = "black_box"
    graph.listeners["/robot/right/image_raw"] = "somebody_else"
    assert "'black_box' does not listen to 'right/image_raw' yet" in watch.refusal()
    graph.listeners["/robot/right/image_raw"] = "black_box"
    assert "just begun" in watch.refusal()
    graph.now_s = 1.0
    assert watch.refusal() == ""


def test_a_recorder_that_has_ended_stops_no_robot() -> None:
    graph = Graph()
    watch = RecorderWatch(graph, NodeSettings(recorder="black_box"), graph.clock)
    graph.listeners = {f"/robot/head/{form}": "black_box" for form in ("image_raw", "depth", "camera_info")}
    watch.refusal()
    graph.listeners, graph.now_s = {}, 2.0
    assert watch.refusal() == ""
