"""Observations put together from a recording's messages, which are stand-ins here, so that this needs no ROS."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from stand_in import (
    EARLIER_S,
    MIDDLE_S,
    PIXELS,
    STAMP_S,
    StandIn,
    calibration,
    remembering,
    seen,
    transform,
)  # fmt: skip

from si_embodied.live.moment import Moment
from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord
from si_embodied.ros_nodes.recording.replay import Replayer
from si_embodied.types import Code, Execute, Hold, PlanRecord, Task


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


def test_a_replayed_decision_is_shown_with_what_it_was_made_from() -> None:
    shown: list[Moment] = []
    list(Replayer(show=shown.append).replay(remembering(EARLIER_S, MIDDLE_S)))
    (moment,) = shown
    (decision,) = moment.decisions
    assert isinstance(decision, Execute)
    assert moment.execution.planned_from is not None
    assert moment.execution.planned_from.navigation_map is not None
    assert [view.stamp_s for view in moment.execution.planned_from.keyframes] == [EARLIER_S, MIDDLE_S]
    assert moment.prompt is not None
    assert len(moment.prompt.images) == 3


def test_a_remembered_view_that_was_not_recorded_is_named() -> None:
    (decision,) = remembering(EARLIER_S, MIDDLE_S, without=EARLIER_S).decisions()
    assert decision.observation is None
    assert decision.missing == "no image of 2.000 s of the camera 'head'"
    (replayed,) = Replayer().replay(remembering(EARLIER_S, MIDDLE_S, without=EARLIER_S))
    assert (replayed.verdict, replayed.why) == ("not replayed", "no image of 2.000 s of the camera 'head'")
