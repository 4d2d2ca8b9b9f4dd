"""The base's skills in a world of boxes whose depth images are computed in closed form, without a simulator."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from si_embodied import CameraFrame, Code, Intrinsics, Observation, Outcome, Pose
from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.policies.controllers import EXPLORE_ACTIONS, MobileController
from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.exploration import Explorer, ExploreSkill, Survey
from si_embodied.policies.skills.navigation import (
    BaseCommands,
    CameraLevel,
    DriveSkill,
    GoToSkill,
    RotateSkill,
    TiltSkill,
)
from si_embodied.skills import Drive, ExploreFrontier, ExploreView, Goal, NavigateTo, Rotate, TiltCamera

EYE_M = 1.1
INTRINSICS = Intrinsics.from_vertical_fov(96, 96, math.radians(75))
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # looking along x, level

# Two rooms of 4 x 4 m, side by side along x, with a door of 1 m at y in (1, 2): (x0, y0, x1, y1, height).
TWO_ROOMS = [
    (-0.1, -0.1, 8.1, 0.0, 2.5),
    (-0.1, 4.0, 8.1, 4.1, 2.5),
    (-0.1, 0.0, 0.0, 4.0, 2.5),
    (8.0, 0.0, 8.1, 4.0, 2.5),
    (3.95, 0.0, 4.05, 1.0, 2.5),
    (3.95, 2.0, 4.05, 4.0, 2.5),
]


class BoxWorld:
    """A disc that drives among boxes, with a depth camera."""

    def __init__(self, boxes: list[tuple[float, float, float, float, float]], base: MobileBase) -> None:
        self.boxes, self.base = boxes, base
        self.x, self.y, self.yaw, self.tilt, self.time = 1.0, 3.0, 0.0, math.radians(-15), 0.0
        self.tilt_range_rad = (-math.pi / 2, math.pi / 2)

    def observe(self) -> Observation:
        T_map_base = Pose.planar(self.x, self.y, self.yaw)
        down = Pose.from_rpy(0.0, -self.tilt, 0.0)
        T_map_camera = T_map_base @ Pose(np.eye(3), np.array([0.0, 0.0, EYE_M])) @ down @ Pose(OPTICAL, np.zeros(3))
        v, u = np.indices((96, 96))
        rays = np.stack(
            [(u - INTRINSICS.cx) / INTRINSICS.fx, (v - INTRINSICS.cy) / INTRINSICS.fy, np.ones((96, 96))], axis=-1
        )  # one metre along the optical axis, so that the ray's parameter is the depth
        directions = rays @ T_map_camera.rotation.T
        depth = self._cast(T_map_camera.translation, directions)
        frame = CameraFrame(
            "head", self.time, np.zeros((96, 96, 3), np.uint8), depth.astype(np.float32), INTRINSICS, T_map_camera
        )
        return Observation(self.time, (frame,), T_map_base)

    def _cast(self, eye: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(directions[..., 2] < 0, -eye[2] / directions[..., 2], np.inf)
            for x0, y0, x1, y1, height in self.boxes:
                low = (np.array([x0, y0, 0.0]) - eye) / directions
                high = (np.array([x1, y1, height]) - eye) / directions
                enter, leave = np.minimum(low, high).max(axis=-1), np.maximum(low, high).min(axis=-1)
                depth = np.where((enter > 0) & (enter <= leave), np.minimum(depth, enter), depth)
        return np.where(np.isfinite(depth), depth, 0.0)

    def free(self, x: float, y: float) -> bool:
        return all(
            math.hypot(x - min(max(x, x0), x1), y - min(max(y, y0), y1)) >= self.base.radius_m
            for x0, y0, x1, y1, _ in self.boxes
        )

    def act(self, action: object) -> None:
        self.time += 0.5
        if isinstance(action, np.ndarray):
            self.yaw += float(action[1]) * self.base.control_period_s
            self._forward(float(action[0]) * self.base.control_period_s)
        elif action == BaseAction.FORWARD:
            self._forward(self.base.forward_step_m)
        elif action in (BaseAction.TURN_LEFT, BaseAction.TURN_RIGHT):
            self.yaw += self.base.turn_step_rad * (1 if action == BaseAction.TURN_LEFT else -1)
        elif action in (BaseAction.LOOK_UP, BaseAction.LOOK_DOWN):
            tilt = self.tilt + self.base.tilt_step_rad * (1 if action == BaseAction.LOOK_UP else -1)
            self.tilt = min(max(tilt, self.tilt_range_rad[0]), self.tilt_range_rad[1])

    def _forward(self, distance_m: float) -> None:
        x, y = self.x + distance_m * math.cos(self.yaw), self.y + distance_m * math.sin(self.yaw)
        if self.free(x, y):
            self.x, self.y = x, y


@pytest.fixture
def world(base: MobileBase) -> BoxWorld:
    return BoxWorld(TWO_ROOMS, base)


def run(world: BoxWorld, mapper: OccupancyMapper, skill: object, *, steps: int = 200) -> tuple[Outcome, int]:
    for taken in range(steps):
        observation = world.observe()
        mapper.update(observation)
        result = skill.step(observation)  # type: ignore[attr-defined]
        if isinstance(result, Outcome):
            return result, taken
        world.act(result)
    raise AssertionError(f"no outcome within {steps} steps; at ({world.x:.2f}, {world.y:.2f})")


def look_around(world: BoxWorld, mapper: OccupancyMapper) -> None:
    run(world, mapper, RotateSkill(Rotate(2 * math.pi), world.base))


def test_the_map_knows_walls_floor_and_what_it_has_not_seen(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    look_around(world, mapper)

    def at(x: float, y: float) -> tuple[bool, bool]:
        rows, columns = mapper.cells(np.array([[x, y]]))
        return bool(mapper.free[rows, columns][0]), bool(mapper.occupied[rows, columns][0])

    assert at(2.0, 2.0) == (True, False)
    assert any(at(4.0 + dx, 3.0)[1] for dx in (-0.07, -0.02, 0.02))  # the wall between the rooms
    assert at(6.0, 3.0) == (False, False)  # behind it
    assert at(-0.5, 3.0) == (False, False)


def test_reachable_lengths_are_the_straight_distance_where_nothing_is_between(
    world: BoxWorld, base: MobileBase
) -> None:
    mapper = OccupancyMapper(base)
    look_around(world, mapper)
    grid = mapper.navigation_map(world.observe().T_map_base)
    cell = grid.cell(2.5, 1.5)
    assert cell is not None
    straight = math.hypot(2.5 - 1.0, 1.5 - 3.0)
    assert straight - 0.1 <= grid.path_length_m[cell] <= straight * 1.03 + 0.1
    wall = grid.cell(4.0, 3.0)
    assert wall is not None
    assert np.isinf(grid.path_length_m[wall])


@pytest.mark.parametrize("mode", ["discrete", "continuous"])
def test_goto_drives_through_the_door_and_faces_the_target(world: BoxWorld, base: MobileBase, mode: str) -> None:
    world.base = dataclasses.replace(base, action_mode=mode)  # type: ignore[arg-type]
    mapper = OccupancyMapper(world.base)
    goal = NavigateTo(Pose.planar(6.0, 3.0, 0.0), np.array([6.0, 3.6, 0.5]))
    look_around(world, mapper)
    outcome, _ = run(world, mapper, GoToSkill(goal, world.base, mapper, CameraLevel(world.base)))
    assert outcome.succeeded, outcome
    assert math.hypot(world.x - 6.0, world.y - 3.0) < 0.2
    bearing = math.atan2(3.6 - world.y, 6.0 - world.x)
    assert abs(math.remainder(bearing - world.yaw, 2 * math.pi)) <= math.radians(8)


def test_goto_to_where_the_map_ends_gets_there_and_says_that_it_is_not_the_target(
    world: BoxWorld, base: MobileBase
) -> None:  # fmt: skip
    mapper = OccupancyMapper(base)
    look_around(world, mapper)
    short = NavigateTo(Pose.planar(3.0, 3.0, 0.0), np.array([6.0, 3.0, 0.5]), on_arrival=Code.NO_STANDOFF)
    outcome, _ = run(world, mapper, GoToSkill(short, base, mapper, CameraLevel(base)))
    assert outcome.code is Code.NO_STANDOFF
    assert math.hypot(world.x - 3.0, world.y - 3.0) < 0.2


def test_goto_into_a_closed_room_is_unreachable(world: BoxWorld, base: MobileBase) -> None:
    world.boxes = [*TWO_ROOMS, (3.95, 1.0, 4.05, 2.0, 2.5)]
    mapper = OccupancyMapper(base)
    look_around(world, mapper)
    goal = NavigateTo(Pose.planar(6.0, 3.0, 0.0), np.array([6.0, 3.6, 0.5]))
    outcome, _ = run(world, mapper, GoToSkill(goal, base, mapper, CameraLevel(base)))
    assert outcome.code in (Code.UNREACHABLE, Code.BLOCKED)
    assert world.x < 4.0


def test_an_invisible_obstacle_is_bumped_into_and_driven_around(world: BoxWorld, base: MobileBase) -> None:
    seen = world.boxes
    glass = [*seen, (2.0, 2.6, 2.05, 3.4, 2.0)]
    mapper = OccupancyMapper(base)
    look_around(world, mapper)
    goal = NavigateTo(Pose.planar(3.2, 3.0, 0.0), np.array([3.8, 3.0, 0.5]))
    skill = GoToSkill(goal, base, mapper, CameraLevel(base))
    for _ in range(160):
        observation = world.observe()
        mapper.update(observation)
        result = skill.step(observation)
        if isinstance(result, Outcome):
            break
        world.boxes = glass  # the base moves among boxes of which one is invisible to it
        world.act(result)
        world.boxes = seen
    assert isinstance(result, Outcome)
    assert result.succeeded
    assert world.x > 2.8


def test_exploring_sees_the_other_room(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    run(world, mapper, ExploreSkill(Explorer(base, mapper), CameraLevel(base), actions=150))
    rows, columns = mapper.cells(np.array([[6.0, 1.0], [7.5, 3.5], [4.5, 3.5], [0.5, 0.5]]))
    assert mapper.free[rows, columns].all()


def test_exploring_ends_when_all_was_looked_at(world: BoxWorld, base: MobileBase) -> None:
    world.boxes = [*TWO_ROOMS, (3.95, 1.0, 4.05, 2.0, 2.5)]  # one closed room
    mapper = OccupancyMapper(base)
    outcome, _ = run(world, mapper, ExploreSkill(Explorer(base, mapper), CameraLevel(base), actions=400), steps=401)
    assert outcome.code is Code.SKILL_FAILED
    assert "nothing is left" in outcome.message


def test_exploring_gives_the_planner_a_look_now_and_then(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    outcome, steps = run(world, mapper, ExploreSkill(Explorer(base, mapper), CameraLevel(base), actions=6))
    assert outcome.succeeded
    assert steps == 6


def tilted(world: BoxWorld, base: MobileBase, degrees: float) -> CameraLevel:
    """Tilts the world's camera; the result has seen where it was before."""
    level = CameraLevel(base)
    level.update(world.observe())
    world.tilt += math.radians(degrees)
    return level


