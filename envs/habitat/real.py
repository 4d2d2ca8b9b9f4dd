"""Habitat's own simulator: set up on any machine, and used with our apartments.

An apartment is exported (`export`) when an episode needs it, and rendered unlit in the colours of the MuJoCo world.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.envs.habitat import actions
from si_embodied.envs.habitat.export import SceneFiles, export_scene
from si_embodied.envs.habitat.frames import as_quaternion
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.envs.habitat.machine import NO_DEVICE, has_cuda_device, hush, metadata_without_image_light
from si_embodied.envs.habitat.stage import apartment_of, stage_of_scene
from si_embodied.envs.scenes.generator import PATH_CLEARANCE_M
from si_embodied.robots import FETCH_BASE

load_habitat()

from gym import spaces  # noqa: E402
from habitat.config import read_write  # noqa: E402
from habitat.config.default import get_agent_config  # noqa: E402
from habitat.config.default_structured_configs import HabitatSimSemanticSensorConfig  # noqa: E402
from habitat.core.registry import registry  # noqa: E402
from habitat.sims.habitat_simulator.habitat_simulator import (  # noqa: E402
    HabitatSim,
    HabitatSimSemanticSensor,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

EXPORTED_SIMULATOR = "SiEmbodiedExported-v0"
"""The name in `habitat.simulator.type`."""

SEMANTIC_SENSOR = "SiEmbodiedSemanticSensor"
"""The type that `prepare` gives a config's semantic cameras."""

_SEMANTIC = "semantic"
_CELL_HEIGHT_M = 0.02  # of the navmesh; the default of 0.2 puts the floor that much too high
_MAX_CLIMB_M = 0.05  # onto a rug, but not onto furniture


def prepare(config: Any, *, exported: bool) -> None:
    """Set up a habitat-lab config for habitat-sim on this machine.

    Args:
        config: the whole config; changed in place.
        exported: whether the scenes are our apartments; a user's own scenes stay as configured.
    """
    hush()
    with read_write(config):
        if not has_cuda_device():
            config.habitat.simulator.habitat_sim_v0.gpu_device_id = NO_DEVICE
        if exported:
            _fit(config.habitat)
        for agent in config.habitat.simulator.agents.values():
            for sensor in agent.sim_sensors.values():
                if sensor.type == HabitatSimSemanticSensor.__name__:
                    sensor.type = SEMANTIC_SENSOR


def _fit(habitat: Any) -> None:
    simulator = habitat.simulator
    simulator.type = EXPORTED_SIMULATOR
    simulator.default_agent_navmesh = simulator.navmesh_include_static_objects = True
    agent = get_agent_config(simulator)
    agent.max_climb = _MAX_CLIMB_M
    camera = next(iter(agent.sim_sensors.values()))
    shared = {key: camera[key] for key in ("height", "width", "hfov", "position", "orientation")}
    agent.sim_sensors["semantic_sensor"] = HabitatSimSemanticSensorConfig(**shared)
    for name, ours in (("look_up", actions.LOOK_UP), ("look_down", actions.LOOK_DOWN)):
        if name in habitat.task.actions:
            habitat.task.actions[name].type = ours


@registry.register_sensor(name=SEMANTIC_SENSOR)
class SemanticSensor(HabitatSimSemanticSensor):  # type: ignore[misc]  # habitat-lab has no types
    """The semantic camera with a space that numpy 2 accepts: habitat-lab's int32 space goes up to 2^32 - 1."""

    def _get_observation_space(self, *_: Any, **__: Any) -> Any:
        return spaces.Box(0, np.iinfo(np.int32).max, (self.config.height, self.config.width, 1), np.int32)


@registry.register_simulator(name=EXPORTED_SIMULATOR)
class ExportedApartmentSimulator(HabitatSim):  # type: ignore[misc]  # habitat-lab has no types
    """habitat-sim on our apartments, which have names like `apartment-7-0`.

    Semantic ids are indices into `Apartment.furniture`, from 1; 0 is walls, floors and ceilings.
    """

    def __init__(self, config: Any) -> None:
        """Start habitat-sim on the config's apartment."""
        self._files = tempfile.TemporaryDirectory(prefix="si-embodied-")
        self._exported: SceneFiles | None = None
        self._metadata = metadata_without_image_light()
        self._tilt_rad = 0.0
        super().__init__(config)

    def create_sim_config(self, sensor_suite: Any) -> Any:
        """habitat-lab's settings with the exported files, and a navmesh at floor height."""
        made = super().create_sim_config(sensor_suite)
        files = self._export(stage_of_scene(self.habitat_config.scene))
        made.sim_cfg.scene_dataset_config_file, made.sim_cfg.scene_id = str(files.dataset_config), files.scene
        settings = made.sim_cfg.navmesh_settings
        settings.cell_height, settings.agent_radius = _CELL_HEIGHT_M, PATH_CLEARANCE_M
        made.metadata_mediator = self._metadata
        return made

    def _export(self, name: str) -> SceneFiles:
        """The files of an apartment: exported once; the previous apartment's are removed."""
        folder = Path(self._files.name)
        for old in folder.iterdir():
            if old.name != name:
                shutil.rmtree(old)
        if self._exported is None or self._exported.scene != name:
            self._exported = export_scene(apartment_of(name), folder / name, name)
        return self._exported

    def set_agent_state(
        self, position: ArrayLike, rotation: Any, agent_id: int = 0, reset_sensors: bool = True
    ) -> bool:
        """Set the agent's pose; the rotation is (x, y, z, w) or a quaternion."""
        if reset_sensors:
            self._tilt_rad = 0.0
        done: bool = super().set_agent_state(position, rotation, agent_id, reset_sensors)
        return done

    def step_filter(self, start: Any, end: Any) -> Any:
        """Where a step ends: on the navmesh, at the height where it began, because the floor is flat."""
        reached = super().step_filter(start, end)
        reached[1] = start[1]
        return reached

    def tilt(self, angle_rad: float) -> None:
        """Tilt all cameras, up positive, within the range of Fetch's head."""
        mounted = float(next(iter(get_agent_config(self.habitat_config).sim_sensors.values())).orientation[0])
        low, high = FETCH_BASE.tilt_range_rad
        wanted = min(max(mounted + self._tilt_rad + angle_rad, low), high) - mounted
        turn = as_quaternion([math.sin((wanted - self._tilt_rad) / 2), 0, 0, math.cos((wanted - self._tilt_rad) / 2)])
        agent = self.get_agent(0)
        state = agent.get_state()
        for camera in state.sensor_states.values():
            camera.rotation = camera.rotation * turn  # about the camera's own x
        agent.set_state(state, reset_sensors=False, infer_sensor_states=False)
        self._tilt_rad = wanted

    def semantic(self) -> NDArray[np.int32]:
        """Semantic ids (H, W) of the cameras' current view."""
        ids = np.asarray(self.get_sensor_observations()[_SEMANTIC])
        return ids.reshape(ids.shape[:2]).astype(np.int32)

    def close(self, destroy: bool = True) -> None:
        """Free habitat-sim's resources; idempotent."""
        super().close(destroy)
        if destroy:
            self._files.cleanup()
