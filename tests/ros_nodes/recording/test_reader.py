"""Observations put together from a recording's messages, which are stand-ins here, so that this needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.types import Code, Hold, PlanRecord, Task

WIDTH, HEIGHT, STAMP_S = 64, 48, 5.0
K = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
P = [40.0, 0.0, 31.5, 0.0, 0.0, 40.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
PIXELS = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)


class StandIn(Recording):
    """A recording of the given (topic, message)."""

    def __init__(self, *messages: tuple[str, Any]) -> None:
        self._all = messages
        super().__init__(Path("stand-in"))

    def _messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        return ((topic, 0, message) for topic, message in self._all if topic.endswith(topics))


def header(frame: str = "optical") -> Any:
    return SimpleNamespace(frame_id=frame, stamp=SimpleNamespace(sec=int(STAMP_S), nanosec=0))


def transform(parent: str, child: str) -> Any:
    pose = SimpleNamespace(
        translation=SimpleNamespace(x=0.0, y=0.0, z=0.0), rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    return SimpleNamespace(header=header(parent), child_frame_id=child, transform=pose)


def recording(settings: NodeSettings) -> StandIn:
    """One decision on one image of a camera with barrel distortion."""
    plan = PlanRecord(STAMP_S, "nav/v1", "model", "sdpa", "float32", (), 0, 0, {"total": 0.1}, Code.DEPTH_INVALID, "")
    record = DecisionRecord(
        task=Task("go", "navigation"),
        decision=Hold(plan, Plan(subgoals=(), done=True)),
        decided_s=STAMP_S,
        settings=settings,
        topics={"head": CameraTopics("/head/image_raw", "/head/depth", "/head/camera_info")},
        views={"head": STAMP_S},
    )
    size, roi = {"width": WIDTH, "height": HEIGHT}, SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    info = SimpleNamespace(
        header=header(), **size, k=K, p=P, d=[-0.3, 0.0, 0.0, 0.0, 0.0], distortion_model="plumb_bob",
        binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
    image = SimpleNamespace(header=header(), **size, encoding="rgb8", step=0, is_bigendian=0, data=PIXELS.tobytes())
    depth_m = np.full((HEIGHT, WIDTH), 2.0, "<f4").tobytes()
    depth = SimpleNamespace(header=header(), **size, encoding="32FC1", step=0, is_bigendian=0, data=depth_m)
    transforms = [transform("map", "base_link"), transform("base_link", "optical")]
    return StandIn(
        ("/planner/record", SimpleNamespace(data=record.to_json())),
        ("/tf_static", SimpleNamespace(transforms=transforms)),
        ("/head/camera_info", info),
        ("/head/image_raw", image),
        ("/head/depth", depth),
    )


@pytest.mark.parametrize(("rectified", "focal"), [(False, 50.0), (True, 40.0)])
def test_images_are_undistorted_as_they_were_when_recorded(rectified: bool, focal: float) -> None:
    (decision,) = recording(NodeSettings(rectified=rectified)).decisions()
    assert decision.observation is not None, decision.missing
    (frame,) = decision.observation.frames
    assert frame.intrinsics.fx == focal
    assert np.array_equal(frame.rgb, PIXELS) is rectified
    assert frame.depth_m is not None
    assert frame.depth_m[24, 32] == 2.0