def first_actions(world: BoxWorld, mapper: OccupancyMapper, skill: object, count: int) -> list[object]:
    actions = []
    for _ in range(count):
        observation = world.observe()
        mapper.update(observation)
        actions.append(skill.step(observation))  # type: ignore[attr-defined]
        world.act(actions[-1])
    return actions


@pytest.mark.parametrize(("degrees", "action"), [(30, BaseAction.LOOK_DOWN), (-45, BaseAction.LOOK_UP)])
def test_exploring_levels_the_camera_before_it_moves_the_base(
    world: BoxWorld, base: MobileBase, degrees: float, action: BaseAction
) -> None:
    world.base = dataclasses.replace(base, tilt_step_rad=math.radians(15))
    mapper, before = OccupancyMapper(world.base), world.tilt
    level = tilted(world, world.base, degrees)
    steps = abs(round(degrees / 15))
    skill = ExploreSkill(Explorer(world.base, mapper), level, actions=4)
    actions = first_actions(world, mapper, skill, steps + 1)
    assert actions[:-1] == [action] * steps
    assert actions[-1] in (BaseAction.TURN_LEFT, BaseAction.TURN_RIGHT, BaseAction.FORWARD)
    assert world.tilt == pytest.approx(before)


def test_a_goto_levels_the_camera_before_it_drives_and_not_if_it_is_there(world: BoxWorld, base: MobileBase) -> None:
    world.base = dataclasses.replace(base, tilt_step_rad=math.radians(15))
    mapper, level = OccupancyMapper(world.base), tilted(world, world.base, 30)
    ahead = np.array([3.0, 3.0, 0.5])
    here = GoToSkill(NavigateTo(Pose.planar(world.x, world.y, 0.0), ahead), world.base, mapper, level)
    there = GoToSkill(NavigateTo(Pose.planar(2.5, 3.0, 0.0), ahead), world.base, mapper, level)
    look_around(world, mapper)
    assert first_actions(world, mapper, there, 2) == [BaseAction.LOOK_DOWN] * 2
    world.tilt = math.atan2(0.5 - EYE_M, 3.0 - world.x)  # facing the target
    outcome, steps = run(world, mapper, here)
    assert (outcome.succeeded, steps) == (True, 0)


