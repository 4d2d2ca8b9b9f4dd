"""A scanned or modelled building as a place: MuJoCo renders its surfaces, and the robot slides along them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.mujoco.selection import select_renderer
from si_embodied.envs.own.cloud import find_floor, floor_of
from si_embodied.envs.own.driving import FreePlace
from si_embodied.envs.own.mesh import Surface, UpAxis, read_building

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.apartment_view import ApartmentView  # noqa: E402
from si_embodied.envs.scenes.generator import PATH_CLEARANCE_M  # noqa: E402
from si_embodied.envs.scenes.mjcf import CAMERA, ROBOT, MujocoScene  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.own.cloud import Floor
    from si_embodied.types import CameraFrame

_START_CLEARANCE_M = 0.1  # beyond the base's radius
_STARTS = 2000  # at most so many cells are offered

# Only the light of the camera, from all sides: a scan's colours have its light in them.
_XML = f"""
<mujoco model="scan">
  <statistic extent="10" center="{{x}} {{y}} 1"/>
  <visual>
    <map znear="0.004" zfar="4"/>
    <headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/>
  </visual>
  <asset><texture type="skybox" builtin="flat" rgb1=".8 .85 .9" rgb2=".8 .85 .9" width="32" height="192"/></asset>
  <worldbody>
    <body name="{ROBOT}" mocap="true">
      <body name="{CAMERA}" pos="0 0 {{height}}">
        <camera name="{CAMERA}" fovy="{{fov}}" xyaxes="0 -1 0 0 0 1"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


class ScanPlace(FreePlace):
    """A building of one storey."""

    def __init__(
        self,
        path: Path,
        embodiment: MobileBase,
        camera: CameraSetup,
        image_size: int,
        *,
        up: UpAxis | None = None,
        scale: float = 1.0,
        floor_m: float | None = None,
        renderer: str | None = None,
    ) -> None:
        """Read a building; see `read_surfaces`.

        Args:
            path: the file.
            embodiment: the robot, driven by discrete steps.
            camera: the robot's.
            image_size: height and width of the images, pixels.
            up: the file's vertical axis.
            scale: metres per unit of the file.
            floor_m: height of the floor to drive on; None for the lowest large one.
            renderer: as in `select_renderer`.

        Raises:
            SceneError: the file cannot be used.
        """
        self.shape = (image_size, image_size)
        surfaces, cloud = read_building(path, up=up, scale=scale)
        floor_m = find_floor(cloud, str(path)) if floor_m is None else floor_m
        surfaces = [replace(each, vertices=each.vertices - np.array([0, 0, floor_m], np.float32)) for each in surfaces]
        self.cloud = cloud.raised(-floor_m)
        floor = floor_of(self.cloud, embodiment.height_m, PATH_CLEARANCE_M, what=str(path))
        starts = _starts(floor, embodiment.radius_m + _START_CLEARANCE_M)
        super().__init__(embodiment, floor, starts, camera.tilt_rad)
        self._camera, self._renderer = camera, renderer
        self.model = scan_model(surfaces, camera)
        self._open: ApartmentView | None = None

    @property
    def _view(self) -> ApartmentView:
        if self._open is None:
            scene = MujocoScene("", {})
            self._open = ApartmentView(scene, self.model, self._camera, self.shape[0], self._renderer)
        return self._open

    def frame(self, stamp_s: float) -> CameraFrame:
        """What the robot's camera sees."""
        self._view.place(self.pose, self.tilt)
        return self._view.frame(stamp_s)

    def close(self) -> None:
        """Free the renderer; the place can be used again."""
        if self._open is not None:
            self._open.close()
            self._open = None


def scan_model(surfaces: list[Surface], camera: CameraSetup) -> mujoco.MjModel:
    """The surfaces as a MuJoCo model, with a camera on a mocap body as in `apartment_mjcf`."""
    corners = np.concatenate([surface.vertices for surface in surfaces])
    x, y = (float(value) for value in (corners.min(axis=0) + corners.max(axis=0))[:2] / 2)
    fov = math.degrees(camera.fov_y_rad)
    spec = mujoco.MjSpec.from_string(_XML.format(x=x, y=y, height=camera.height_m, fov=fov))
    for index, surface in enumerate(surfaces):
        name = f"surface_{index}"
        height, width = surface.texture.shape[:2]
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
        texture.height, texture.width, texture.data = height, width, surface.texture.tobytes()
        material = spec.add_material(name=name, specular=0.0, shininess=0.0)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        spec.add_mesh(
            name=name,
            uservert=surface.vertices.ravel(),
            userface=surface.faces.ravel(),
            usertexcoord=np.column_stack([surface.uv[:, 0], 1 - surface.uv[:, 1]]).ravel(),  # from the top row
            userfacetexcoord=surface.uv_faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        spec.worldbody.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=name, contype=0, conaffinity=0
        )
    return spec.compile()


def _starts(floor: Floor, clearance_m: float) -> NDArray[np.float64]:
    """Poses (N, 3) on free floor, with headings that look random but are always the same."""
    grid = floor.grid
    clear = grid.free & (grid.clearance_m >= clearance_m)
    points = grid.centres(clear if clear.any() else grid.free)
    points = points[:: math.ceil(len(points) / _STARTS)]
    yaw = np.random.default_rng(0).uniform(-math.pi, math.pi, len(points))
    return np.column_stack([points, yaw])
