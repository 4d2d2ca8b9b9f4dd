"""Our apartments as a habitat-lab `Simulator` rendered by MuJoCo; runs Habitat's tasks without habitat-sim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.envs.habitat.frames import agent_rotation, as_quaternion, base_pose, camera_in_habitat, to_habitat
from si_embodied.envs.habitat.lab import load_habitat
from si_embodied.envs.habitat.pathfinder import Pathfinder
from si_embodied.envs.habitat.sensors import Eye, make_sensor
from si_embodied.envs.habitat.stage import Stage, load_stage, stage_of_scene
from si_embodied.envs.mujoco.camera import camera_pose, yaw_quaternion
from si_embodied.envs.mujoco.renderer import SceneRenderer
from si_embodied.envs.scenes.mjcf import CAMERA
from si_embodied.geometry import heading, wrap_angle
from si_embodied.robots import FETCH_BASE

load_habitat()

import mujoco  # noqa: E402
from habitat.config.default import get_agent_config  # noqa: E402
from habitat.core.registry import registry  # noqa: E402
from habitat.core.simulator import SensorSuite, Simulator  # noqa: E402
from habitat.sims.habitat_simulator.actions import HabitatSimActions  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.types import CameraFrame

APARTMENT_SIMULATOR = "SiEmbodiedApartment-v0"
"""The name in `habitat.simulator.type`."""


@dataclass(frozen=True, slots=True)
class SensorState:
    """Pose of a camera in Habitat's world."""

    position: NDArray[np.float64]  # (3,)
    rotation: Any  # quaternion.quaternion


@dataclass(frozen=True, slots=True)
class AgentState:
    """Pose of the agent in Habitat's world, like habitat-sim's `AgentState`."""

    position: NDArray[np.float64]  # (3,), on the floor
    rotation: Any  # quaternion.quaternion
    sensor_states: dict[str, SensorState]


@dataclass(frozen=True, slots=True)
class _Agent:
    state: AgentState


@dataclass(frozen=True, slots=True)
class _Scene:
    """A loaded apartment."""

    stage: Stage
    data: mujoco.MjData
    pathfinder: Pathfinder
    semantic_id: NDArray[np.int32]  # of each geom; the last entry is for pixels without a geom

    @classmethod
    def of(cls, stage: Stage) -> _Scene:
        """Load a stage."""
        owners = {piece.name: index for index, piece in enumerate(stage.apartment.furniture, start=1)}
        semantic_id = np.zeros(stage.model.ngeom + 1, np.int32)
        for geom, name in stage.scene.owner.items():
            semantic_id[stage.model.geom(geom).id] = owners[name]
        return cls(stage, mujoco.MjData(stage.model), Pathfinder(stage), semantic_id)


