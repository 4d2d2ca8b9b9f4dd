"""Rendering without OpenGL: one ray per pixel, shaded with numpy. Slow, but it works wherever MuJoCo does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SKY = np.array([175, 195, 215], np.uint8)
_DRAWN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # the groups that MuJoCo renders by default


def _geom_colours(model: mujoco.MjModel) -> NDArray[np.float32]:
    """Colours (ngeom, 3) in 0..1: a material's colour times the mean of its texture, or the geom's own."""
    colours: NDArray[np.float32] = model.geom_rgba[:, :3].astype(np.float32)
    for geom in range(model.ngeom):
        material = model.geom_matid[geom]
        if material < 0:
            continue
        colours[geom] = model.mat_rgba[material, :3]
        texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
        if texture >= 0:
            size = int(model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture])
            start = int(model.tex_adr[texture])
            pixels = model.tex_data[start : start + size].reshape(-1, int(model.tex_nchannel[texture]))
            colours[geom] *= pixels[:, :3].mean(axis=0) / 255
    return colours


class RayPipeline:
    """Casts one ray through the centre of each pixel."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int, hidden_groups: tuple[int, ...] = ()) -> None:
        """Prepare to render `model`."""
        self._model, self._shape = model, (height, width)
        self._groups = _DRAWN_GROUPS.copy()
        self._groups[list(hidden_groups)] = 0
        self._colours = _geom_colours(model)
        self._ids = np.full(height * width, -1, np.int32)
        self._distances = np.zeros(height * width)
        self._normals = np.zeros(3 * height * width)

    def _view(
        self, data: mujoco.MjData, camera: int | mujoco.MjvCamera
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Position (3,), rotation (3, 3) with columns right, up, backward, and vertical field of view in radians."""
        if isinstance(camera, int):
            fov = math.radians(float(self._model.cam_fovy[camera]))
            return data.cam_xpos[camera].copy(), data.cam_xmat[camera].reshape(3, 3).copy(), fov
        azimuth, elevation = math.radians(camera.azimuth), math.radians(camera.elevation)
        forward = np.array(
            [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
        )
        right = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
        rotation = np.stack([right, np.cross(right, forward), -forward], axis=1)
        fov = math.radians(float(self._model.vis.global_.fovy))
        return np.asarray(camera.lookat) - forward * camera.distance, rotation, fov

    def _cast(
        self, data: mujoco.MjData, camera: int | mujoco.MjvCamera
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Cast rays; returns directions (H*W, 3), of unit length along the optical axis, that axis, and the origin."""
        position, rotation, fov = self._view(data, camera)
        height, width = self._shape
        focal = height / 2 / math.tan(fov / 2)
        v, u = np.indices(self._shape, dtype=np.float64)
        local = np.stack([(u - (width - 1) / 2) / focal, ((height - 1) / 2 - v) / focal, -np.ones_like(u)], axis=-1)
        directions = np.ascontiguousarray(local.reshape(-1, 3) @ rotation.T)
        mujoco.mj_multiRay(
            self._model,
            data,
            position,
            directions.ravel(),
            self._groups,
            True,
            -1,
            self._ids,
            self._distances,
            self._normals,
            directions.shape[0],
            1e6,
        )
        return directions, -rotation[:, 2], position

    def draw(
        self, data: mujoco.MjData, camera: int | mujoco.MjvCamera, *, depth: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Colour in the model's own light, as OpenGL renders it but without highlights, and depth."""
        directions, axis, position = self._cast(data, camera)
        hit = self._ids >= 0
        light = self._light(data, axis, position + directions * self._distances[:, None])
        shaded = np.clip(self._colours[self._ids] * light * 255, 0, 255).astype(np.uint8)
        rgb = np.where(hit[:, None], shaded, _SKY).reshape(*self._shape, 3)
        if not depth:
            return rgb, None
        # Directions have unit length along the axis, so the ray's parameter is the depth.
        depth_m = np.where(hit, self._distances, np.inf).astype(np.float32)
        return rgb, depth_m.reshape(self._shape)

    def _light(
        self, data: mujoco.MjData, axis: NDArray[np.float64], points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The light (H*W, 3) at the points (H*W, 3) that the rays hit, as a factor on colours.

        MuJoCo's headlight is directional, along the optical axis. Lights that are not directional are assumed to shine
        from their position in all directions, without attenuation.
        """
        model, normals = self._model, self._normals.reshape(-1, 3)
        headlight = model.vis.headlight
        light = np.zeros_like(normals)
        if headlight.active:
            light += headlight.ambient + np.outer(np.maximum(normals @ -axis, 0), headlight.diffuse)
        for number in np.flatnonzero(model.light_active):
            towards = np.broadcast_to(-data.light_xdir[number], points.shape)
            if model.light_type[number] != mujoco.mjtLightType.mjLIGHT_DIRECTIONAL:
                towards = data.light_xpos[number] - points
                towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            falls = np.maximum((normals * towards).sum(axis=1), 0)
            light += model.light_ambient[number] + np.outer(falls, model.light_diffuse[number])
        return light

    def segment(self, data: mujoco.MjData, camera: int | mujoco.MjvCamera) -> NDArray[np.int32]:
        """The first geom (H, W) that each ray hits, -1 for none."""
        self._cast(data, camera)
        return self._ids.reshape(self._shape).copy()

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
