"""Rearrangement rendered by habitat-sim: the apartment as exported files, items and trays as movable rigid objects."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any

import habitat_sim
import magnum
import numpy as np
from habitat_sim.gfx import NO_LIGHT_KEY

from si_embodied.envs.habitat.export import SceneFiles, export_scene, object_config
from si_embodied.envs.habitat.frames import as_quaternion, camera_in_habitat, to_habitat
from si_embodied.envs.habitat.machine import NO_DEVICE, has_cuda_device, hush, metadata_without_image_light
from si_embodied.envs.habitat.rearrange_view import AWAY_M
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M
from si_embodied.envs.scenes.mjcf import CAMERA
from si_embodied.errors import SceneError
from si_embodied.geometry import Intrinsics
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from si_embodied.envs.episode import CameraSetup
    from si_embodied.envs.habitat.rearrange_world import Layout, RearrangeWorld

_SENSORS = {
    "rgb": habitat_sim.SensorType.COLOR,
    "depth": habitat_sim.SensorType.DEPTH,
    "semantic": habitat_sim.SensorType.SEMANTIC,
}


class HabitatSimView:
    """One habitat-sim instance, reused for all apartments; its agent is the head camera itself.

    With Bullet, items, trays and furniture are Bullet bodies too. They are kinematic, because no arm is simulated.
    """

    def __init__(self, camera: CameraSetup, image_size: int) -> None:
        """Prepare to render square images of `image_size` pixels; nothing starts before `show`."""
        hush()
        self._camera, self._size = camera, image_size
        self._simulator: habitat_sim.Simulator | None = None
        self._metadata: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._semantic_id: dict[str, int] = {}
        self._bodies: dict[str, Any] = {}  # rigid objects, by the name of the item or tray

    @property
    def simulator(self) -> habitat_sim.Simulator:
        """habitat-sim, while a world is loaded."""
        if self._simulator is None:
            raise RuntimeError("no world is loaded; reset the environment first")
        return self._simulator

    def show(self, world: RearrangeWorld) -> None:
        """Export the apartment and its items, load the files, and add the items.

        Raises:
            SceneError: habitat-sim rejects an object.
        """
        # Always a new folder: habitat-sim caches what it has read from a path.
        before, self._folder = self._folder, tempfile.TemporaryDirectory(prefix="si-embodied-")
        apartment, movable = world.stage.apartment, world.movable
        files = export_scene(apartment, self._folder.name, world.stage.name, movable)
        if self._simulator is None:
            self._metadata = metadata_without_image_light()
            self._simulator = habitat_sim.Simulator(self._configuration(files))
        else:
            self._simulator.close(destroy=False)  # otherwise it would keep all earlier apartments
            self._simulator.reconfigure(self._configuration(files))
        if before is not None:
            before.cleanup()
        numbered = enumerate([*(piece.name for piece in apartment.furniture), *movable], start=1)
        self._semantic_id = {name: number for number, name in numbered}
        self._bodies = self._add(files, movable)

    def _configuration(self, files: SceneFiles) -> habitat_sim.Configuration:
        backend = habitat_sim.SimulatorConfiguration()
        backend.scene_dataset_config_file, backend.scene_id = str(files.dataset_config), files.scene
        backend.enable_physics = habitat_sim.built_with_bullet
        if not has_cuda_device():
            backend.gpu_device_id = NO_DEVICE
        agent = habitat_sim.agent.AgentConfiguration()
        agent.sensor_specifications = [self._sensor(name, kind) for name, kind in _SENSORS.items()]
        return habitat_sim.Configuration(backend, [agent], self._metadata)

    def _sensor(self, name: str, kind: Any) -> Any:
        made = habitat_sim.CameraSensorSpec()
        made.uuid, made.sensor_type = name, kind
        made.resolution = [self._size, self._size]
        made.position = made.orientation = [0.0, 0.0, 0.0]
        made.hfov = math.degrees(self._camera.fov_y_rad)  # the images are square
        return made

    def _add(self, files: SceneFiles, movable: Mapping[str, Any]) -> dict[str, Any]:
        manager = self.simulator.get_rigid_object_manager()
        bodies = {}
        for name in movable:
            # Unlit, like the scene's own objects: habitat-sim lights an added object unless told otherwise.
            body = manager.add_object_by_template_handle(str(object_config(files, name)), light_setup_key=NO_LIGHT_KEY)
            if body is None:
                raise SceneError(f"habitat-sim rejects the object {name!r} of {files.dataset_config}")

            body.motion_type = habitat_sim.physics.MotionType.KINEMATIC
            bodies[name] = body
        return bodies

    def frame(self, layout: Layout, stamp_s: float) -> CameraFrame:
        """What the head camera sees."""
        seen = self._look(layout)
        depth = np.array(seen["depth"], np.float32)
        return CameraFrame(
            name=CAMERA,
            stamp_s=stamp_s,
            rgb=np.ascontiguousarray(seen["rgb"][..., :3]),
            depth_m=np.where(depth < MAX_RANGE_M, depth, np.float32(0)),
            intrinsics=Intrinsics.from_vertical_fov(self._size, self._size, self._camera.fov_y_rad),
            T_map_camera=layout.T_map_camera(self._camera.height_m),
        )

    def mask(self, layout: Layout, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels that show an item or a piece of furniture."""
        return np.asarray(self._look(layout)["semantic"] == self._semantic_id[name])

    def _look(self, layout: Layout) -> Mapping[str, NDArray[Any]]:
        """Move everything to its place and render; the next call may overwrite the images."""
        for name, place in layout.places.items():
            at = to_habitat((0.0, 0.0, AWAY_M) if place is None else place)
            self._bodies[name].translation = magnum.Vector3(*at.tolist())
        position, rotation = camera_in_habitat(layout.T_map_camera(self._camera.height_m))
        state = habitat_sim.AgentState(position.astype(np.float32), as_quaternion(rotation))
        self.simulator.get_agent(0).set_state(state, reset_sensors=True)
        observed: Mapping[str, NDArray[Any]] = self.simulator.get_sensor_observations()
        return observed

    def close(self) -> None:
        """Free habitat-sim's resources."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = self._metadata = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
