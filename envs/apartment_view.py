"""What an episode's apartment looks like: from the robot's head camera, and from above."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from si_embodied.envs.mujoco.camera import camera_frame, head_quaternion, yaw_quaternion
from si_embodied.envs.mujoco.renderer import SceneRenderer
from si_embodied.envs.overhead import OverheadView
from si_embodied.envs.scenes.mjcf import CAMERA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup, Episode
    from si_embodied.types import CameraFrame

_OVERHEAD_PX = 448


class ApartmentView:
    """Renders one episode. Use it from one thread, and close it."""

    def __init__(self, episode: Episode, camera: CameraSetup, image_size: int, renderer: str | None) -> None:
        """Open a renderer on the episode's model.

        Args:
            episode: the apartment, compiled.
            camera: the head camera.
            image_size: height and width of the images, pixels.
            renderer: as in `select_renderer`.
        """
        self._episode, self._camera = episode, camera
        self._data = mujoco.MjData(episode.model)
        self._renderer = SceneRenderer(episode.model, image_size, image_size, renderer=renderer)
        self._names = sorted(set(episode.scene.owner.values()))
        self._furniture = np.full(episode.model.ngeom + 1, -1, np.int32)  # the last entry is for pixels without a geom
        for geom, name in episode.scene.owner.items():
            self._furniture[episode.model.geom(geom).id] = self._names.index(name)

    def place(self, pose: tuple[float, float, float], tilt_rad: float) -> None:
        """Move the head camera to where the robot is.

        Args:
            pose: the robot's x, y in metres and yaw in radians, map.
            tilt_rad: of the camera, up positive.
        """
        x, y, yaw = pose
        data, model = self._data, self._episode.model
        data.mocap_pos[0] = x, y, 0.0
        data.mocap_quat[0] = yaw_quaternion(yaw)
        model.body_quat[model.body(CAMERA).id] = head_quaternion(self._camera.pan_rad, tilt_rad)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self.__dict__.pop("_segmentation", None)

    def frame(self, stamp_s: float) -> CameraFrame:
        """The head camera's image and depth."""
        return camera_frame(self._renderer, self._data, CAMERA, stamp_s)

    @cached_property
    def _segmentation(self) -> NDArray[np.int32]:
        """Furniture index of every pixel (H, W); rendered on demand, dropped when the robot moves."""
        return self._furniture[self._renderer.segmentation(self._data, CAMERA)]

    def mask(self, furniture: str) -> NDArray[np.bool_]:
        """(H, W), the head camera's pixels that show the named furniture."""
        return np.asarray(self._segmentation == self._names.index(furniture))

    @cached_property
    def overhead(self) -> OverheadView:
        """The apartment from above."""
        return OverheadView(self._episode.model, self._data, self._episode.apartment, _OVERHEAD_PX)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
