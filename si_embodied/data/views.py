"""Labelled views of simulated scenes: which object each pixel shows, and where that object is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from si_embodied.envs.ground_truth import inner_pixel
from si_embodied.envs.mujoco.renderer import SceneRenderer, select_renderer
from si_embodied.errors import SceneError
from si_embodied.geometry import Pose
from si_embodied.types import CameraFrame

select_renderer()  # mujoco reads the choice when it is first imported

import mujoco  # noqa: E402

from si_embodied.envs.episode import CameraSetup  # noqa: E402
from si_embodied.envs.mujoco.camera import camera_frame  # noqa: E402
from si_embodied.envs.mujoco.tabletop import TabletopWorld  # noqa: E402
from si_embodied.envs.scenes import tabletop as t  # noqa: E402
from si_embodied.envs.scenes.generator import PATH_CLEARANCE_M, generate_apartment, solid_outlines  # noqa: E402
from si_embodied.envs.scenes.mjcf import CAMERA, apartment_mjcf  # noqa: E402
from si_embodied.envs.scenes.occupancy import Grid  # noqa: E402
from si_embodied.envs.scenes.tabletop_tasks import TASKS, draw_task  # noqa: E402
from si_embodied.envs.scenes.tasks import has_front, unique_phrases  # noqa: E402
from si_embodied.envs.tabletop_truth import TabletopGroundTruth  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from si_embodied.envs.scenes.apartment import Apartment

HEAD = "head"
TILTS_RAD = (-0.35, -0.35, -0.35, -0.35 + math.radians(15), -0.35 - math.radians(15))
"""Head camera tilts, up positive: mostly that of an episode's start, sometimes one step of `look` up or down."""
CONTAINER_SIZE_M: dict[str, tuple[float, float, float]] = {
    "bowl": (2 * t.BOWL_RIM_RADIUS_M, 2 * t.BOWL_RIM_RADIUS_M, t.BOWL_HEIGHT_M),
    "bin": (2 * t.BIN_HALF_M[0], 2 * t.BIN_HALF_M[1], t.BIN_HEIGHT_M),
    "shape sorter": (t.SORTER_DEPTH_M, 3 * t.SORTER_PITCH_M, t.SORTER_HEIGHT_M),
}


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One object of a scene, whether or not a view shows it."""

    name: str  # noun phrase: "red chair", "green cube"
    category: str
    colour: str
    T_map_object: Pose  # origin at the centre of its bounding box
    size_m: NDArray[np.float64]  # (3,), along its own axes
    front: NDArray[np.float64] | None  # (2,), unit direction in the map that it faces; None if it has no front
    unique: bool  # whether `name` fits nothing else in the scene


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject(SceneObject):
    """One object as a view shows it."""

    id: int  # value in `instances`, the same in every view of the scene
    pixels: int  # how many are visible
    box_px: tuple[int, int, int, int]  # x0, y0, x1, y1 of the visible part, end exclusive
    point_px: tuple[float, float]  # u, v well inside the largest visible part


@dataclass(frozen=True, slots=True, eq=False)
class LabelledView:
    """A posed RGB-D image and the objects in it."""

    frame: CameraFrame
    instances: NDArray[np.int32]  # (H, W), the object's id, -1 = no object
    objects: tuple[SeenObject, ...]  # those with at least one visible pixel
    room: str | None  # the room the camera is in; None on the tabletop


def label_view(
    frame: CameraFrame, instances: NDArray[np.int32], objects: tuple[SceneObject, ...], room: str | None
) -> LabelledView:
    """Find each object in the instance image, whose values are indices into `objects`."""
    seen = []
    for index, where in enumerate(find_objects(instances + 1, max_label=len(objects))):
        if where is None:
            continue
        rows, columns = where
        mask = instances[where] == index
        u, v = inner_pixel(mask)
        one = objects[index]
        seen.append(
            SeenObject(
                id=index, name=one.name, category=one.category, colour=one.colour, pixels=int(mask.sum()),
                box_px=(int(columns.start), int(rows.start), int(columns.stop), int(rows.stop)),
                point_px=(columns.start + u, rows.start + v), T_map_object=one.T_map_object, size_m=one.size_m,
                front=one.front, unique=one.unique,
            )
        )  # fmt: skip
    return LabelledView(frame, instances, tuple(seen), room)


class _Stage:
    """A scene with a renderer, which is closed at the end."""

    objects: tuple[SceneObject, ...]
    data: mujoco.MjData
    _renderer: SceneRenderer
    _owner: NDArray[np.int32]  # (geoms + 1,), index into `objects` by geom; the last entry is for pixels without a geom

    def _shoot(self, camera: str, room: str | None) -> LabelledView:
        frame = camera_frame(self._renderer, self.data, camera, 0.0)
        instances = self._owner[self._renderer.segmentation(self.data, camera)]
        return label_view(frame, instances, self.objects, room)

    def close(self) -> None:
        """Release the renderer's resources."""
        self._renderer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TabletopStage(_Stage):
    """The start of a tabletop episode, objects at rest and arm at home, as `TabletopEnv.reset(seed=...)` shows it."""

    def __init__(self, seed: int, *, task: str = "base", image_size: int = 224) -> None:
        """Build the scene of a seed.

        Raises:
            UnknownNameError: the task does not exist.
            SceneError: no draw gave a scene at rest.
        """
        # These are TabletopEnv's draws, so that a seed gives the same scene everywhere.
        rng = np.random.default_rng([seed, TASKS.index(task) if task in TASKS else 0])
        for _ in range(20):
            self.task = draw_task(task, rng)
            self.world = TabletopWorld(self.task.scene)
            self.truth = TabletopGroundTruth(
                self.world, self.task.conditions, lambda: (self._view.frame,), self._segmentation
            )
            if self.truth.progress() == 0 and all(self.world.is_still(o.name) for o in self.task.scene.objects):
                break
        else:
            raise SceneError(f"no {task!r} scene of seed {seed} came to rest in 20 draws; use another seed")
        model, self.data = self.world.model, self.world.data
        self._renderer = SceneRenderer(model, image_size, image_size)
        scene = self.task.scene
        bodies = [f"object:{o.name}" for o in scene.objects] + [f"container:{c.key}" for c in scene.containers]
        self._owner = np.full(model.ngeom + 1, -1, np.int32)
        for index, body in enumerate(bodies):
            self._owner[:-1][model.geom_bodyid == model.body(body).id] = index
        self.objects = self.describe()

    def describe(self) -> tuple[SceneObject, ...]:
        """All objects, then all containers, at their current poses."""
        scene, objects = self.task.scene, []
        for o in scene.objects:
            corners = t.corners(o.shape, o.height_m)
            size = corners.max(axis=0) - corners.min(axis=0)
            objects.append(SceneObject(o.name, o.shape, o.colour, self.world.pose(o.name), size, None, True))
        names = [c.name for c in scene.containers]
        for c in scene.containers:
            size = np.array(CONTAINER_SIZE_M[c.kind])
            pose = Pose(np.eye(3), np.array([c.x_m, c.y_m, t.TABLE_TOP_M + size[2] / 2]))
            objects.append(SceneObject(c.name, c.kind, c.colour, pose, size, None, names.count(c.name) == 1))
        return tuple(objects)

    def view(self, camera: str = HEAD) -> LabelledView:
        """The current view of one of the robot's cameras."""
        self.objects = self.describe()
        self._view = self._shoot(camera, None)
        return self._view

    def _segmentation(self, camera: str) -> NDArray[np.int32]:
        return self._renderer.segmentation(self.data, camera)


