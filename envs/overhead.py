"""The rendered image: the robot's view beside the apartment from above, with the robot and its path drawn in."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, eq=False)
class OverheadView:
    """A place from above, drawn once: only the robot moves."""

    background: NDArray[np.uint8]  # (size, size, 3), x to the right, y up
    centre_m: tuple[float, float]  # map xy of its middle
    scale: float  # pixels per metre, on the floor

    @classmethod
    def of(cls, model: mujoco.MjModel, data: mujoco.MjData, apartment: Apartment, size_px: int) -> OverheadView:
        """Render an apartment into a square of `size_px`."""
        x0, y0, x1, y1 = apartment.bounds
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        half_fov = math.radians(float(model.vis.global_.fovy)) / 2
        camera = mujoco.MjvCamera()
        camera.type, camera.azimuth, camera.elevation = mujoco.mjtCamera.mjCAMERA_FREE, 90.0, -90.0
        camera.lookat[:] = (*centre, 0.0)
        camera.distance = 2.5 + max(x1 - x0, y1 - y0) * _MARGIN / 2 / math.tan(half_fov)
        renderer = SceneRenderer(model, size_px, size_px, hidden_groups=(OVERHEAD_GROUP,))
        try:
            return cls(renderer.rgb(data, camera), centre, size_px / 2 / math.tan(half_fov) / camera.distance)
        finally:
            renderer.close()

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """The image position (u, v) of a map point on the floor."""
        half = len(self.background) / 2
        return half + (x - self.centre_m[0]) * self.scale, half - (y - self.centre_m[1]) * self.scale

    def draw(
        self,
        pose: tuple[float, float, float],
        path: Sequence[tuple[float, float]],
        goal: tuple[float, float],
        radius_m: float,
    ) -> NDArray[np.uint8]:
        """The place with the robot, the path it took, and a ring around the goal."""
        with extra("sim"):
            from PIL import Image, ImageDraw
        image = Image.fromarray(self.background)
        draw = ImageDraw.Draw(image)
        gu, gv = self.pixel(*goal)
        ring = max(6.0, 0.45 * self.scale)
        draw.ellipse((gu - ring, gv - ring, gu + ring, gv + ring), outline=(230, 30, 160), width=3)
        if len(path) > 1:
            draw.line([self.pixel(*p) for p in path], fill=(20, 120, 255), width=3, joint="curve")
        u, v = self.pixel(pose[0], pose[1])
        r = radius_m * self.scale
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