@registry.register_simulator(name=APARTMENT_SIMULATOR)
class ApartmentSimulator(Simulator):  # type: ignore[misc]  # habitat-lab has no types
    """One disc-shaped agent with RGB, depth and semantic cameras in an apartment.

    Semantic ids are indices into `Apartment.furniture`, from 1; 0 is walls, floors and ceilings.
    """

    def __init__(self, config: Any) -> None:
        """Create the sensors of habitat-lab's simulator config; the episode loads the stage."""
        self.habitat_config = config
        sensors = [make_sensor(sensor) for agent in config.agents.values() for sensor in agent.sim_sensors.values()]
        self._sensor_suite = SensorSuite(sensors)
        self._renderers: dict[tuple[int, int], SceneRenderer] = {}
        self._scene: _Scene | None = None
        self._pose, self._tilt_rad = (0.0, 0.0, 0.0), 0.0
        self._collided = False
        self._state: tuple[Any, AgentState] | None = None

    # --- habitat-lab's interface of a simulator ---------------------------------------------------------------------

    @property
    def pathfinder(self) -> Pathfinder:
        """Paths in the loaded apartment."""
        return self._loaded.pathfinder

    @property
    def sensor_suite(self) -> Any:
        """The cameras."""
        return self._sensor_suite

    def reconfigure(self, config: Any, episode: Any = None) -> None:
        """Load the episode's apartment and put the agent at its start."""
        self.habitat_config = config
        stage = load_stage(stage_of_scene(config.scene))
        if self._scene is None or self._scene.stage is not stage:
            self._close_renderers()
            self._scene = _Scene.of(stage)
        self._place_at_start()

    def _place_at_start(self) -> None:
        agent = get_agent_config(self.habitat_config)
        if agent.is_set_start_state:
            self.set_agent_state(agent.start_position, agent.start_rotation)
        self._tilt_rad, self._collided = 0.0, False

    def reset(self) -> Any:
        """The first observation of the episode."""
        self._place_at_start()
        return self._observe()

    def step(self, action: int | None, *_: Any, **__: Any) -> Any:
        """Execute one of habitat's discrete actions; None only renders."""
        x, y, yaw = self._pose
        self._collided = False
        if action == HabitatSimActions.move_forward:
            sliding = bool(self.habitat_config.habitat_sim_v0.allow_sliding)
            step_m = float(self.habitat_config.forward_step_size)
            x, y, self._collided = self.pathfinder.move(self._pose, step_m, sliding=sliding)
            self._pose = (x, y, yaw)
        elif action in (HabitatSimActions.turn_left, HabitatSimActions.turn_right):
            turn = math.radians(self.habitat_config.turn_angle)
            self._pose = (x, y, wrap_angle(yaw + (turn if action == HabitatSimActions.turn_left else -turn)))
        return self._observe()

    def step_physics(self, _: float) -> None:
        """Do nothing: the world is static."""

    def seed(self, seed: int) -> None:
        """Seed the sampling of random points."""
        if self._scene is not None:
            self._scene.pathfinder.seed(seed)

    def geodesic_distance(self, position_a: ArrayLike, position_b: ArrayLike, episode: Any = None) -> float:
        """Shortest path from a point to the nearest of one or more goals, metres."""
        return self.pathfinder.geodesic_distance(position_a, position_b)

    def get_straight_shortest_path_points(self, position_a: ArrayLike, position_b: ArrayLike) -> list[list[float]]:
        """Points of the shortest path."""
        points: list[list[float]] = self.pathfinder.path(position_a, position_b).tolist()
        return points

    def get_agent_state(self, agent_id: int = 0) -> AgentState:
        """Poses of the agent and its cameras."""
        where = (self._pose, self._tilt_rad)
        if self._state is None or self._state[0] != where:  # measures and sensors ask many times a step
            x, y, yaw = self._pose
            cameras = {uuid: self._sensor_state(sensor.eye) for uuid, sensor in self._sensor_suite.sensors.items()}
            self._state = where, AgentState(to_habitat([x, y, 0.0]), as_quaternion(agent_rotation(yaw)), cameras)
        return self._state[1]

    def set_agent_state(
        self, position: ArrayLike, rotation: Any, agent_id: int = 0, reset_sensors: bool = True
    ) -> bool:
        """Set the agent's pose; the rotation is (x, y, z, w) or a quaternion."""
        pose = base_pose([float(v) for v in np.asarray(position)], rotation)
        self._pose = (float(pose.translation[0]), float(pose.translation[1]), pose.yaw)
        if reset_sensors:
            self._tilt_rad = 0.0
        return True

    def get_observations_at(
        self, position: ArrayLike | None = None, rotation: Any = None, keep_agent_at_new_pose: bool = False
    ) -> Any:
        """The observation from another pose."""
        before = self._pose, self._collided
        if position is not None and rotation is not None:
            self.set_agent_state(position, rotation, reset_sensors=False)
        observations = self._observe()
        if not keep_agent_at_new_pose:
            self._pose, self._collided = before
        return observations

    @property
    def previous_step_collided(self) -> bool:
        """Whether the last step touched an obstacle."""
        return self._collided

    def get_agent(self, agent_id: int = 0) -> _Agent:
        """The agent, for the measure TopDownMap."""
        return _Agent(self.get_agent_state(agent_id))

    def sample_navigable_point(self) -> list[float]:
        """A free point."""
        point: list[float] = self.pathfinder.get_random_navigable_point().tolist()
        return point

    def is_navigable(self, point: ArrayLike) -> bool:
        """Whether the agent fits there."""
        return self.pathfinder.is_navigable(point)

    def distance_to_closest_obstacle(self, position: ArrayLike, max_search_radius: float = 2.0) -> float:
        """Distance from a point to the nearest obstacle."""
        return self.pathfinder.distance_to_closest_obstacle(position, max_search_radius)

    def render(self, mode: str = "rgb") -> Any:
        """The observation of the sensor named `mode`."""
        return self._observe()[mode]

    def close(self, destroy: bool = True) -> None:
        """Free the renderers; the simulator can be reconfigured again."""
        self._close_renderers()

    # --- for our environments ----------------------------------------------------------------------------------------

    @property
    def tilt_rad(self) -> float:
        """Tilt of the cameras from their configured orientation, up positive."""
        return self._tilt_rad

    def tilt(self, angle_rad: float) -> None:
        """Tilt all cameras, up positive, within the range of Fetch's head."""
        mounted = max((sensor.eye.pitch_rad for sensor in self._sensor_suite.sensors.values()), default=0.0)
        low, high = FETCH_BASE.tilt_range_rad
        self._tilt_rad = min(max(mounted + self._tilt_rad + angle_rad, low), high) - mounted

    def semantic(self) -> NDArray[np.int32]:
        """Semantic ids (H, W) of the first camera's current view."""
        sensor = next(iter(self._sensor_suite.sensors.values()))
        return self._semantic(sensor.eye)

    def semantic_from(self, frame: CameraFrame) -> NDArray[np.int32]:
        """The same for an earlier image of this episode, from a camera above the middle of the base."""
        sensor = next(iter(self._sensor_suite.sensors.values()))
        pose, tilt = self._pose, self._tilt_rad
        x, y, _ = (float(value) for value in frame.T_map_camera.translation)
        self._pose = (x, y, heading(frame.T_map_camera))
        self._tilt_rad = frame.tilt_rad - sensor.eye.pitch_rad
        try:
            return self._semantic(sensor.eye)
        finally:
            self._pose, self._tilt_rad = pose, tilt

    # --- rendering --------------------------------------------------------------------------------------------------

    @property
    def _loaded(self) -> _Scene:
        if self._scene is None:
            raise RuntimeError("the simulator has no scene; reset the environment first")
        return self._scene

    def _observe(self) -> Any:
        drawn: dict[Eye, tuple[NDArray[np.uint8], NDArray[np.float32]]] = {}
        images: dict[str, NDArray[Any]] = {}
        for uuid, sensor in self._sensor_suite.sensors.items():
            if sensor.modality == "semantic":
                images[uuid] = self._semantic(sensor.eye)
                continue
            if sensor.eye not in drawn:
                self._aim(sensor.eye)
                drawn[sensor.eye] = self._renderer(sensor.eye).rgbd(self._loaded.data, CAMERA)
            images[uuid] = drawn[sensor.eye][0 if sensor.modality == "rgb" else 1]
        return self._sensor_suite.get_observations(images)

    def _semantic(self, eye: Eye) -> NDArray[np.int32]:
        self._aim(eye)
        ids: NDArray[np.int32] = self._loaded.semantic_id[self._renderer(eye).segmentation(self._loaded.data, CAMERA)]
        return ids

    def _renderer(self, eye: Eye) -> SceneRenderer:
        size = (eye.height, eye.width)
        if size not in self._renderers:
            self._renderers[size] = SceneRenderer(self._loaded.stage.model, *size)
        return self._renderers[size]

    def _aim(self, eye: Eye) -> None:
        """Move MuJoCo's only camera to where a sensor is."""
        (x, y, yaw), model, data = self._pose, self._loaded.stage.model, self._loaded.data
        data.mocap_pos[0] = x, y, 0.0
        data.mocap_quat[0] = yaw_quaternion(yaw)
        head = model.body(CAMERA).id
        model.body_pos[head], model.body_quat[head] = eye.mount(self._tilt_rad)
        model.cam_fovy[model.camera(CAMERA).id] = math.degrees(eye.fov_y_rad)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)

    def _sensor_state(self, eye: Eye) -> SensorState:
        self._aim(eye)
        position, rotation = camera_in_habitat(camera_pose(self._loaded.stage.model, self._loaded.data, CAMERA))
        return SensorState(position, as_quaternion(rotation))

    def _close_renderers(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
