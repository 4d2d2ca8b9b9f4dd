"""A tabletop scene with Fetch as a MuJoCo model, and the state read from its physics."""

from __future__ import annotations

import itertools
import logging
import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from si_embodied.envs.mujoco.fetch import CartesianController, fetch_spec
from si_embodied.envs.scenes import tabletop as t
from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_log = logging.getLogger(__name__)

HEAD_TILT_RAD = 0.98
_HEAD_FOV_DEG, _SIDE_FOV_DEG, _WRIST_FOV_DEG = 76.0, 40.0, 70.0
_SIDE_FROM_M, _SIDE_TO_M = (1.42, 0.50, 1.42), (0.55, 0.0, 0.72)
_OBJECT_DENSITY = 600.0  # of wood, kg/m^3
_OBJECT_FRICTION = (1.0, 0.02, 0.0005)
_BALL_FRICTION = (1.0, 0.02, 0.003)  # lets it roll, and come to rest
_WOOD, _TABLE, _FLOOR = (0.72, 0.53, 0.33, 1.0), (0.86, 0.82, 0.75, 1.0), (0.45, 0.47, 0.50, 1.0)
_BOWL_SEGMENTS = 16
_SETTLE_S = 0.3
REST_S = 0.1
_STILL_M, _STILL_RAD = 0.001, math.radians(2)
_FINGERS = ("robot0:l_gripper_finger_link", "robot0:r_gripper_finger_link")


def tabletop_model(scene: t.TabletopScene) -> mujoco.MjModel:
    """The robot at its table; bodies are named `object:NAME` and `container:KEY`."""
    spec = fetch_spec()
    # The wrist camera needs depth close to the lens; the far plane still includes the floor.
    spec.stat.extent, spec.stat.center = 2.0, [0.6, 0.0, 0.6]
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 10.0
    spec.visual.headlight.ambient = [0.36] * 3
    spec.visual.headlight.diffuse = [0.36] * 3
    spec.visual.headlight.specular = [0.05] * 3
    _add_room(spec)
    _add_cameras(spec)
    for container in scene.containers:
        body = spec.worldbody.add_body(
            name=f"container:{container.key}", pos=[container.x_m, container.y_m, t.TABLE_TOP_M]
        )
        rgba = (*t.COLOURS[container.colour], 1.0) if container.colour in t.COLOURS else _WOOD
        {"bowl": _add_bowl, "bin": _add_bin, "shape sorter": _add_sorter}[container.kind](spec, body, rgba)
    for item in scene.objects:
        _add_object(spec, item)
    return spec.compile()


def _add_room(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.1], rgba=_FLOOR)
    half = (t.TABLE_SIZE_M[0] / 2, t.TABLE_SIZE_M[1] / 2)
    x, y = t.TABLE_CENTRE_M
    world.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=[x, y, t.TABLE_TOP_M - 0.02], size=[*half, 0.02], rgba=_TABLE,
        friction=[1.0, 0.02, 0.0005],
    )  # fmt: skip
    for k, (side_x, side_y) in enumerate(itertools.product((-1, 1), repeat=2)):
        leg = (t.TABLE_TOP_M - 0.04) / 2
        world.add_geom(
            name=f"leg{k}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.02, leg], rgba=_WOOD,
            pos=[x + side_x * (half[0] - 0.03), y + side_y * (half[1] - 0.03), leg],
        )  # fmt: skip
    for position, strength in (((-0.3, 1.2, 2.5), 0.36), ((1.5, -0.8, 2.2), 0.20)):
        aim = np.array([0.6, 0.0, 0.7]) - np.array(position)
        world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False, pos=position, dir=aim / np.linalg.norm(aim),
            diffuse=[strength] * 3, specular=[0.1] * 3,
        )  # fmt: skip


def _look(forward: ArrayLike, up: ArrayLike) -> list[float]:
    """MuJoCo's quaternion (w, x, y, z) of a camera that looks along `forward`: its -z axis, with y up."""
    z = -np.asarray(forward, dtype=np.float64)
    z /= np.linalg.norm(z)
    x = np.cross(np.asarray(up, dtype=np.float64), z)
    x /= np.linalg.norm(x)
    qx, qy, qz, qw = Pose(np.column_stack([x, np.cross(z, x), z]), np.zeros(3)).quaternion()
    return [qw, qx, qy, qz]


