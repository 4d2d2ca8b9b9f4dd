"""What an apartment looks like from the robot's head camera, rendered by MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from si_embodied.envs.mujoco.camera import camera_frame, head_quaternion, yaw_quaternion
from si_embodied.envs.mujoco.renderer import SceneRenderer
from si_embodied.envs.scenes.mjcf import CAMERA, ROBOT, MujocoScene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.scenes.apartment import Vector3
    from si_embodied.types import CameraFrame


class ApartmentView:
    """Renders one scene. Use it from one thread, and close it."""

    def __init__(
        self,
        scene: MujocoScene,
        model: mujoco.MjModel,
        camera: CameraSetup,
        image_size: int,
        renderer: str | None = None,
    ) -> None:
        """Open a renderer.

        Args:
            scene: the apartment.
            model: the compiled scene.
            camera: the head camera.
            image_size: height and width of the images, pixels.
            renderer: as in `select_renderer`.
        """
        self.model, self.data = model, mujoco.MjData(model)
        self._camera = camera
        self._renderer = SceneRenderer(model, image_size, image_size, renderer=renderer)
        self._names = sorted(set(scene.owner.values()))
        self._owner = np.full(model.ngeom + 1, -1, np.int32)  # the last entry is for pixels without a geom
        for geom, name in scene.owner.items():
            self._owner[model.geom(geom).id] = self._names.index(name)

    def place(
        self,
        pose: tuple[float, float, float],
        tilt_rad: float,
        movable: Mapping[str, Vector3] = MappingProxyType({}),
    ) -> None:
        """Move the robot, its head camera and movable bodies.

        Args:
            pose: the robot's x, y in metres and yaw in radians, map.
            tilt_rad: of the camera, up positive.
            movable: positions of the scene's movable bodies, map.
        """
        model, data = self.model, self.data
        for body, position in {**movable, ROBOT: (*pose[:2], 0.0)}.items():
            data.mocap_pos[int(model.body(body).mocapid[0])] = position
        data.mocap_quat[int(model.body(ROBOT).mocapid[0])] = yaw_quaternion(pose[2])
        model.body_quat[model.body(CAMERA).id] = head_quaternion(self._camera.pan_rad, tilt_rad)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self.__dict__.pop("_segmentation", None)

    def frame(self, stamp_s: float) -> CameraFrame:
        """The head camera's image and depth."""
        return camera_frame(self._renderer, self.data, CAMERA, stamp_s)

    @cached_property
    def _segmentation(self) -> NDArray[np.int32]:
        """Owner of every pixel (H, W); rendered on demand, dropped when something moves."""
        return self._owner[self._renderer.segmentation(self.data, CAMERA)]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(H, W), the head camera's pixels that show the furniture or movable body of that name."""
        return np.asarray(self._segmentation == self._names.index(name))

    def owned(self) -> NDArray[np.bool_]:
        """(H, W), the head camera's pixels that show any furniture or movable body."""
        return np.asarray(self._segmentation >= 0)

    def instances(self, names: Sequence[str]) -> NDArray[np.int32]:
        """(H, W), the index in `names` of what each of the head camera's pixels shows, -1 for anything else."""
        index = np.array([names.index(name) if name in names else -1 for name in self._names] + [-1], np.int32)
        return np.asarray(index[self._segmentation])

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
