"""What the robot of a rearrangement sees: a `RearrangeView` is a simulator that renders a world's layout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from si_embodied.envs.mujoco.renderer import SceneRenderer, select_renderer
from si_embodied.envs.scenes.mjcf import CAMERA, ROBOT, apartment_mjcf

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.mujoco.camera import camera_frame  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.rearrange_world import Layout, Point, RearrangeWorld
    from si_embodied.types import CameraFrame

AWAY_M = -10.0
"""Height, below every floor, of bodies that must not be visible."""


class RearrangeView(Protocol):
    """A simulator that renders; call `show` before the other methods."""

    def show(self, world: RearrangeWorld) -> None:
        """Load a world: its apartment and its movable objects."""

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an object or a piece of furniture."""

    def close(self) -> None:
        """Free the renderer; `show` opens a new one."""


def make_view(simulator: str, camera: CameraSetup, image_size: int) -> RearrangeView:
    """The view of a simulator, given its name.

    Raises:
        ConfigError: habitat-sim is requested but not installed in this Python.
    """
    if simulator == "habitat-sim":
        from si_embodied.envs.habitat.lab import load_real

        return cast("RearrangeView", load_real("real_rearrange").HabitatSimView(camera, image_size))
    return MujocoView(camera, image_size)


class MujocoView:
    """Rendered by MuJoCo, in which every movable object is a mocap body."""

    def __init__(self, camera: CameraSetup, image_size: int) -> None:
        """Prepare to draw square pictures of `image_size` pixels."""
        self._camera, self._size = camera, image_size
        self._renderer: SceneRenderer | None = None

    def show(self, world: RearrangeWorld) -> None:
        """Compile the apartment with its objects."""
        self.close()
        scene = apartment_mjcf(
            world.stage.apartment,
            camera_height_m=self._camera.height_m,
            fov_y_rad=self._camera.fov_y_rad,
            movable=world.movable,
        )
        self._owner = scene.owner
        self._model = mujoco.MjModel.from_xml_string(scene.xml)
        self._data = mujoco.MjData(self._model)
        self._renderer = SceneRenderer(self._model, self._size, self._size)

    @property
    def _drawing(self) -> SceneRenderer:
        if self._renderer is None:
            raise RuntimeError("no world is loaded; reset the environment first")
        return self._renderer

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""
        self._arrange(layout)
        return camera_frame(self._drawing, self._data, CAMERA, stamp_s)

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an object or a piece of furniture."""
        self._arrange(layout)
        geoms = [self._model.geom(geom).id for geom, owner in self._owner.items() if owner == name]
        return np.isin(self._drawing.segmentation(self._data, CAMERA), geoms)

    def _arrange(self, layout: Layout) -> None:
        """Move MuJoCo's bodies to where the objects and the robot are."""
        x, y, yaw = layout.pose
        self._put(ROBOT, (x, y, 0.0), yaw)
        half = -layout.tilt_rad / 2
        self._model.body_quat[self._model.body(CAMERA).id] = math.cos(half), 0.0, math.sin(half), 0.0
        for name, place in layout.places.items():
            self._put(name, (0.0, 0.0, AWAY_M) if place is None else place)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def _put(self, body: str, position: Point, yaw: float = 0.0) -> None:
        index = int(self._model.body(body).mocapid[0])
        self._data.mocap_pos[index] = position
        self._data.mocap_quat[index] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
