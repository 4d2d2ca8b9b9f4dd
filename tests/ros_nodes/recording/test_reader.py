"""Observations put together from a recording's messages, which are stand-ins here, so that this needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.config import PlannerConfig, Prompts
from si_embodied.memory import Memory
from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord, RememberedView
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.ros_nodes.recording.replay import Replayer
from si_embodied.skills import Goto
from si_embodied.types import Code, Execute, Hold, PlanRecord, SeenObject, Task

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
    transforms = [transform("map", "base_link"), transform("base_link", "optical")]
    return StandIn(
        ("/planner/record", SimpleNamespace(data=record.to_json())),
        ("/tf_static", SimpleNamespace(transforms=transforms)),
        ("/head/camera_info", calibration()),
        ("/head/image_raw", seen("image_raw")),
        ("/head/depth", seen("depth")),
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


# --- remembered views ------------------------------------------------------------------------------------------------

EARLIER_S, MIDDLE_S = 2.0, 4.0
GOTO = Goto(object="chair", view=1, point=(500, 500))


def remembering(*stamps: float, without: float | None = None) -> StandIn:
    """A decision at 5 s that points at Image-1 of its prompt. The base moves along x at 0.25 m/s."""
    answer = Plan(subgoals=(GOTO,), done=False).model_dump_json(exclude_none=True)
    plan = PlanRecord(STAMP_S, "nav/v2", "m", "sdpa", "float32", (answer,), 0, 0, {"total": 0.1}, Code.NO_STANDOFF, "")
    chair = SeenObject("chair", np.array([1.0, 2.0, 3.0]), EARLIER_S, None, 2)
    record = DecisionRecord(
        task=Task("go", "navigation"),
        decision=Hold(plan, Plan(subgoals=(GOTO,), done=False)),
        decided_s=STAMP_S,
        settings=NodeSettings(planner=PlannerConfig(prompts=Prompts(navigation="nav/v2"))),
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


def test_remembered_views_are_found_with_their_own_image_depth_and_pose() -> None:
    (decision,) = remembering(EARLIER_S, MIDDLE_S).decisions()
    assert decision.observation is not None, decision.missing
    views = decision.memory.recall(decision.observation).keyframes
    assert [view.stamp_s for view in views] == [EARLIER_S, MIDDLE_S]
    assert [float(view.T_map_camera.translation[0]) for view in views] == [0.5, 1.0]
    assert all(view.depth_m is not None for view in views)
    assert not np.array_equal(views[0].rgb, views[1].rgb)
    assert [seen.name for seen in decision.memory.objects] == ["chair"]


@pytest.mark.parametrize(("stamps", "x"), [((EARLIER_S, MIDDLE_S), 0.5), ((MIDDLE_S,), 1.0), ((), 1.25)])
def test_a_plan_is_replayed_with_the_views_that_it_remembered(stamps: tuple[float, ...], x: float) -> None:
    """Image-1 is the oldest view, and the target 2 m above its camera, which looks up."""
    (replayed,) = Replayer().replay(remembering(*stamps))
    assert isinstance(replayed.replayed, Execute), replayed.why
    (goal,) = replayed.replayed.goals
    assert goal.place_m == pytest.approx([x, 0.0, 2.0], abs=0.1)


def test_a_remembered_view_that_was_not_recorded_is_named() -> None:
    (decision,) = remembering(EARLIER_S, MIDDLE_S, without=EARLIER_S).decisions()
    assert decision.observation is None
    assert decision.missing == "no image of 2.000 s of the camera 'head'"
    (replayed,) = Replayer().replay(remembering(EARLIER_S, MIDDLE_S, without=EARLIER_S))
    assert (replayed.verdict, replayed.why) == ("not replayed", "no image of 2.000 s of the camera 'head'")