def test_a_camera_is_levelled_again_after_it_was_tilted_again(world: BoxWorld, base: MobileBase) -> None:
    level = tilted(world, base, 0)
    before = world.tilt
    for _ in range(2):
        world.tilt = before - base.tilt_step_rad
        action = level.step(world.observe())
        assert action == BaseAction.LOOK_UP
        world.act(action)
        assert level.step(world.observe()) is None
        assert world.tilt == pytest.approx(before)


def test_a_camera_that_cannot_be_levelled_does_not_keep_the_robot_from_exploring(
    world: BoxWorld, base: MobileBase
) -> None:
    mapper, level = OccupancyMapper(base), tilted(world, base, 30)
    world.tilt_range_rad = (world.tilt, world.tilt)  # stuck
    skill = ExploreSkill(Explorer(base, mapper), level, actions=4)
    actions = first_actions(world, mapper, skill, 5)
    assert actions[0] == BaseAction.LOOK_DOWN
    assert not {BaseAction.LOOK_UP, BaseAction.LOOK_DOWN} & set(actions[1:])


def survey(world: BoxWorld, mapper: OccupancyMapper, *, everywhere: bool = False) -> int:
    """Looks around; returns the number of turns."""
    looking, commands = Survey(mapper, everywhere=everywhere), BaseCommands(world.base)
    for turns in range(100):
        mapper.update(world.observe())
        angle = looking.turn_rad(world.observe())
        if angle is None:
            return turns
        action = commands.turn_towards(angle)
        assert action is not None  # the edge of the view is farther off than a turn can resolve
        world.act(action)
    raise AssertionError("it does not end")


