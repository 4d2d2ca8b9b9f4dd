"""An apartment whose objects are moved by skills: no arm is simulated, and the head camera sees everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.mujoco.renderer import select_renderer
from si_embodied.geometry import Pose

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.habitat.household import CONTAINERS, TRAY_DEPTH_M, TRAY_HEIGHT_M, tray  # noqa: E402
from si_embodied.envs.habitat.rearrange_tasks import HAND  # noqa: E402
from si_embodied.envs.scenes.occupancy import Outlines  # noqa: E402
from si_embodied.robots import FETCH_BASE  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.rearrange_tasks import RearrangeTask, Skill
    from si_embodied.envs.habitat.stage import Stage
    from si_embodied.envs.scenes.apartment import Furniture, Part

REACH_M = 1.0
"""From the centre of the base to the furniture that it handles."""
_STAND_M, _OFF_M = 0.75, 0.6  # where the robot stops: most distance from furniture, best distance from its objects
_SLOT_M, _LOWEST_M, _HIGHEST_M = 0.24, 0.25, 1.15  # between objects; range of reachable heights
_MOST_SPOTS, _LEVEL_M = 6, 0.012
_PALM = ((0.0, 0.0), (0.07, 0.0), (-0.07, 0.0), (0.0, 0.07), (0.0, -0.07))
_HELD_M = (0.55, -0.18, -0.35)  # position of a held object in the head's frame, without its tilt

_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame in a head that looks along x

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """How a skill ended."""

    done: bool
    feedback: str  # for the policy, worded as in EmbodiedBench
    driven_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the robot and the movable objects are now, in the map."""

    pose: tuple[float, float, float]  # the robot's x, y and yaw
    tilt_rad: float  # of its head camera, up positive
    places: Mapping[str, Point | None]  # origins of `RearrangeWorld.movable`, None if out of sight

    def T_map_camera(self, camera_height_m: float) -> Pose:  # noqa: N802  (how the field writes a transform)
        """Pose of the head camera, optical frame."""
        head = Pose.from_rpy(0.0, -self.tilt_rad, 0.0, (0.0, 0.0, camera_height_m))
        return Pose.planar(*self.pose) @ head @ Pose(_AHEAD, np.zeros(3))


def _world_tray(piece: Furniture) -> tuple[Part, ...]:
    return tuple(part.turned(piece.quarter_turns) for part in tray(piece.parts[0].rgb))


def _tray_edge(piece: Furniture) -> Point:
    """Centre of the container's front, at the tray's height."""
    low, high = piece.bounds
    middle, half = (low + high) / 2, (high - low) / 2
    fx, fy = piece.front
    return float(middle[0] + fx * half[0]), float(middle[1] + fy * half[1]), TRAY_HEIGHT_M


def standing_room(stage: Stage, piece: Furniture) -> NDArray[np.bool_]:
    """(rows, columns) of the stage's grid: where the robot can stand to handle a piece, always in the same room."""
    grid, room = stage.grid, stage.apartment.rooms[piece.room]
    outline = Outlines.of(piece.world_parts, below_m=math.inf)
    near: NDArray[np.bool_] = grid.free & np.isfinite(grid.distance_from(outline, _STAND_M))
    inside = [room.contains(float(x), float(y)) for x, y in grid.centres(near)]
    near[near] = inside
    return near