def _add_cameras(spec: mujoco.MjSpec) -> None:
    spec.body("robot0:head_camera_rgb_frame").add_camera(
        name="head", fovy=_HEAD_FOV_DEG, quat=_look([1, 0, 0], [0, 0, 1])
    )
    aim = np.subtract(_SIDE_TO_M, _SIDE_FROM_M)
    spec.worldbody.add_camera(name="side", fovy=_SIDE_FOV_DEG, pos=_SIDE_FROM_M, quat=_look(aim, [0, 0, 1]))
    # On the back of the gripper, looking along its x past the fingertips to where they close.
    spec.body("robot0:gripper_link").add_camera(
        name="wrist", fovy=_WRIST_FOV_DEG, pos=[-0.06, 0.0, 0.10], quat=_look([1.0, 0.0, -0.42], [0, 0, -1])
    )


def _prism(spec: mujoco.MjSpec, name: str, corners: Sequence[tuple[float, float]], height: float) -> str:
    """A mesh that extrudes a convex outline upwards from z = 0."""
    vertices = [(x, y, z) for z in (0.0, height) for x, y in corners]
    return _hull(spec, name, vertices)


def _hull(spec: mujoco.MjSpec, name: str, vertices: Sequence[tuple[float, float, float]]) -> str:
    if all(mesh.name != name for mesh in spec.meshes):
        spec.add_mesh(name=name, uservert=np.asarray(vertices, dtype=np.float64).ravel().tolist())
    return name


def _add_bowl(spec: mujoco.MjSpec, body: mujoco.MjsBody, rgba: tuple[float, ...]) -> None:
    half = math.pi / _BOWL_SEGMENTS
    spread = 1 / math.cos(half)

    def ring(radius: float, z: float) -> list[tuple[float, float, float]]:
        return [(radius * spread * math.cos(a), radius * spread * math.sin(a), z) for a in (-half, half)]

    segment = _hull(
        spec, "bowl_segment",
        ring(t.BOWL_BOTTOM_RADIUS_M, 0.0) + ring(t.BOWL_BOTTOM_RADIUS_M - t.WALL_M, 0.0)
        + ring(t.BOWL_RIM_RADIUS_M, t.BOWL_HEIGHT_M) + ring(t.BOWL_RIM_RADIUS_M - t.WALL_M, t.BOWL_HEIGHT_M),
    )  # fmt: skip
    for k in range(_BOWL_SEGMENTS):
        angle = 2 * half * k
        shade = 0.92 + 0.08 * math.cos(angle - 1.0)  # the flat lighting alone would show no relief
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=segment, rgba=[*(shade * c for c in rgba[:3]), 1.0],
            quat=[math.cos(angle / 2), 0, 0, math.sin(angle / 2)],
        )  # fmt: skip
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[t.BOWL_BOTTOM_RADIUS_M, t.FLOOR_M / 2, 0],
        pos=[0, 0, t.FLOOR_M / 2], rgba=[*(0.75 * c for c in rgba[:3]), 1.0],
    )  # fmt: skip


def _add_bin(_: mujoco.MjSpec, body: mujoco.MjsBody, rgba: tuple[float, ...]) -> None:
    half_x, half_y = t.BIN_HALF_M
    wall, tall = t.WALL_M / 2, t.BIN_HEIGHT_M / 2

    def box(position: tuple[float, float, float], size: tuple[float, float, float], shade: float) -> None:
        colour = [*(shade * c for c in rgba[:3]), 1.0]
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=position, size=size, rgba=colour)

    box((0, 0, t.FLOOR_M / 2), (half_x, half_y, t.FLOOR_M / 2), 0.65)
    for sign in (-1, 1):
        box((sign * (half_x - wall), 0, tall), (wall, half_y, tall), 1.0)
        box((0, sign * (half_y - wall), tall), (half_x, wall, tall), 0.85)