def test_looking_around_turns_only_where_the_map_ends(world: BoxWorld, base: MobileBase) -> None:
    world.boxes = [*TWO_ROOMS, (3.95, 1.0, 4.05, 2.0, 2.5)]  # one closed room
    world.x, world.y = 2.0, 2.0
    mapper = OccupancyMapper(base)
    full_turn = round(2 * math.pi / base.turn_step_rad)
    assert 0 < survey(world, mapper) < full_turn
    assert survey(world, mapper) == 0
    assert full_turn // 2 < survey(world, mapper, everywhere=True) < full_turn


def test_poses_to_explore_are_turns_on_the_spot_and_then_the_other_room(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    explorer = Explorer(base, mapper)
    for _ in range(60):
        observation = world.observe()
        mapper.update(observation)
        pose = explorer.next_pose(observation)
        assert pose is not None
        explorer.set_out()
        if math.hypot(*(pose.translation - observation.T_map_base.translation)[:2]) > 0.0:
            break
        assert abs(math.remainder(pose.yaw - world.yaw, 2 * math.pi)) <= base.turn_step_rad + 1e-9
        world.yaw = pose.yaw
    assert math.hypot(pose.translation[0] - 4.0, pose.translation[1] - 1.5) < 1.5  # the door


def commands_of(world: BoxWorld, controller: MobileController, goal: Goal) -> int:
    """How many commands a goal takes before the planner looks again, besides those that level the camera."""
    skill, taken = controller.skill(goal), 0
    for _ in range(200):
        observation = world.observe()
        controller.update(observation)
        result = skill.step(observation)
        if isinstance(result, Outcome):
            return taken
        taken += result not in (BaseAction.LOOK_UP, BaseAction.LOOK_DOWN)
        world.act(result)
    raise AssertionError("no outcome within 200 steps")


def test_exploring_after_driving_to_the_same_target_again_leads_away_from_it(world: BoxWorld, base: MobileBase) -> None:
    controller = MobileController(base)
    controller.update(world.observe())
    here = Pose.planar(world.x, world.y, 0.0)
    chair, other = (NavigateTo(here, np.array([x, 3.0, 0.5])) for x in (3.0, 2.0))
    counts = []
    for goal in (chair, chair, ExploreFrontier(), ExploreFrontier(), other, ExploreFrontier()):
        counts.append(commands_of(world, controller, goal))
    assert counts[2:] == [4 * EXPLORE_ACTIONS, EXPLORE_ACTIONS, counts[4], EXPLORE_ACTIONS]


def view_towards(x: float, y: float, bearing_rad: float) -> ExploreView:
    turned = Pose.from_rpy(0.0, 0.0, bearing_rad, (x, y, EYE_M))
    return ExploreView(turned @ Pose(OPTICAL, np.zeros(3)), math.radians(35))


def test_a_view_of_the_door_is_explored_through_the_door(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    explorer = Explorer(base, mapper)
    look_around(world, mapper)
    door = view_towards(1.0, 3.0, math.atan2(1.5 - 3.0, 4.0 - 1.0))
    for _ in range(10):
        run(world, mapper, ExploreSkill(explorer, CameraLevel(base), actions=4, view=door))
        if world.x > 4.0:
            break
    assert world.x > 4.0


def test_a_view_of_a_wall_has_nothing_to_explore(world: BoxWorld, base: MobileBase) -> None:
    mapper = OccupancyMapper(base)
    look_around(world, mapper)
    wall = view_towards(1.0, 3.0, math.pi)
    outcome, steps = run(world, mapper, ExploreSkill(Explorer(base, mapper), CameraLevel(base), actions=4, view=wall))
    assert (outcome.code, steps) == (Code.SKILL_FAILED, 0)
    assert outcome.message == "that view shows no unexplored place"


@pytest.mark.parametrize("degrees", [-90, 30, 180, -180])
def test_turning_turns_by_the_angle(world: BoxWorld, base: MobileBase, degrees: int) -> None:
    outcome, steps = run(world, OccupancyMapper(base), RotateSkill(Rotate(math.radians(degrees)), base))
    assert outcome.succeeded
    assert steps == abs(degrees) // 15
    assert world.yaw == pytest.approx(math.radians(degrees))


def test_driving_stops_at_the_distance(world: BoxWorld, base: MobileBase) -> None:
    outcome, _ = run(world, OccupancyMapper(base), DriveSkill(Drive(1.0), base))
    assert outcome.succeeded
    assert world.x == pytest.approx(2.0)


def test_driving_into_a_wall_is_blocked(world: BoxWorld, base: MobileBase) -> None:
    world.x = 3.4
    outcome, _ = run(world, OccupancyMapper(base), DriveSkill(Drive(3.0), base))
    assert outcome.code is Code.BLOCKED


def tilt(world: BoxWorld, base: MobileBase, angle_rad: float) -> tuple[Outcome, int]:
    return run(world, OccupancyMapper(base), TiltSkill(TiltCamera(angle_rad), base))


@pytest.mark.parametrize("degrees", [15, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_looking_tilts_the_camera_by_one_step_of_the_robot(
    world: BoxWorld, base: MobileBase, degrees: int, sign: int
) -> None:
    world.base = dataclasses.replace(base, tilt_step_rad=math.radians(degrees))
    before = world.tilt
    outcome, steps = tilt(world, world.base, sign * math.radians(degrees))
    assert (outcome.succeeded, steps) == (True, 1)
    assert world.tilt - before == pytest.approx(sign * math.radians(degrees))


def test_an_angle_below_half_a_step_still_tilts_by_one_step(world: BoxWorld, base: MobileBase) -> None:
    world.base = dataclasses.replace(base, tilt_step_rad=math.radians(30))
    before = world.tilt
    assert tilt(world, world.base, math.radians(10))[0].succeeded
    assert world.tilt - before == pytest.approx(math.radians(30))


def test_looking_down_ends_at_the_limit_and_is_blocked_there(world: BoxWorld, base: MobileBase) -> None:
    low, _ = base.tilt_range_rad
    world.tilt_range_rad = base.tilt_range_rad
    outcomes = [tilt(world, base, math.radians(-15))[0] for _ in range(5)]  # from -15 degrees; the range ends at -57.3
    assert [outcome.code for outcome in outcomes] == [Code.OK] * 3 + [Code.BLOCKED] * 2
    assert world.tilt == pytest.approx(low)
    assert "lowest" in outcomes[-1].message


def test_a_camera_that_does_not_move_is_blocked(world: BoxWorld, base: MobileBase) -> None:
    world.tilt_range_rad = (world.tilt, world.tilt)  # stuck, though its range says otherwise
    outcome, steps = tilt(world, base, math.radians(15))
    assert (outcome.code, steps) == (Code.BLOCKED, 1)


@pytest.mark.parametrize("change", [{"action_mode": "continuous"}, {"tilt_range_rad": (-0.3, -0.3)}])
def test_a_base_that_cannot_tilt_its_camera_says_so(
    world: BoxWorld, base: MobileBase, change: dict[str, object]
) -> None:
    outcome, steps = tilt(world, dataclasses.replace(base, **change), math.radians(15))  # type: ignore[arg-type]
    assert (outcome.code, steps) == (Code.SKILL_FAILED, 0)
