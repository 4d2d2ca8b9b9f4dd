"""The Foxglove layout and the RViz configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[3] / "config"
DOCUMENT = (CONFIG.parent / "docs" / "ros.md").read_text(encoding="utf-8")


def layout() -> dict[str, Any]:
    return json.loads((CONFIG / "foxglove_layout.json").read_text(encoding="utf-8"))


def panels(place: Any, configurations: dict[str, Any]) -> Iterator[str]:
    """The panels in a part of the layout, including those in its tabs."""
    if isinstance(place, str):
        yield place
        for tab in configurations[place].get("tabs", ()):
            yield from panels(tab["layout"], configurations)
    else:
        assert place["direction"] in ("row", "column")
        assert 0 < place["splitPercentage"] < 100
        yield from panels(place["first"], configurations)
        yield from panels(place["second"], configurations)


def test_every_panel_of_the_foxglove_layout_is_configured_once() -> None:
    data = layout()
    assert {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"} <= data.keys()
    found = list(panels(data["layout"], data["configById"]))
    assert sorted(found) == sorted(data["configById"])
    assert {panel.partition("!")[0] for panel in found} >= {"3D", "Image", "RawMessages", "DiagnosticSummary"}


def test_foxglove_and_rviz_show_what_the_planner_publishes() -> None:
    foxglove = set(re.findall(r'"(/planner/\w+)', (CONFIG / "foxglove_layout.json").read_text(encoding="utf-8")))
    rviz = yaml.safe_load((CONFIG / "planner.rviz").read_text(encoding="utf-8"))
    shown = {display.get("Topic", {}).get("Value") for display in rviz["Visualization Manager"]["Displays"]}
    assert foxglove == {
        "/planner/markers", "/planner/object_markers", "/planner/annotated", "/planner/plan", "/planner/status"
    }  # fmt: skip
    assert {"/planner/markers", "/planner/object_markers", "/planner/annotated"} <= shown
    for topic in foxglove:
        assert f"`~/{topic.rpartition('/')[2]}`" in DOCUMENT
