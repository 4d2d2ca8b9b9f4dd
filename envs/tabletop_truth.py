"""The tabletop's ground truth: whether a task's conditions hold, its next step, and the pixels that show it.

Privileged: only the success measure, the oracle and the perfect-pixels planner may use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

from si_embodied.envs.scenes import tabletop as t
from si_embodied.envs.scenes.tabletop_tasks import (
    BESIDE_DISTANCE_M,
    DIRECTIONS,
    Beside,
    Condition,
    InHole,
    Inside,
    OnTop,
)
from si_embodied.geometry import deproject, depth_at, project
from si_embodied.ground_truth import ManipulationStep, Pixel, Pointed
from si_embodied.grounding import narrowest_rectangle, pixel_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.mujoco.tabletop import TabletopWorld
    from si_embodied.types import CameraFrame

RIM_TOLERANCE_M = 0.02  # of an object's middle above the rim of a container that it lies in
STACK_OFFSET_M = 0.022  # of the upper object's middle from the lower's: about half a side
STACK_GAP_M = 0.006
HOLE_OFFSET_M = 0.020
ON_TABLE_M = 0.004  # height of the lowest point; less than the thickness of the sorter's board
BESIDE_M = (0.055, 0.24)  # along the direction, middle to middle
BESIDE_SLOPE = 1.0  # at most as far sideways as along: a quadrant about the direction
GRASP_DEPTH_M = 0.025  # of the tool centre point below the top

_MIN_PIXELS = 12
_MIN_VISIBLE_SHARE = 0.55  # of an object's silhouette; less does not show its outline
_DEPTH_TOLERANCE_M = 0.015


def holds(condition: Condition, world: TabletopWorld) -> bool:
    """Whether a condition's object is in place, released and at rest."""
    name = condition.object
    if world.fingers_on(name) or not world.is_still(name):
        return False
    if not _in_place(condition, world.pose(name).translation, world):
        return False
    low = float(world.corners(name)[:, 2].min())
    if isinstance(condition, OnTop):
        top = float(world.corners(condition.support)[:, 2].max())
        return abs(low - top) < STACK_GAP_M and world.stands_on(name, condition.support)
    return isinstance(condition, Inside) or low < t.TABLE_TOP_M + ON_TABLE_M


def _in_place(condition: Condition, point: NDArray[np.float64], world: TabletopWorld) -> bool:
    """Whether a map point (3,) is where the condition's object belongs, seen from above; inside, its height counts."""
    if isinstance(condition, Inside):
        return _inside(point, world.scene.container(condition.container))
    if isinstance(condition, InHole):
        hole = hole_centre(world.scene.container(condition.container), condition.hole)
        return math.hypot(*(point[:2] - hole[:2])) < HOLE_OFFSET_M
    if isinstance(condition, OnTop):
        return math.hypot(*(point[:2] - world.pose(condition.support).translation[:2])) < STACK_OFFSET_M
    offset = point[:2] - world.pose(condition.anchor).translation[:2]
    direction = np.array(DIRECTIONS[condition.direction])
    along, across = float(offset @ direction), abs(float(offset @ direction[::-1]))
    return BESIDE_M[0] <= along <= BESIDE_M[1] and across <= BESIDE_SLOPE * along


def _inside(point: NDArray[np.float64], container: t.Container) -> bool:
    x, y = abs(point[0] - container.x_m), abs(point[1] - container.y_m)
    if container.kind == "bowl":
        within, rim = math.hypot(x, y) < t.BOWL_RIM_RADIUS_M - t.WALL_M, t.BOWL_HEIGHT_M
    else:
        within = x < t.BIN_HALF_M[0] - t.WALL_M and y < t.BIN_HALF_M[1] - t.WALL_M
        rim = t.BIN_HEIGHT_M
    return bool(within and t.TABLE_TOP_M < point[2] < t.TABLE_TOP_M + rim + RIM_TOLERANCE_M)


def hole_centre(sorter: t.Container, hole: int) -> NDArray[np.float64]:
    """The centre (3,) of a hole's bottom, which is the table; map."""
    return np.array([sorter.x_m, sorter.y_m + t.SORTER_HOLES[hole].offset_y_m, t.TABLE_TOP_M])


def _wanted(missing: Sequence[Condition], name: str) -> Condition | None:
    """The condition that placing an object fulfils now; an upper object of a tower waits for the lower ones."""
    if missing[0].object == name:
        return missing[0]
    return next((c for c in missing if c.object == name and not isinstance(c, OnTop)), None)


