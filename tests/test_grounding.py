"""Grounding: pixels become metric goals using the depth and pose of their own image, or are refused with a reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from si_embodied import NavigationMap, Observation, Pose
from si_embodied.config import GroundingConfig
from si_embodied.embodiment import Embodiment, MobileBase, SkillRobot
from si_embodied.grounding import Grounder, narrowest_rectangle, pixel_of, point_of
from si_embodied.skills import (
    Drive,
    Explore,
    ExploreFrontier,
    ExploreTowards,
    ExploreView,
    Finish,
    Forward,
    Goal,
    GoHome,
    Goto,
    Grasp,
    Home,
    Look,
    Navigate,
    NavigateTo,
    Pick,
    Place,
    Push,
    PushAlong,
    Release,
    Rotate,
    Stop,
    Subgoal,
    TiltCamera,
    Turn,
)
from si_embodied.types import POINT_GOAL, CameraFrame, Code, Refusal

Boxes = list[tuple[float, float, float, float, float, float]]
Table = Callable[[Boxes], Observation]


ROBOT = MobileBase(("head",), "discrete", 0.2, 1.0, 0.25, 0.26, math.radians(30), (-1.0, 0.5), 0.5, 1.0, 0.5, 1.0)


def ground(subgoal: Subgoal, observation: Observation, robot: Embodiment = ROBOT) -> Goal | Refusal:
    return subgoal.ground(observation, Grounder(robot))


def with_frame(observation: Observation, **changes: object) -> Observation:
    frame: CameraFrame = dataclasses.replace(observation.frames[0], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(observation, frames=(frame,))


def test_goto_stands_off_the_point_and_faces_it(wall_ahead: Observation) -> None:
    # The image centre shows the wall at (3, 0, 1); a standoff of 0.6 m is at (2.4, 0).
    goal = ground(Goto(object="wall", view=0, point=(500, 500)), wall_ahead)
    assert isinstance(goal, NavigateTo)
    np.testing.assert_allclose(goal.target_m, [3.0, 0.0, 1.0], atol=0.05)
    np.testing.assert_allclose(goal.T_map_base.translation[:2], [2.4, 0.0], atol=0.05)
    assert goal.T_map_base.yaw == pytest.approx(0.0, abs=0.02)


def test_a_point_left_in_the_image_is_left_in_the_map(wall_ahead: Observation) -> None:
    # x = 250 of 1000 is 25 px left of the centre: 25 / 50 * 3 m = 1.5 m to the left, which is +y.
    goal = ground(Goto(object="wall", view=0, point=(250, 500)), wall_ahead)
    assert isinstance(goal, NavigateTo)
    assert goal.target_m[1] == pytest.approx(1.5, abs=0.03)


def test_grounding_uses_the_pose_of_the_image(wall_ahead: Observation) -> None:
    moved = dataclasses.replace(wall_ahead, T_map_base=Pose.planar(1.0, 1.0, 2.0))
    before = ground(Goto(object="wall", view=0, point=(500, 500)), wall_ahead)
    after = ground(Goto(object="wall", view=0, point=(500, 500)), moved)
    assert isinstance(before, NavigateTo)
    assert isinstance(after, NavigateTo)
    np.testing.assert_array_equal(before.target_m, after.target_m)


def test_goto_chooses_a_reachable_cell(wall_ahead: Observation) -> None:
    # Only the half of the map with y > 0.5 is reachable.
    lengths = np.full((80, 80), np.inf, dtype=np.float32)
    lengths[45:, :] = 3.0
    grid = NavigationMap(0.1, (0.0, -4.0), lengths)
    goal = ground(Goto(object="wall", view=0, point=(500, 500)), dataclasses.replace(wall_ahead, navigation_map=grid))
    assert isinstance(goal, NavigateTo)
    x, y = goal.T_map_base.translation[:2]
    assert y > 0.5
    assert math.hypot(x - 3, y) == pytest.approx(0.6, abs=0.1)
    assert goal.T_map_base.yaw == pytest.approx(math.atan2(-y, 3 - x), abs=0.02)


@pytest.mark.parametrize("rows", [np.s_[:], np.s_[60:]])
def test_goto_stands_where_nothing_higher_hides_the_target(wall_ahead: Observation, rows: slice) -> None:
    # To the right, a partition half a metre in front of the wall. Whole, it hides the point (3, 0, 1) from the near
    # cells behind it; cut off half a metre below the camera, it does not.
    depth = np.full((100, 100), 3.0, dtype=np.float32)
    depth[rows, 54:] = 2.5
    lengths = np.full((80, 80), np.inf, dtype=np.float32)
    lengths[:37, :24], lengths[43:, :24] = 0.0, 0.5  # the right side is nearer than the left
    observation = dataclasses.replace(
        with_frame(wall_ahead, depth_m=depth), navigation_map=NavigationMap(0.1, (0.0, -4.0), lengths)
    )
    goal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(goal, NavigateTo)
    assert (goal.T_map_base.translation[1] > 0) == (rows == np.s_[:])


def test_goto_with_a_target_hidden_from_every_standoff_approaches_in_sight_of_it(wall_ahead: Observation) -> None:
    depth = np.full((100, 100), 3.0, dtype=np.float32)
    depth[:, 54:] = 2.5
    lengths = np.full((80, 80), np.inf, dtype=np.float32)
    lengths[:37, 20:24] = 1.0  # to the right, hidden
    lengths[37:43, :11] = 0.1 * np.arange(11)  # ahead, in sight, and the map ends there
    observation = dataclasses.replace(
        with_frame(wall_ahead, depth_m=depth), navigation_map=NavigationMap(0.1, (0.0, -4.0), lengths)
    )
    goal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(goal, NavigateTo)
    assert goal.on_arrival is Code.NO_STANDOFF  # look again from there
    np.testing.assert_allclose(goal.T_map_base.translation[:2], [1.05, 0.0], atol=0.3)


def test_goto_drives_to_the_end_of_the_map_and_reports_no_standoff(wall_ahead: Observation) -> None:
    # The map ends 1 m ahead of the base; the wall is 3 m ahead.
    lengths = np.full((80, 80), np.inf, dtype=np.float32)
    lengths[35:45, :11] = 0.1 * np.arange(11)
    observation = dataclasses.replace(wall_ahead, navigation_map=NavigationMap(0.1, (0.0, -4.0), lengths))
    goal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(goal, NavigateTo)
    assert goal.on_arrival is Code.NO_STANDOFF
    np.testing.assert_allclose(goal.T_map_base.translation[:2], [1.0, 0.0], atol=0.06)
    np.testing.assert_allclose(goal.target_m[:2], [3.0, 0.0], atol=0.05)


def test_goto_that_gets_no_closer_is_refused(wall_ahead: Observation) -> None:
    lengths = np.full((80, 80), np.inf, dtype=np.float32)
    lengths[35:45, :4] = 0.1  # at most 0.4 m ahead; min_approach_m is 0.5
    observation = dataclasses.replace(wall_ahead, navigation_map=NavigationMap(0.1, (0.0, -4.0), lengths))
    refusal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.NO_STANDOFF


def test_goto_without_a_reachable_cell_is_refused(wall_ahead: Observation) -> None:
    grid = NavigationMap(0.1, (0.0, -4.0), np.full((80, 80), np.inf, dtype=np.float32))
    observation = dataclasses.replace(wall_ahead, navigation_map=grid)
    refusal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.NO_STANDOFF


def test_a_point_goal_is_driven_to_itself_as_far_as_the_map_goes(wall_ahead: Observation) -> None:
    """The base is at (0, 0) and faces +x; the map has 0.1 m cells from (0, -4) on."""
    lengths = np.full((80, 80), np.inf, np.float32)
    lengths[38:43, :16] = np.linspace(0.0, 1.5, 16, dtype=np.float32)  # free up to x = 1.6
    reachable = NavigationMap(0.1, (0.0, -4.0), lengths)

    def drive(goal_m: list[float], known: NavigationMap | None = reachable) -> Goal | Refusal:
        observation = dataclasses.replace(wall_ahead, goal_point_m=np.array(goal_m), navigation_map=known)
        return ground(Navigate(object=POINT_GOAL), observation)

    for at, goal_m, place, on_arrival in (
        ((1.05, 0.05), [1.0, 0.0, 0.0], "the point itself", Code.OK),
        ((1.35, 0.05), [3.0, 0.0, 0.0], "where the map ends, off its edge", Code.NO_STANDOFF),
        ((0.0, 0.0), [-3.0, 0.0, 0.0], "here, turned to the point behind", Code.NO_STANDOFF),
    ):
        goal = drive(goal_m)
        assert isinstance(goal, NavigateTo), place
        assert (*goal.T_map_base.translation[:2],) == pytest.approx(at, abs=0.11), place
        assert goal.T_map_base.yaw == pytest.approx(math.atan2(goal_m[1], goal_m[0])), place
        assert goal.on_arrival is on_arrival, place
    blind = drive([1.0, 2.0, 0.0], None)
    assert isinstance(blind, NavigateTo)
    assert blind.T_map_base.translation[:2] == pytest.approx([1.0, 2.0])
    stuck = drive([0.2, 0.0, 0.0], NavigationMap(0.1, (0.0, -4.0), np.full((80, 80), np.inf, np.float32)))
    assert isinstance(stuck, Refusal)
    assert stuck.code is Code.NO_STANDOFF


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_a_point_without_depth_is_refused(wall_ahead: Observation, value: float) -> None:
    observation = with_frame(wall_ahead, depth_m=np.full((100, 100), value, dtype=np.float32))
    refusal = ground(Goto(object="wall", view=0, point=(500, 500)), observation)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DEPTH_INVALID


def test_a_camera_without_depth_is_refused(wall_ahead: Observation) -> None:
    refusal = ground(Goto(object="wall", view=0, point=(1, 1)), with_frame(wall_ahead, depth_m=None))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.NO_DEPTH


def test_a_point_on_a_depth_edge_is_refused(wall_ahead: Observation) -> None:
    depth = np.full((100, 100), 3.0, dtype=np.float32)
    depth[:, 50] = 1.0  # one column of the five around the pixel
    refusal = ground(Goto(object="wall", view=0, point=(500, 500)), with_frame(wall_ahead, depth_m=depth))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DEPTH_AMBIGUOUS


@pytest.mark.parametrize("yaw_degrees", [-60, -20, 0, 30, 45, 80])
def test_pick_is_centred_and_closes_across_the_narrow_side(table_from_above: Table, yaw_degrees: int) -> None:
    yaw = math.radians(yaw_degrees)
    observation = table_from_above([(0.62, 0.05, yaw, 0.09, 0.04, 0.05)])
    # From 0.95 m above the top: 0.05 m left is 200 * 0.05 / 0.95 = 10.5 px left of column 100.
    goal = ground(Pick(object="block", view=0, point=(446, 480)), observation)
    assert isinstance(goal, Grasp)
    np.testing.assert_allclose(goal.T_map_tool.translation[:2], [0.62, 0.05], atol=0.006)
    assert goal.width_m == pytest.approx(0.04, abs=0.01)
    assert goal.T_map_tool.rotation[2, 2] == pytest.approx(-1.0)  # straight down
    closing = goal.T_map_tool.rotation[:2, 1]
    across = np.array([-math.sin(yaw), math.cos(yaw)])
    assert abs(closing @ across) > math.cos(math.radians(8))


def test_pick_closes_below_the_top_and_above_the_table(table_from_above: Table) -> None:
    goal = ground(Pick(object="cube", view=0, point=(502, 502)), table_from_above([(0.6, 0.0, 0.0, 0.05, 0.05, 0.05)]))
    assert isinstance(goal, Grasp)
    assert goal.T_map_tool.translation[2] == pytest.approx(0.05 - GroundingConfig().grasp_depth_m, abs=0.003)
    assert goal.height_above_support_m == pytest.approx(goal.T_map_tool.translation[2], abs=0.003)


def test_pick_separates_two_adjacent_objects(table_from_above: Table) -> None:
    boxes = [(0.6, 0.0, 0.0, 0.05, 0.05, 0.05), (0.6, 0.08, 0.0, 0.05, 0.05, 0.05)]
    goal = ground(Pick(object="cube", view=0, point=(502, 502)), table_from_above(boxes))
    assert isinstance(goal, Grasp)
    np.testing.assert_allclose(goal.T_map_tool.translation[:2], [0.6, 0.0], atol=0.006)


def test_pick_at_a_table_edge_does_not_use_the_floor_as_support(table_from_above: Table) -> None:
    observation = table_from_above([(0.6, 0.0, 0.0, 0.05, 0.05, 0.05)])
    depth = observation.frames[0].depth_m
    assert depth is not None
    depth[108:] = 1.7  # the table ends 4 cm before the cube's middle, in front of the floor
    goal = ground(Pick(object="cube", view=0, point=(502, 502)), observation)
    assert isinstance(goal, Grasp)
    assert goal.height_above_support_m == pytest.approx(0.05 - GroundingConfig().grasp_depth_m, abs=0.003)


@pytest.mark.parametrize(("beside_m", "picked"), [(0.045, True), (0.1, False)])
def test_pick_takes_the_object_that_the_point_just_misses(
    table_from_above: Table, beside_m: float, picked: bool
) -> None:
    half_m, camera_m, focal_px, width_px = 0.025, 0.95, 200, 200  # the camera's height above the cube's top
    x = round(1000 * (0.5 - beside_m / camera_m * focal_px / width_px))
    goal = ground(Pick(object="cube", view=0, point=(x, 502)), table_from_above([(0.6, 0.0, 0.0, 0.05, 0.05, 0.05)]))
    assert picked == (beside_m - half_m < GroundingConfig().max_miss_m)
    assert isinstance(goal, Grasp) == picked
    if isinstance(goal, Grasp):
        np.testing.assert_allclose(goal.T_map_tool.translation[:2], [0.6, 0.0], atol=0.006)
    else:
        assert isinstance(goal, Refusal)
        assert goal.code is Code.NO_GRASP


def test_pick_between_two_objects_takes_neither(table_from_above: Table) -> None:
    boxes = [(0.6, 0.04, 0.0, 0.05, 0.05, 0.05), (0.6, -0.04, 0.0, 0.05, 0.05, 0.05)]
    refusal = ground(Pick(object="cube", view=0, point=(502, 502)), table_from_above(boxes))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.NO_GRASP
    assert "not just one beside it" in refusal.message


def test_pick_on_the_bare_table_is_refused(table_from_above: Table) -> None:
    refusal = ground(Pick(object="cube", view=0, point=(502, 502)), table_from_above([]))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.NO_GRASP


def test_place_releases_on_the_visible_surface(table_from_above: Table) -> None:
    goal = ground(Place(object="cube", view=0, point=(502, 502)), table_from_above([(0.6, 0.0, 0.0, 0.05, 0.05, 0.05)]))
    assert isinstance(goal, Release)
    np.testing.assert_allclose(goal.surface_m, [0.6, 0.0, 0.05], atol=0.003)


def test_push_goes_from_the_first_point_to_the_second(table_from_above: Table) -> None:
    # 50 px up at 1 m and f = 200 is 0.25 m along map x.
    goal = ground(Push(object="cube", view=0, point=(502, 502), to=(502, 254)), table_from_above([]))
    assert isinstance(goal, PushAlong)
    np.testing.assert_allclose(goal.end_m - goal.start_m, [0.25, 0.0, 0.0], atol=0.005)


def test_subgoals_without_a_point_need_no_image(wall_ahead: Observation) -> None:
    assert ground(Turn(degrees=90), wall_ahead) == Rotate(math.pi / 2)
    assert ground(Forward(centimetres=75), wall_ahead) == Drive(0.75)
    assert ground(Look(direction="down"), wall_ahead) == TiltCamera(-ROBOT.tilt_step_rad)
    assert ground(Explore(), wall_ahead) == ExploreFrontier()


def test_exploring_a_view_is_bounded_by_its_field_of_view(wall_ahead: Observation) -> None:
    goal = ground(ExploreTowards(view=0), wall_ahead)  # 100 px wide, f = 50 px: 45 degrees to either side of x
    assert isinstance(goal, ExploreView)
    for degrees, shown in ((0, True), (44, True), (-44, True), (46, False), (180, False)):
        assert goal.shows(2 * math.cos(math.radians(degrees)), 2 * math.sin(math.radians(degrees))) == shown
    assert ground(Stop(), wall_ahead) == Finish()
    assert ground(Home(), wall_ahead) == GoHome()


def test_look_tilts_by_the_robots_own_step(wall_ahead: Observation) -> None:
    assert ground(Look(direction="up"), wall_ahead) == TiltCamera(math.radians(30))
    refusal = ground(Look(direction="up"), wall_ahead, SkillRobot(("head",), "skill", 1.0, 5.0))
    assert isinstance(refusal, Refusal)
    assert "mobile base" in refusal.message


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(0, 1000), st.integers(0, 1000))
def test_every_point_maps_into_the_image(width: int, height: int, x: int, y: int) -> None:
    u, v = pixel_of((x, y), width, height)
    assert 0 <= round(u) < width
    assert 0 <= round(v) < height


@given(st.integers(8, 2000), st.integers(8, 2000), st.floats(0, 1), st.floats(0, 1))
def test_a_pixel_survives_a_round_trip(width: int, height: int, x: float, y: float) -> None:
    u, v = x * (width - 1), y * (height - 1)
    back = pixel_of(point_of(u, v, width, height), width, height)
    assert abs(back[0] - u) <= max(0.51, width / 2000 + 1e-6)
    assert abs(back[1] - v) <= max(0.51, height / 2000 + 1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 2000])
def test_no_rectangle_around_points_is_smaller_than_the_narrowest(count: int) -> None:
    points = np.random.default_rng(count).normal(size=(count, 2)) * [0.03, 0.02]
    centre, yaw, width, length = narrowest_rectangle(points)
    turns = np.radians(np.arange(90))
    axes = np.stack([np.cos(turns), np.sin(turns)])  # (2, 90)
    areas = np.ptp(points @ axes, axis=0) * np.ptp(points @ [axes[1], -axes[0]], axis=0)
    assert width * length == pytest.approx(areas.min(), abs=1e-12)
    along = np.array([math.cos(yaw), math.sin(yaw)])
    off = points - centre
    assert np.abs(off @ along).max() == pytest.approx(length / 2, abs=1e-9)
    assert np.abs(off @ [along[1], -along[0]]).max() == pytest.approx(width / 2, abs=1e-9)


def test_the_narrowest_rectangle_around_a_rectangle_is_itself() -> None:
    rng = np.random.default_rng(0)
    local = rng.uniform(-0.5, 0.5, (4000, 2)) * (0.2, 0.06)
    yaw = math.radians(35)
    rotation = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    centre, found, width, length = narrowest_rectangle(local @ rotation.T + (1.0, 2.0))
    np.testing.assert_allclose(centre, [1.0, 2.0], atol=0.005)
    assert math.degrees(found) == pytest.approx(35, abs=1.5)
    assert (width, length) == (pytest.approx(0.06, abs=0.005), pytest.approx(0.2, abs=0.005))
