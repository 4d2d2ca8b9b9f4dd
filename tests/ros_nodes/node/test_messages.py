"""Messages and markers made from decisions and known objects."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("si_embodied_msgs", reason="messages need the built interfaces")

from visualization_msgs.msg import Marker

from si_embodied import Observation
from si_embodied.geometry import Pose
from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.annotated_image import annotated
from si_embodied.ros_nodes.node.messages import object_markers, objects_message, subgoal_message
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.skills import Explore, Goto, NavigateTo
from si_embodied.types import Code, Execute, PlanRecord, SeenObject

CHAIR_M = np.array([2.0, 1.0, 0.4])
MUG = SeenObject("red mug", CHAIR_M, 12.5, 0.75, 1)
CHAIR = SeenObject("chair", CHAIR_M, 12.5, None, 2)


@pytest.fixture
def recalled(wall_ahead: Observation) -> Observation:
    """A present view at 10 s, and a remembered one of 7 s."""
    (frame,) = wall_ahead.frames
    return dataclasses.replace(wall_ahead, keyframes=(dataclasses.replace(frame, stamp_s=7.0),))


@pytest.mark.parametrize(("view", "remembered", "stamp_s"), [(0, False, 10.0), (1, True, 7.0)])
def test_a_subgoal_says_which_image_it_points_at(
    recalled: Observation, view: int, remembered: bool, stamp_s: float
) -> None:
    message = subgoal_message(Goto(object="chair", view=view, point=(505, 305)), None, recalled)
    assert (message.camera, message.remembered) == ("head", remembered)
    assert list(message.pixel) == pytest.approx([50.0, 30.0])  # 100 x 100 pixels
    assert bridge.seconds(message.image_stamp) == stamp_s


def test_a_subgoal_without_a_point_has_no_image(recalled: Observation) -> None:
    message = subgoal_message(Explore(), None, recalled)
    assert (message.camera, message.remembered, bridge.seconds(message.image_stamp)) == ("", False, 0.0)


def test_known_objects_are_sent_with_what_is_known_of_them() -> None:
    message = objects_message((MUG, CHAIR), frame="map", now_s=20.0)
    assert (message.header.frame_id, bridge.seconds(message.header.stamp)) == ("map", 20.0)
    mug, chair = message.objects
    assert (mug.name, mug.probability, mug.sightings, mug.confirmed) == ("red mug", 0.75, 1, False)
    assert (mug.position.x, mug.position.y, mug.position.z) == (2.0, 1.0, 0.4)
    assert bridge.seconds(mug.seen) == 12.5
    assert math.isnan(chair.probability)
    assert (chair.sightings, chair.confirmed) == (2, True)


def test_markers_of_objects_delete_the_previous_ones_first() -> None:
    first, sphere, text, *_ = object_markers(objects_message((MUG, CHAIR), frame="map", now_s=20.0)).markers
    assert first.action == Marker.DELETEALL
    assert (sphere.type, sphere.ns, text.ns, text.text) == (Marker.SPHERE, "objects", "object_names", "red mug")
    assert [marker.action for marker in object_markers(objects_message((), frame="map", now_s=0.0)).markers] == [
        Marker.DELETEALL
    ]


@pytest.mark.parametrize(("view", "row"), [(0, (40, 60)), (1, (115, 135))])
def test_the_annotated_image_draws_a_point_in_its_own_view(
    recalled: Observation, view: int, row: tuple[int, int]
) -> None:
    """The remembered view, 50 pixels high, lies below the present one, 100 pixels high. All are black."""
    pytest.importorskip("PIL", reason="drawing needs the extra sim")
    subgoals = (Goto(object="x", view=view, point=(200, 500)),)
    record = PlanRecord(10.0, "nav/v2", "m", "none", "none", (), 0, 0, {}, Code.OK, "")
    goal = NavigateTo(Pose.identity(), CHAIR_M)
    pixels = annotated(Execute((goal,), subgoals, Plan(subgoals=subgoals, done=False), record), recalled)
    assert pixels.shape[1] == 100
    assert pixels.shape[0] > 150, "with a line of words below"
    green = (pixels[:150] == (64, 220, 96)).all(axis=2)
    assert green.any()
    rows, columns = np.nonzero(green)
    assert row[0] < rows.min() <= rows.max() < row[1]
    assert columns.min() == pytest.approx((19.5, 9.75)[view] - 3, abs=1.5), (
        "the ring's left edge; its name is right of it"
    )
