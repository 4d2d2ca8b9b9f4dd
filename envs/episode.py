"""A navigation episode as a value: apartment, task, start pose, and the path lengths that it is measured by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from scipy.ndimage import binary_dilation

from si_embodied.envs.scenes.apartment import Apartment, Furniture
from si_embodied.envs.scenes.generator import PATH_CLEARANCE_M, generate_apartment, solid_outlines
from si_embodied.envs.scenes.mjcf import MujocoScene, apartment_mjcf
from si_embodied.envs.scenes.occupancy import GeodesicField, Grid, Outlines
from si_embodied.envs.scenes.tasks import NavigationTask, task_candidates
from si_embodied.errors import SceneError
from si_embodied.robots import CAMERA_FOV_Y_DEG, CAMERA_HEIGHT_M, CAMERA_TILT_RAD, FETCH_BASE

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUCCESS_DISTANCE_M = FETCH_BASE.success_distance_m
MIN_START_DISTANCE_M = 2.0
_GOAL_DISTANCE_M = SUCCESS_DISTANCE_M - 0.05  # of the goal region from the goal: a cell less
_SCENES_TRIED = 50


@dataclass(frozen=True, slots=True)
class CameraSetup:
    """The head camera: its mount and its field of view."""

    height_m: float = CAMERA_HEIGHT_M
    pan_rad: float = 0.0  # left positive
    tilt_rad: float = CAMERA_TILT_RAD  # up positive; at the start of an episode
    fov_y_rad: float = math.radians(CAMERA_FOV_Y_DEG)


@dataclass(frozen=True, eq=False)
class Episode:
    """Everything that an episode is made of; a function of its seed."""

    apartment: Apartment
    task: NavigationTask
    start: tuple[float, float, float]  # x, y in metres and yaw in radians, map
    scene: MujocoScene
    model: mujoco.MjModel
    obstacles: Outlines
    grid: Grid
    targets: tuple[Outlines, ...]  # outline of each leg's goal
    regions: tuple[NDArray[np.bool_], ...]  # per leg: cells to stop at
    fields: tuple[GeodesicField, ...]  # per leg: distance through its region and the later ones

    @property
    def geodesic_m(self) -> float:
        """Shortest driving distance from the start through all goal regions, metres."""
        return self.fields[0].at(self.start[0], self.start[1])

    def goal(self, leg: int) -> Furniture:
        """The furniture at the end of a leg."""
        return self.apartment.piece(self.task.goals[leg])


def goal_region(
    grid: Grid, model: mujoco.MjModel, data: mujoco.MjData, scene: MujocoScene, goal: Furniture, camera: CameraSetup
) -> NDArray[np.bool_]:
    """Free cells within the success distance of the goal's surface from which the camera could see part of it.

    Args:
        grid: where the robot may be.
        model: the compiled scene.
        data: with the fixed bodies' positions computed.
        scene: which geoms belong to the goal.
        goal: the furniture to stop at.
        camera: its height, and how far down it can see.
    """
    near = grid.distance_from(Outlines.of(goal.world_parts, below_m=math.inf), _GOAL_DISTANCE_M)
    candidates = np.isfinite(near) & grid.free
    region = np.zeros(grid.free.shape, bool)
    # Rays are cast from every other row and column, and stand for the neighbours: 0.05 m changes little of the view.
    tried = np.argwhere(candidates[::2, ::2]) * 2
    own = {model.geom(name).id for name, piece in scene.owner.items() if piece == goal.name}
    points = np.array([p.centre for p in goal.world_parts])
    count = len(points)
    ids, distances = np.full(count, -1, np.int32), np.zeros(count)
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    lowest = math.tan(min(1.5, camera.fov_y_rad / 2 - camera.tilt_rad - 0.12))
    for row, column in tried:
        x, y = grid.point(int(row), int(column))
        eye = np.array([x, y, camera.height_m])
        rays = points - eye
        mujoco.mj_multiRay(model, data, eye, rays.ravel(), groups, True, -1, ids, distances, None, count, 1e3)
        in_view = -rays[:, 2] < lowest * np.hypot(rays[:, 0], rays[:, 1])
        seen = np.array([int(i) in own for i in ids]) & in_view
        region[row, column] = seen.mean() >= 0.3
    return np.asarray(binary_dilation(region, np.ones((3, 3), bool)) & candidates)


def _legs(
    grid: Grid, model: mujoco.MjModel, scene: MujocoScene, goals: tuple[Furniture, ...], camera: CameraSetup
) -> tuple[tuple[NDArray[np.bool_], ...], tuple[GeodesicField, ...]] | None:
    """Regions and distance fields of all legs; None if one goal cannot be seen from anywhere."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    regions: list[NDArray[np.bool_]] = []
    fields: list[GeodesicField] = []
    for goal in reversed(goals):
        region = goal_region(grid, model, data, scene, goal, camera)
        if not region.any():
            return None
        regions.insert(0, region)
        fields.insert(0, grid.geodesic(region, fields[0].distance_m if fields else None))
    return tuple(regions), tuple(fields)


def draw_start(rng: np.random.Generator, grid: Grid, field: GeodesicField) -> tuple[float, float, float] | None:
    """A start pose clear of obstacles and at least 2 m of driving from the goal; None if there is none."""
    far = np.isfinite(field.distance_m) & (field.distance_m >= MIN_START_DISTANCE_M + 0.1) & grid.free
    far &= grid.clearance_m >= FETCH_BASE.radius_m + 0.1
    cells = np.argwhere(far)
    if not len(cells):
        return None
    x, y = grid.point(*(int(i) for i in cells[int(rng.integers(len(cells)))]))
    return x, y, float(rng.uniform(-math.pi, math.pi))


def build_episode(
    apartment: Apartment,
    task: NavigationTask,
    camera: CameraSetup,
    rng: np.random.Generator,
    start: tuple[float, float, float] | None = None,
) -> Episode | None:
    """An episode of a task in an apartment, from a pose or a random start; None if a goal is seen from nowhere."""
    obstacles = solid_outlines(apartment)
    grid = Grid.of(apartment, obstacles, PATH_CLEARANCE_M)
    scene = apartment_mjcf(apartment, camera_height_m=camera.height_m, fov_y_rad=camera.fov_y_rad)
    model = mujoco.MjModel.from_xml_string(scene.xml)
    goals = tuple(apartment.piece(name) for name in task.goals)
    legs = _legs(grid, model, scene, goals, camera)
    if legs is None:
        return None
    regions, fields = legs
    start = start or draw_start(rng, grid, fields[0])
    if start is None:
        return None
    targets = tuple(Outlines.of(goal.world_parts, below_m=math.inf) for goal in goals)
    return Episode(apartment, task, start, scene, model, obstacles, grid, targets, regions, fields)


def draw_episode(seed: int, task: str, camera: CameraSetup, room_count: int | None = None) -> Episode:
    """The episode of a seed: draws apartments from the seed until one offers such a task.

    Raises:
        UnknownNameError: unknown task.
        SceneError: no apartment offers the task; the generator should never let this happen.
    """
    for attempt in range(_SCENES_TRIED):
        apartment = generate_apartment((seed, attempt), room_count)
        rng = np.random.default_rng((seed, attempt, 1))
        for candidate in task_candidates(apartment, task, rng)[:3]:
            episode = build_episode(apartment, candidate, camera, rng)
            if episode is not None:
                return episode
    raise SceneError(f"no {task} task in {_SCENES_TRIED} apartments of seed {seed}; try another seed or more rooms")