def _add_sorter(spec: mujoco.MjSpec, body: mujoco.MjsBody, rgba: tuple[float, ...]) -> None:
    """A board of one convex mesh per side of each hole: the part of the board beyond that side, seen from the hole."""
    half_x, half_y = t.SORTER_DEPTH_M / 2, t.SORTER_PITCH_M / 2
    board = [(half_x, -half_y), (half_x, half_y), (-half_x, half_y), (-half_x, -half_y)]

    def edge(corner: tuple[float, float]) -> tuple[float, float]:
        scale = min(half_x / max(abs(corner[0]), 1e-9), half_y / max(abs(corner[1]), 1e-9))
        return corner[0] * scale, corner[1] * scale

    for hole in t.SORTER_HOLES:
        for k, (first, second) in enumerate(zip(hole.outline_m, hole.outline_m[1:] + hole.outline_m[:1], strict=True)):
            low = math.atan2(first[1], first[0])
            span = (math.atan2(second[1], second[0]) - low) % (2 * math.pi)
            between = [c for c in board if 1e-9 < (math.atan2(c[1], c[0]) - low) % (2 * math.pi) < span - 1e-9]
            corners = [first, edge(first), *between, edge(second), second]
            mesh = _prism(spec, f"sorter_{hole.name}_{k}", corners, t.SORTER_HEIGHT_M)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh, pos=[0, hole.offset_y_m, 0], rgba=rgba)
        body.add_geom(  # paint that shows the hole, without collisions
            type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.055, 0.036, 0.0002], pos=[0, hole.offset_y_m, 0.0002],
            rgba=[0.16, 0.12, 0.09, 1.0], contype=0, conaffinity=0,
        )  # fmt: skip


def _add_object(spec: mujoco.MjSpec, item: t.TableObject) -> None:
    half = t.BALL_RADIUS_M if item.shape == "ball" else item.height_m / 2
    body = spec.worldbody.add_body(
        name=f"object:{item.name}", pos=[item.x_m, item.y_m, t.TABLE_TOP_M + half + 0.0005],
        quat=[math.cos(item.yaw_rad / 2), 0, 0, math.sin(item.yaw_rad / 2)],
    )  # fmt: skip
    body.add_freejoint()
    look = {
        "rgba": [*t.COLOURS[item.colour], 1.0], "density": _OBJECT_DENSITY, "condim": 4,
        "friction": list(_OBJECT_FRICTION),
    }  # fmt: skip
    geom = mujoco.mjtGeom
    if item.shape == "ball":
        look |= {"condim": 6, "friction": list(_BALL_FRICTION)}
        body.add_geom(type=geom.mjGEOM_SPHERE, size=[t.BALL_RADIUS_M, 0, 0], **look)
    elif item.shape == "cylinder":
        body.add_geom(type=geom.mjGEOM_CYLINDER, size=[t.CYLINDER_RADIUS_M, half, 0], **look)
    elif item.shape in ("cube", "long block"):
        x, y = t.outline(item.shape)[1]
        body.add_geom(type=geom.mjGEOM_BOX, size=[x, y, half], **look)
    elif item.shape == "cross":
        length, width = (side / 2 for side in t.CROSS_SIZE_M)
        body.add_geom(type=geom.mjGEOM_BOX, size=[length, width, half], **look)
        body.add_geom(type=geom.mjGEOM_BOX, size=[width, length, half], **look)
    elif item.shape == "hexagonal prism":  # three boxes from side to side, which rest better than a mesh
        flat = t.HEXAGON_RADIUS_M * math.sqrt(3) / 2
        for angle in (math.pi / 6, math.pi / 2, 5 * math.pi / 6):
            turn = [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]
            body.add_geom(type=geom.mjGEOM_BOX, size=[flat, t.HEXAGON_RADIUS_M / 2, half], quat=turn, **look)
    else:
        name = f"{item.shape} {item.height_m}"
        mesh = _prism(spec, name, t.outline(item.shape), item.height_m)
        body.add_geom(type=geom.mjGEOM_MESH, meshname=mesh, pos=[0, 0, -half], **look)


