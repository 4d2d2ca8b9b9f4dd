"""The rendered image: the robot's view beside the apartment from above, with the robot and its path drawn in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from si_embodied.envs.mujoco.renderer import SceneRenderer
from si_embodied.envs.scenes.mjcf import OVERHEAD_GROUP
from si_embodied.errors import extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.envs.scenes.apartment import Apartment

_MARGIN = 1.12  # for the walls, which lean outwards in the perspective view


class OverheadView:
    """The apartment from above, rendered once: only the robot moves."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, apartment: Apartment, size_px: int) -> None:
        """Render the apartment into a square of `size_px`."""
        x0, y0, x1, y1 = apartment.bounds
        self._centre = (x0 + x1) / 2, (y0 + y1) / 2
        half_fov = math.radians(float(model.vis.global_.fovy)) / 2
        camera = mujoco.MjvCamera()
        camera.type, camera.azimuth, camera.elevation = mujoco.mjtCamera.mjCAMERA_FREE, 90.0, -90.0
        camera.lookat[:] = (*self._centre, 0.0)
        camera.distance = 2.5 + max(x1 - x0, y1 - y0) * _MARGIN / 2 / math.tan(half_fov)
        self._scale = size_px / 2 / math.tan(half_fov) / camera.distance  # pixels per metre, on the floor
        self._size = size_px
        renderer = SceneRenderer(model, size_px, size_px, hidden_groups=(OVERHEAD_GROUP,))
        try:
            self._background = renderer.rgb(data, camera)
        finally:
            renderer.close()

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """The image position (u, v) of a map point on the floor."""
        u = self._size / 2 + (x - self._centre[0]) * self._scale
        return u, self._size / 2 - (y - self._centre[1]) * self._scale

    def draw(
        self,
        pose: tuple[float, float, float],
        path: Sequence[tuple[float, float]],
        goal: tuple[float, float],
        radius_m: float,
    ) -> NDArray[np.uint8]:
        """The apartment with the robot, the path it took, and a ring around the goal."""
        with extra("sim"):
            from PIL import Image, ImageDraw
        image = Image.fromarray(self._background)
        draw = ImageDraw.Draw(image)
        gu, gv = self.pixel(*goal)
        ring = max(6.0, 0.45 * self._scale)
        draw.ellipse((gu - ring, gv - ring, gu + ring, gv + ring), outline=(230, 30, 160), width=3)
        if len(path) > 1:
            draw.line([self.pixel(*p) for p in path], fill=(20, 120, 255), width=3, joint="curve")
        u, v = self.pixel(pose[0], pose[1])
        r = radius_m * self._scale
        draw.ellipse((u - r, v - r, u + r, v + r), fill=(20, 120, 255), outline=(255, 255, 255), width=2)
        tip = (u + 1.6 * r * math.cos(pose[2]), v - 1.6 * r * math.sin(pose[2]))
        draw.line([(u, v), tip], fill=(255, 255, 255), width=3)
        return np.asarray(image)


def side_by_side(view: NDArray[np.uint8], overhead: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Both images side by side, at the overhead image's height."""
    from PIL import Image

    height = overhead.shape[0]
    width = round(view.shape[1] * height / view.shape[0])
    scaled = np.asarray(Image.fromarray(view).resize((width, height), Image.Resampling.BICUBIC))
    return np.concatenate([scaled, overhead], axis=1)