class ApartmentStage(_Stage):
    """The apartment of a seed, viewed from anywhere the robot can stand."""

    def __init__(self, seed: int, *, image_size: int = 224, camera: CameraSetup | None = None) -> None:
        """Build the apartment of a seed: the first one that an episode with this seed tries."""
        self.camera = camera or CameraSetup()
        self.apartment = generate_apartment((seed, 0))
        self.grid = Grid.of(self.apartment, solid_outlines(self.apartment), PATH_CLEARANCE_M)
        scene = apartment_mjcf(self.apartment, camera_height_m=self.camera.height_m, fov_y_rad=self.camera.fov_y_rad)
        self.model = mujoco.MjModel.from_xml_string(scene.xml)
        self.data = mujoco.MjData(self.model)
        self._renderer = SceneRenderer(self.model, image_size, image_size)
        self.objects = furniture_of(self.apartment)
        index = {piece.name: i for i, piece in enumerate(self.apartment.furniture)}
        self._owner = np.full(self.model.ngeom + 1, -1, np.int32)
        for geom, piece in scene.owner.items():
            self._owner[self.model.geom(geom).id] = index[piece]

    def poses(self, rng: np.random.Generator) -> Iterator[tuple[float, float, float, float]]:
        """An endless stream of random poses that the robot can take: x, y (metres), yaw, tilt (radians)."""
        cells = np.argwhere(self.grid.free)
        while True:
            x, y = self.grid.point(*(int(i) for i in cells[int(rng.integers(len(cells)))]))
            tilt = TILTS_RAD[int(rng.integers(len(TILTS_RAD)))]
            yield x, y, float(rng.uniform(-math.pi, math.pi)), tilt

    def view(self, x: float, y: float, yaw: float, tilt: float) -> LabelledView:
        """The head camera's view with the robot at a pose on the map, metres and radians, tilt up positive."""
        model, data = self.model, self.data
        data.mocap_pos[0] = x, y, 0.0
        data.mocap_quat[0] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
        model.body_quat[model.body(CAMERA).id] = math.cos(tilt / 2), 0.0, -math.sin(tilt / 2), 0.0
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        room = self.apartment.room_at(x, y)
        return self._shoot(CAMERA, None if room is None else self.apartment.rooms[room].name)


def furniture_of(apartment: Apartment) -> tuple[SceneObject, ...]:
    """The furniture as scene objects, in the apartment's order."""
    phrases, objects = unique_phrases(apartment), []
    for piece in apartment.furniture:
        low, high = piece.bounds
        yaw = piece.quarter_turns * math.pi / 2
        size = high - low
        if piece.quarter_turns % 2:
            size = size[[1, 0, 2]]
        x, y, z = (low + high) / 2
        front = np.array(piece.front, np.float64) if has_front(piece.category) else None
        pose = Pose.from_rpy(0.0, 0.0, yaw, (x, y, z))
        name, unique = phrases.get(piece.name, piece.phrase), piece.name in phrases
        objects.append(SceneObject(name, piece.category, piece.colour, pose, size, front, unique))
    return tuple(objects)