class TabletopWorld:
    """One scene's physics: the arm and the exact state of the objects. Privileged."""

    def __init__(self, scene: t.TabletopScene) -> None:
        """Build the scene and let it come to rest."""
        if mujoco.get_mju_user_warning() is None:  # otherwise MuJoCo writes MUJOCO_LOG.TXT to the working directory
            mujoco.set_mju_user_warning(_log.warning)
        self.scene = scene
        self.model = tabletop_model(scene)
        self.data = mujoco.MjData(self.model)
        self.controller = CartesianController(self.model, self.data)
        self.controller.reset(0.0, HEAD_TILT_RAD)
        self._bodies = {item.name: self.model.body(f"object:{item.name}").id for item in scene.objects}
        self._corners = {item.name: t.corners(item.shape, item.height_m) for item in scene.objects}
        self._still: set[str] = set()
        self._fingers = [self.model.body(name).id for name in _FINGERS]
        self.rest(_SETTLE_S)

    @property
    def T_map_base(self) -> Pose:  # noqa: N802  (a transform, as the field writes it)
        """Pose of the robot's base_link."""
        body = self.data.body("robot0:base_link")
        return Pose(body.xmat.reshape(3, 3).copy(), body.xpos.copy())

    @property
    def shoulder_m(self) -> tuple[float, float, float]:
        """The origin of the arm's reach, (x, y, z) in the map: the shoulder's lift axis."""
        x, y, z = self.data.body("robot0:shoulder_pan_link").xpos
        return float(x), float(y), float(z)

    def pose(self, name: str) -> Pose:
        """Pose of an object's own frame in the map."""
        body = self._bodies[name]
        return Pose(self.data.xmat[body].reshape(3, 3).copy(), self.data.xpos[body].copy())

    def place_object(self, name: str, pose: Pose) -> None:
        """Put an object at rest at a pose; for tests and for setting up a scene."""
        joint = self.model.body(self._bodies[name]).jntadr[0]
        q, v = self.model.jnt_qposadr[joint], self.model.jnt_dofadr[joint]
        x, y, z, w = pose.quaternion()
        self.data.qpos[q : q + 7] = [*pose.translation, w, x, y, z]
        self.data.qvel[v : v + 6] = 0.0
        self._still.discard(name)
        mujoco.mj_forward(self.model, self.data)

    def corners(self, name: str) -> NDArray[np.float64]:
        """An object's corner points (n, 3) in the map; a ball's do not rotate with it."""
        pose = self.pose(name)
        if self.scene.object(name).shape == "ball":
            pose = Pose(np.eye(3), pose.translation)
        return pose.apply(self._corners[name])

    def rest(self, duration_s: float = REST_S) -> None:
        """Step the physics with the arm held still, and record which objects do not move meanwhile."""
        before = {name: self.pose(name) for name in self._bodies}
        mujoco.mj_step(self.model, self.data, nstep=round(duration_s / self.model.opt.timestep))
        self._still = {name for name, pose in before.items() if _same(pose, self.pose(name))}

    def is_still(self, name: str) -> bool:
        """Whether an object moved less than 1 mm and turned less than 2 degrees during the last `rest`.

        Measured by displacement, not speed, because the solver lets resting meshes jitter in place.
        """
        return name in self._still

    def touching(self, name: str) -> set[int]:
        """Ids of the bodies in contact with an object; 0 is the table."""
        body, contacts = self._bodies[name], self.data.contact
        if self.data.ncon == 0:
            return set()
        pairs = self.model.geom_bodyid[contacts.geom[contacts.efc_address >= 0]]
        return {int(b if a == body else a) for a, b in pairs if body in (a, b)}

    def fingers_on(self, name: str) -> int:
        """How many fingers touch an object: 0 is released, 2 is held."""
        return len(self.touching(name).intersection(self._fingers))

    def stands_on(self, upper: str, lower: str) -> bool:
        """Whether the upper object touches the lower one and its centre is above the lower one's top."""
        touches = self._bodies[lower] in self.touching(upper)
        return touches and bool(self.pose(upper).translation[2] > self.corners(lower)[:, 2].max() - 0.005)

    def geoms_of(self, name: str) -> NDArray[np.intp]:
        """Geom ids of an object, as they appear in a segmentation."""
        return np.flatnonzero(self.model.geom_bodyid == self._bodies[name])


def _same(before: Pose, after: Pose) -> bool:
    cosine = (float(np.trace(before.rotation.T @ after.rotation)) - 1) / 2
    moved = float(np.linalg.norm(after.translation - before.translation))
    return moved < _STILL_M and math.acos(min(max(cosine, -1.0), 1.0)) < _STILL_RAD