def free_spots(stage: Stage, piece: Furniture) -> list[Point]:
    """Map positions where objects can stand on a piece, spread over it, the nearest to its middle first.

    Found by rays from above: level over the width of a palm, and at a reachable height. A container's are on its tray.
    """
    if piece.category in CONTAINERS:
        (x, y, z), (fx, fy) = _tray_edge(piece), piece.front
        out = TRAY_DEPTH_M / 2
        return [(x + fx * out - fy * s, y + fy * out + fx * s, z) for s in (-0.11, 0.11)]
    data = mujoco.MjData(stage.model)
    mujoco.mj_kinematics(stage.model, data)
    own = {stage.model.geom(name).id for name, owner in stage.scene.owner.items() if owner == piece.name}
    low, high = piece.bounds
    found: list[Point] = []
    xs, ys = np.arange(low[0] + 0.08, high[0] - 0.07, 0.05), np.arange(low[1] + 0.08, high[1] - 0.07, 0.05)
    for x, y in sorted(((float(x), float(y)) for x in xs for y in ys), key=lambda p: math.dist(p, piece.centre)):
        heights = [_height(stage.model, data, x + dx, y + dy, own) for dx, dy in _PALM]
        z = heights[0]
        level = _LOWEST_M <= z <= _HIGHEST_M and all(abs(height - z) < _LEVEL_M for height in heights)
        if level and all(math.dist((x, y), spot[:2]) >= _SLOT_M for spot in found):
            found.append((x, y, z))
        if len(found) == _MOST_SPOTS:
            break
    return found


def _height(model: mujoco.MjModel, data: mujoco.MjData, x: float, y: float, own: set[int]) -> float:
    """Height of the first geom that a ray from above hits, NaN if it is not one of `own`."""
    geom = np.zeros(1, np.int32)
    start, down = np.array([x, y, 2.4]), np.array([0.0, 0.0, -1.0])
    distance = mujoco.mj_ray(model, data, start, down, None, True, -1, geom, None)
    return 2.4 - distance if int(geom[0]) in own else math.nan


