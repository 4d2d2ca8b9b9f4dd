"""Recordings whose messages are stand-ins, so that they need neither ROS nor a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from si_embodied.config import PlannerConfig, Prompts
from si_embodied.memory import Memory
from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord, RememberedView
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.skills import Goto
from si_embodied.types import Code, Hold, PlanRecord, SeenObject, Task

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


def header(frame: str = "optical", stamp_s: float = STAMP_S) -> Any:
    return SimpleNamespace(frame_id=frame, stamp=SimpleNamespace(sec=int(stamp_s), nanosec=0))


def transform(parent: str, child: str, stamp_s: float = STAMP_S, x: float = 0.0) -> Any:
    pose = SimpleNamespace(
        translation=SimpleNamespace(x=x, y=0.0, z=0.0), rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    return SimpleNamespace(header=header(parent, stamp_s), child_frame_id=child, transform=pose)


def calibration() -> Any:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        header=header(), width=WIDTH, height=HEIGHT, k=K, p=P, d=[-0.3, 0.0, 0.0, 0.0, 0.0],
        distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def seen(topic: str, stamp_s: float = STAMP_S, level: int = 0) -> Any:
    """An image or a depth image; `level` is added to the colours."""
    data = (
        (PIXELS + np.uint8(level)).tobytes() if topic == "image_raw" else np.full((HEIGHT, WIDTH), 2.0, "<f4").tobytes()
    )
    encoding = "rgb8" if topic == "image_raw" else "32FC1"
    return SimpleNamespace(
        header=header(stamp_s=stamp_s), width=WIDTH, height=HEIGHT, encoding=encoding, step=0, is_bigendian=0, data=data
    )


EARLIER_S, MIDDLE_S = 2.0, 4.0
GOTO = Goto(object="chair", view=1, point=(500, 500))


_PLANNER = PlannerConfig(Prompts(navigation="nav/v2"))


def remembering(*stamps: float, without: float | None = None, planner: PlannerConfig = _PLANNER) -> StandIn:
    """A decision at 5 s that points at Image-1 of its prompt. The base moves along x at 0.25 m/s."""
    answer = Plan(subgoals=(GOTO,), done=False).model_dump_json(exclude_none=True)
    plan = PlanRecord(STAMP_S, "nav/v2", "m", "sdpa", "float32", (answer,), 0, 0, {"total": 0.1}, Code.NO_STANDOFF, "")
    chair = SeenObject("chair", np.array([1.0, 2.0, 3.0]), EARLIER_S, None, 2)
    record = DecisionRecord(
        task=Task("go", "navigation"),
        decision=Hold(plan, Plan(subgoals=(GOTO,), done=False)),
        decided_s=STAMP_S,
        settings=NodeSettings(planner=planner),
        topics={"head": CameraTopics("/head/image_raw", "/head/depth", "/head/camera_info")},
        views={"head": STAMP_S},
        memory=Memory(objects=(chair,)),
        asked_s=STAMP_S,
        remembered=tuple(RememberedView("head", stamp_s) for stamp_s in stamps),
        fresh=True,
    )
    messages: list[tuple[str, Any]] = [
        ("/planner/record", SimpleNamespace(data=record.to_json())),
        ("/tf_static", SimpleNamespace(transforms=[transform("base_link", "optical")])),
        ("/head/camera_info", calibration()),
    ]
    for stamp_s in (EARLIER_S, MIDDLE_S, STAMP_S):
        messages.append(("/tf", SimpleNamespace(transforms=[transform("map", "base_link", stamp_s, x=stamp_s / 4)])))
        if stamp_s != without:
            messages.append(("/head/image_raw", seen("image_raw", stamp_s, level=int(stamp_s))))
            messages.append(("/head/depth", seen("depth", stamp_s)))
    return StandIn(*messages)
