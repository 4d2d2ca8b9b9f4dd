"""A planner node that is watched through a folder, with a robot in front of a wall, each in its own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL", reason="the page's images need the extra serve")

from si_embodied.live.folder import FolderSource

PLANNER, ROBOT = ["-m", "si_embodied.ros_nodes.planner_node"], [str(Path(__file__).parent / "wall_robot.py")]
SOON_S = 60.0
GOTO = {"skill": "goto", "object": "wall", "view": 1, "point": [500, 400]}


def test_a_page_shows_what_the_planner_sees_and_decides(ros: Any, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    ros.start(ROBOT, {})
    script = json.dumps({"subgoals": [GOTO], "done": False})
    settings = {"backend": "scripted", "script": script, "autostart": True, "navigation.navigator": "topic"}
    ros.start(PLANNER, {**settings, "live_folder": str(tmp_path)})

    def frame() -> Any:
        frames = [json.loads(news.data)["frame"] for news in source.news({}) if news.topic == "frame"]
        return frames[-1] if frames else None

    before = ros.wait(frame, SOON_S, "the cameras, before any task")
    assert before["plan"] is None
    assert len(before["pictures"]) == 1
    ros.task()
    shown = ros.wait(lambda: (now := frame()) and now["plan"] and now, SOON_S, "the plan")
    assert shown["plan"]["steps"] == ["goto wall"]
    assert [mark["label"] for mark in shown["plan"]["pictures"][0]["marks"]] == ["1 goto wall"]
    assert shown["prompt"]["images"], "as the model was given it"
    assert shown["map"]["grid"] is not None
    assert shown["plan"]["latency_s"]["total"] > 0
