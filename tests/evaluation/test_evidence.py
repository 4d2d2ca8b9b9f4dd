from __future__ import annotations

import numpy as np

from si_embodied.evaluation.evidence import Witnessed
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.plan import Plan
from si_embodied.skills import Explore, Goto
from si_embodied.types import CameraFrame, Code, Hold, Observation, PlanRecord


class Truth:
    """Sees the target in the views named, and finds the object at any point."""

    def __init__(self, *views: bool) -> None:
        self.views, self.looked, self.asked = list(views), 0, []

    def target_in_view(self):
        self.looked += 1
        return self.views.pop(0)

    def pointed_at(self, view, point):
        self.asked.append((view, point))
        return "other"


class World:
    def __init__(self, truth=None) -> None:
        if truth is not None:
            self.ground_truth = truth


def seen(x: float = 0.0, stamp_s: float = 1.0) -> Observation:
    rgb, camera = np.zeros((8, 8, 3), np.uint8), Pose.planar(x, 0.0, 0.0)
    frame = CameraFrame("head", stamp_s, rgb, None, Intrinsics(8, 8, 8.0, 8.0, 3.5, 3.5), camera)
    return Observation(stamp_s, (frame,), camera)


def decided(subgoal, stamp_s: float = 1.0) -> Hold:
    record = PlanRecord(stamp_s, "nav/v2", "m", "k", "d", (), 0, 0, {}, Code.UNSURE, "")
    return Hold(record, Plan(subgoals=(subgoal,), done=False))


GOTO = Goto(object="chair", view=0, point=(10, 20))


def test_a_world_without_ground_truth_leaves_everything_open() -> None:
    witnessed = Witnessed(World())
    witnessed.acted([decided(GOTO)], seen())
    assert (witnessed.target_seen, witnessed.pointed) == (None, {})


def test_the_target_is_looked_for_in_new_views_until_it_is_seen() -> None:
    truth = Truth(False, False, True)
    witnessed = Witnessed(World(truth))
    found = []
    for x in (0.0, 0.1, 0.5, 1.0, 1.5):  # the second view is the first one's
        witnessed.acted([], seen(x))
        found.append(witnessed.target_seen)
    assert found == [False, False, False, True, True]
    assert truth.looked == 3


def test_a_plan_is_made_from_a_view_that_is_looked_at_however_little_it_differs() -> None:
    witnessed = Witnessed(World(Truth(False, True)))
    witnessed.acted([], seen())
    witnessed.acted([decided(Explore())], seen())
    assert witnessed.target_seen is True


def test_each_new_plan_s_first_point_is_looked_up_once() -> None:
    truth = Truth(*[False] * 9)
    witnessed, plans = Witnessed(World(truth)), [decided(Explore()), decided(GOTO)]
    witnessed.acted(plans[:1], seen())
    witnessed.acted(plans, seen())
    witnessed.acted(plans, seen())
    assert (witnessed.pointed, truth.asked) == ({1: "other"}, [(0, (10, 20))])


def test_a_plan_from_an_older_image_is_not_judged_by_the_world_of_now() -> None:
    truth = Truth(*[False] * 9)
    witnessed = Witnessed(World(truth))
    witnessed.acted([decided(GOTO, stamp_s=0.5)], seen(stamp_s=1.0))
    earlier = GOTO.model_copy(update={"view": 1})
    witnessed.acted([decided(GOTO), decided(earlier)], seen())  # a remembered view
    assert (witnessed.pointed, truth.asked) == ({}, [])