class TabletopGroundTruth:
    """The privileged view of one episode."""

    def __init__(
        self,
        world: TabletopWorld,
        conditions: Sequence[Condition],
        frames: Callable[[], Sequence[CameraFrame]],
        segmentation: Callable[[str], NDArray[np.int32]],
    ) -> None:
        """Watch one world.

        Args:
            world: the physics.
            conditions: of the task, in the order in which to achieve them.
            frames: returns the frames of the last observation.
            segmentation: returns the geom ids (H, W) that a camera sees at the same instant.
        """
        self._world, self._conditions = world, tuple(conditions)
        self._frames, self._segmentation = frames, segmentation

    def progress(self) -> float:
        """The fraction of the task's conditions that hold."""
        return sum(holds(condition, self._world) for condition in self._conditions) / len(self._conditions)

    def next_step(self) -> ManipulationStep | None:
        """The next step of the task, None when every condition holds."""
        missing = self._missing()
        if not missing:
            return None
        held = self._held()
        if held is not None:
            return self.place_step(_wanted(missing, held), held)
        target = missing[0].object
        for other in self._world.scene.objects:
            if other.name != target and self._world.stands_on(other.name, target):
                target = other.name
        if isinstance(missing[0], OnTop):
            for other in self._world.scene.objects:
                if other.name != target and self._world.stands_on(other.name, missing[0].support):
                    target = other.name  # another object occupies the place
        return self.pick_step(target)

    def next_move(self) -> tuple[ManipulationStep | None, ManipulationStep, bool] | None:
        """The task's next pick and place, and whether they complete the task; None when every condition holds.

        The pick is None when the object is already in the gripper.
        """
        step = self.next_step()
        if step is None:
            return None
        missing = self._missing()
        if step.kind == "place":
            return None, step, len(missing) == 1 and step.object_name != "table"
        place = self.place_step(_wanted(missing, step.object_name), step.object_name)
        return step, place, len(missing) == 1 and missing[0].object == step.object_name

    def pixel_of(self, step: ManipulationStep) -> Pixel | None:
        """(view, u, v) of a pixel of the last observation that shows a step's target; None if no view shows it."""
        candidates = enumerate(self._frames())
        if step.kind == "place":
            return next((hit for hit in (self._place_pixel(k, frame, step) for k, frame in candidates) if hit), None)
        return next((hit for hit in (self._pick_pixel(k, frame, step) for k, frame in candidates) if hit), None)

    def shows_target(self, view: int, point: tuple[int, int]) -> bool:
        """Whether a point (0..1000) of a view of the last observation is right for the next step.

        It has to lie on the object to pick or, for a place, where the held object belongs.
        """
        step, frame = self.next_step(), self._frames()[view]
        u, v = pixel_of(point, frame.intrinsics.width, frame.intrinsics.height)
        if step is None or frame.depth_m is None:
            return False
        if step.kind == "pick":
            return bool(
                np.isin(self._segmentation(frame.name)[round(v), round(u)], self._world.geoms_of(step.object_name))
            )
        held = self._held()
        condition = None if held is None else _wanted(self._missing(), held)
        seen = deproject(frame.intrinsics, (u, v), depth_at(frame.depth_m, u, v).depth_m)
        return condition is not None and _in_place(condition, frame.T_map_camera.apply(seen), self._world)

    def target_in_view(self) -> bool | None:
        """Whether a view shows what the next step is about; None when the task is done."""
        step = self.next_step()
        return None if step is None else self.pixel_of(step) is not None

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """What lies at a point (0..1000) of a view of the last observation; None when the task is done.

        A pick of any object that is not in place yet points at a target: their order is the planner's choice.
        """
        if self.next_step() is None:
            return None
        if self.shows_target(view, point):
            return "target"
        frame = self._frames()[view]
        u, v = pixel_of(point, frame.intrinsics.width, frame.intrinsics.height)
        geom = int(self._segmentation(frame.name)[round(v), round(u)])
        hit = next((o.name for o in self._world.scene.objects if geom in self._world.geoms_of(o.name)), None)
        if hit is None:
            return "nothing"
        return "target" if self._held() is None and hit in {c.object for c in self._missing()} else "other"

    def floor_plan(self) -> None:
        """None: the arm does not drive."""

    # --- steps -----------------------------------------------------------------------------------------------------

    def _missing(self) -> list[Condition]:
        """The conditions that do not hold, in order."""
        return [condition for condition in self._conditions if not holds(condition, self._world)]

    def _held(self) -> str | None:
        names = [item.name for item in self._world.scene.objects]
        return next((name for name in names if self._world.fingers_on(name) == 2), None)

    def pick_step(self, name: str) -> ManipulationStep:
        """How to pick up an object at its current pose."""
        corners = self._world.corners(name)
        low, top = float(corners[:, 2].min()), float(corners[:, 2].max())
        upper = corners[corners[:, 2] > (low + top) / 2 - 0.002]
        centre, yaw, width, _ = narrowest_rectangle(upper[:, :2])
        height = max(top - GRASP_DEPTH_M - low, 0.012)
        return ManipulationStep("pick", name, np.array([*centre, low + height]), yaw, width, height)

    def place_step(self, condition: Condition | None, held: str) -> ManipulationStep:
        """Where to put an object, held already or not, to fulfil a condition; without one, anywhere on the table."""
        if condition is None:
            words, point = "table", self._free_spot(held)
        elif isinstance(condition, Inside):
            container = self._world.scene.container(condition.container)
            words, point = container.name, self._spot_inside(container, held)
        elif isinstance(condition, InHole):
            words = t.SORTER_HOLES[condition.hole].name
            point = hole_centre(self._world.scene.container(condition.container), condition.hole)
        elif isinstance(condition, OnTop):
            words = condition.support
            corners = self._world.corners(words)
            point = np.array([*self._world.pose(words).translation[:2], corners[:, 2].max()])
        else:
            words, point = "table", self._spot_beside(condition, held)
        return ManipulationStep("place", words, point, 0.0, 0.0, 0.0)

    def _others(self, held: str) -> NDArray[np.float64]:
        """Centres (n, 2) of the objects that are not in the gripper."""
        points = [self._world.pose(o.name).translation[:2] for o in self._world.scene.objects if o.name != held]
        return np.array(points).reshape(-1, 2)

    def _spot_inside(self, container: t.Container, held: str) -> NDArray[np.float64]:
        """The middle if it is free, or else the spot farthest from the objects there."""
        middle = np.array([container.x_m, container.y_m])
        shared = sum(isinstance(c, Inside) and c.container == container.key for c in self._conditions) > 1
        # Spread along x only: the fingers open along y and need the full width there. The far spot comes first and the
        # second lies near the middle, because the head camera cannot see the floor behind an object or the near wall.
        aside = 0.026 if container.kind == "bowl" else 0.045
        offsets = [(aside, 0.0), (-0.015, 0.0)] if shared else [(0.0, 0.0), (aside, 0.0), (-aside, 0.0)]
        others = self._others(held)

        def room(offset: tuple[float, float]) -> float:
            nearest = float(np.min(np.linalg.norm(others - middle - offset, axis=1), initial=math.inf))
            return min(nearest, 0.075)  # more room is no better

        best = max(offsets, key=room)  # the first of equally good ones
        return np.array([*(middle + best), t.TABLE_TOP_M + t.FLOOR_M])

    def _spot_beside(self, condition: Beside, held: str) -> NDArray[np.float64]:
        anchor = self._world.pose(condition.anchor).translation[:2]
        direction = np.array(DIRECTIONS[condition.direction])
        spots = [
            anchor + direction * along + direction[::-1] * across
            for along in (BESIDE_DISTANCE_M, 0.14, 0.10, 0.17)
            for across in (0.0, 0.04, -0.04)
        ]
        others = self._others(held)

        def room(spot: NDArray[np.float64]) -> float:
            nearest = float(np.min(np.linalg.norm(others - spot, axis=1), initial=math.inf))
            return min(nearest, 0.10) if t.within_reach(*spot) else -1.0

        return np.array([*max(spots, key=room), t.TABLE_TOP_M])

    def _free_spot(self, held: str) -> NDArray[np.float64]:
        (low_x, low_y), (high_x, high_y) = t.AREA_M
        taken = np.concatenate(
            [self._others(held)] + [np.array([[c.x_m, c.y_m]]) for c in self._world.scene.containers]
        )
        grid = [(x, y) for x in np.linspace(low_x, high_x, 8) for y in np.linspace(low_y, high_y, 14)]
        spots = np.array([spot for spot in grid if t.within_reach(*spot)])
        distance = np.linalg.norm(spots[:, None] - taken[None], axis=-1).min(axis=1)
        return np.array([*spots[int(np.argmax(distance))], t.TABLE_TOP_M])

    # --- pixels ----------------------------------------------------------------------------------------------------

    def _place_pixel(self, view: int, frame: CameraFrame, step: ManipulationStep) -> Pixel | None:
        point = frame.T_map_camera.inverse().apply(step.position_m)
        u, v = (float(value) for value in project(frame.intrinsics, point))
        if not self._in_image(frame, u, v) or frame.depth_m is None:
            return None
        seen = depth_at(frame.depth_m, u, v)
        visible = seen.spread_m < 2 * _DEPTH_TOLERANCE_M and abs(seen.depth_m - point[2]) < _DEPTH_TOLERANCE_M
        return (view, u, v) if visible else None

    def _pick_pixel(self, view: int, frame: CameraFrame, step: ManipulationStep) -> Pixel | None:
        mask = np.isin(self._segmentation(frame.name), self._world.geoms_of(step.object_name))
        corners = self._world.corners(step.object_name)
        outline = project(frame.intrinsics, frame.T_map_camera.inverse().apply(corners))
        if not np.isfinite(outline).all():
            return None
        silhouette = ConvexHull(outline).volume  # of a planar hull: its area
        if mask.sum() < max(_MIN_PIXELS, _MIN_VISIBLE_SHARE * silhouette * (0.6 if "cross" in step.object_name else 1)):
            return None
        top = np.array([*step.position_m[:2], corners[:, 2].max()])
        aim = project(frame.intrinsics, frame.T_map_camera.inverse().apply(top))
        rows, columns = np.nonzero(mask)
        nearest = int(np.argmin((columns - aim[0]) ** 2 + (rows - aim[1]) ** 2))
        return view, float(columns[nearest]), float(rows[nearest])

    @staticmethod
    def _in_image(frame: CameraFrame, u: float, v: float) -> bool:
        margin = 3
        return (
            margin <= u < frame.intrinsics.width - margin and margin <= v < frame.intrinsics.height - margin
        )  # NaN is not
