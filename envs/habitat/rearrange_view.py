"""What the robot of a rearrangement sees: a `RearrangeView` is a simulator that renders a world's layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from si_embodied.envs.mujoco.renderer import SceneRenderer, select_renderer
from si_embodied.envs.scenes.mjcf import CAMERA, ROBOT, MujocoScene, apartment_mjcf

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.mujoco.camera import camera_frame, head_quaternion, yaw_quaternion  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.rearrange_world import Layout, RearrangeWorld
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


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A compiled world."""

    scene: MujocoScene
    model: mujoco.MjModel
    data: mujoco.MjData
    renderer: SceneRenderer


class MujocoView:
    """Rendered by MuJoCo, in which every movable object is a mocap body."""

    def __init__(self, camera: CameraSetup, image_size: int) -> None:
        """Prepare to render square images of `image_size` pixels; nothing opens before `show`."""
        self._camera, self._size = camera, image_size
        self._loaded: _Loaded | None = None

    def show(self, world: RearrangeWorld) -> None:
        """Compile the apartment with its objects."""
        self.close()
        scene = apartment_mjcf(
            world.stage.apartment,
            camera_height_m=self._camera.height_m,
            fov_y_rad=self._camera.fov_y_rad,
            movable=world.movable,
        )
        model = mujoco.MjModel.from_xml_string(scene.xml)
        self._loaded = _Loaded(scene, model, mujoco.MjData(model), SceneRenderer(model, self._size, self._size))

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""
        loaded = self._arranged(layout)
        return camera_frame(loaded.renderer, loaded.data, CAMERA, stamp_s)

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an object or a piece of furniture."""
        loaded = self._arranged(layout)
        geoms = [loaded.model.geom(geom).id for geom, owner in loaded.scene.owner.items() if owner == name]
        return np.isin(loaded.renderer.segmentation(loaded.data, CAMERA), geoms)

    def _arranged(self, layout: Layout) -> _Loaded:
        """The loaded world, with MuJoCo's bodies where the objects and the robot are."""
        if self._loaded is None:
            raise RuntimeError("no world is loaded; reset the environment first")
        model, data = self._loaded.model, self._loaded.data
        x, y, yaw = layout.pose
        places = {name: (0.0, 0.0, AWAY_M) if place is None else place for name, place in layout.places.items()}
        for body, position in {**places, ROBOT: (x, y, 0.0)}.items():
            data.mocap_pos[int(model.body(body).mocapid[0])] = position
        data.mocap_quat[int(model.body(ROBOT).mocapid[0])] = yaw_quaternion(yaw)
        model.body_quat[model.body(CAMERA).id] = head_quaternion(0.0, layout.tilt_rad)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        return self._loaded

    def close(self) -> None:
        """Free the renderer."""
        if self._loaded is not None:
            self._loaded.renderer.close()
            self._loaded = None