@dataclass
class RearrangeWorld:
    """The state of an episode, and what the skills do to it."""

    stage: Stage
    task: RearrangeTask
    camera: CameraSetup
    start: tuple[float, float, float]  # x, y, yaw in the map
    spots: dict[str, list[Point]]  # per place
    where: dict[str, str] = field(init=False)  # object -> furniture, or HAND
    pose: tuple[float, float, float] = field(init=False)  # as `start`
    tilt_rad: float = field(init=False)  # of the head camera, up positive
    opened: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Put everything in its initial place."""
        self.pose, self.tilt_rad = self.start, self.camera.tilt_rad
        self.where = dict(self.task.start)
        self._spot: dict[str, Point] = {}
        for name, place in sorted(self.where.items()):
            self._spot[name] = self._next_spot(place)
        piece = self.stage.apartment.piece
        self._containers = [place for place in self.task.places if piece(place).category in CONTAINERS]

    def _next_spot(self, place: str) -> Point:
        """The first free spot of a place; the task and `_place` ensure that there is one."""
        taken = set(self._spot.values())
        return next(spot for spot in self.spots[place] if spot not in taken)

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def held(self) -> str | None:
        """The object in the gripper."""
        return next((name for name, place in self.where.items() if place == HAND), None)

    def near(self, place: str) -> bool:
        """Whether the robot is within reach of a piece of furniture, and in its room: no wall is between them."""
        piece = self.stage.apartment.piece(place)
        outline = Outlines.of(piece.world_parts, below_m=math.inf)
        room = self.stage.apartment.rooms[piece.room]
        return room.contains(*self.pose[:2]) and outline.distance(*self.pose[:2]) <= REACH_M

    def shut(self, place: str) -> bool:
        """Whether a place is a container that is closed."""
        return place in self._containers and place not in self.opened

    # --- skills -----------------------------------------------------------------------------------------------------

    def do(self, skill: Skill) -> Result:
        """Execute a skill; if that is impossible now, change nothing and say why."""
        match skill.verb:
            case "navigate":
                return self._navigate(skill.target)
            case "pick":
                return self._pick(skill.target)
            case "place":
                return self._place(skill.target)
            case "open" | "close":
                return self._handle(skill.target, skill.verb)

    def _navigate(self, place: str) -> Result:
        x, y, _ = self.pose
        grid, piece = self.stage.grid, self.stage.apartment.piece(place)
        here = np.zeros(grid.free.shape, bool)
        start = grid.nearest_free(x, y, math.inf)
        assert start is not None  # every apartment has free floor
        here[start] = True
        distance_m = grid.geodesic(here).distance_m
        ends = np.argwhere(standing_room(self.stage, piece) & np.isfinite(distance_m))
        if not len(ends):
            return Result(False, f"no path to the {self.task.places[place]}")
        middle = np.mean(self.spots[place], axis=0)
        points = np.array([grid.point(int(row), int(column)) for row, column in ends])
        off = np.hypot(*(points - middle[:2]).T)
        best = int(np.argmin(np.abs(off - _OFF_M) + 0.2 * distance_m[ends[:, 0], ends[:, 1]]))
        ex, ey = float(points[best][0]), float(points[best][1])
        driven = float(distance_m[ends[best][0], ends[best][1]])
        self.pose = ex, ey, math.atan2(float(middle[1]) - ey, float(middle[0]) - ex)
        down = math.atan2(float(middle[2]) - self.camera.height_m, max(float(off[best]), 0.1))
        self.tilt_rad = min(max(down, FETCH_BASE.tilt_range_rad[0]), FETCH_BASE.tilt_range_rad[1])
        return Result(True, f"you are at the {self.task.places[place]}", driven)

    def _pick(self, item: str) -> Result:
        words = item.replace("_", " ")
        if self.held is not None:
            return Result(False, f"cannot pick up the {words}: you hold the {self.held.replace('_', ' ')}")
        if not self.near(self.where[item]):
            return Result(False, f"cannot pick up the {words}: it is not near")
        if self.shut(self.where[item]):
            return Result(False, f"cannot pick up the {words}: it is not seen")
        self.where[item] = HAND
        self._spot.pop(item)
        return Result(True, f"you hold the {words}")

    def _place(self, place: str) -> Result:
        words, item = self.task.places[place], self.held
        if item is None:
            return Result(False, f"cannot place at the {words}: you hold nothing")
        if not self.near(place):
            return Result(False, f"cannot place at the {words}: it is not near")
        if self.shut(place):
            return Result(False, f"cannot place at the {words}: it is closed")
        if len(set(self.spots[place]) - set(self._spot.values())) == 0:
            return Result(False, f"cannot place at the {words}: there is no room")
        self.where[item], self._spot[item] = place, self._next_spot(place)
        return Result(True, f"the {item.replace('_', ' ')} is at the {words}")

    def _handle(self, place: str, verb: str) -> Result:
        words = self.task.places[place]
        if self.held is not None:
            return Result(False, f"cannot {verb} the {words}: you hold the {self.held.replace('_', ' ')}")
        if not self.near(place):
            return Result(False, f"cannot {verb} the {words}: it is not near")
        if (place in self.opened) == (verb == "open"):
            return Result(False, f"cannot {verb} the {words}: it is {'open' if verb == 'open' else 'closed'} already")
        (self.opened.add if verb == "open" else self.opened.remove)(place)
        return Result(True, f"the {words} is {'open' if verb == 'open' else 'closed'}")

    # --- layout -----------------------------------------------------------------------------------------------------

    @property
    def T_map_base(self) -> Pose:  # noqa: N802  (how the field writes a transform)
        """Pose of the robot."""
        return Pose.planar(*self.pose)

    @property
    def movable(self) -> dict[str, tuple[Part, ...]]:
        """Parts, about their own origins, of what moves in the apartment: objects and the trays of containers."""
        trays = {f"tray_{place}": _world_tray(self.stage.apartment.piece(place)) for place in self._containers}
        return {item.name: item.parts for item in self.task.items} | trays

    def layout(self) -> Layout:
        """Where the robot and all of `movable` are now."""
        places: dict[str, Point | None] = {}
        for place in self._containers:
            edge = _tray_edge(self.stage.apartment.piece(place))
            places[f"tray_{place}"] = edge if place in self.opened else None
        x, y, z = self.T_map_base.apply(np.add(_HELD_M, (0.0, 0.0, self.camera.height_m))).tolist()
        for name, place in self.where.items():
            places[name] = (x, y, z) if place == HAND else None if self.shut(place) else self._spot[name]
        return Layout(self.pose, self.tilt_rad, places)
