"""Habitat's navigation tasks as Gymnasium environments: habitat-lab runs them, this module adapts the interface."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, SupportsFloat, get_args

import gymnasium
import numpy as np

from si_embodied import robots
from si_embodied.embodiment import BaseAction
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number, check_step
from si_embodied.envs.habitat import config as configs
from si_embodied.envs.habitat.frames import base_pose, camera_pose
from si_embodied.envs.habitat.instructions import MAX_INSTRUCTION_LENGTH, instruction_of
from si_embodied.envs.mujoco.selection import select_renderer
from si_embodied.envs.spaces import CHARSET, observation_dict, observation_space
from si_embodied.errors import ConfigError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.envs.habitat.episodes import HabitatTask
    from si_embodied.envs.habitat.sources import EpisodeSource

ACTION_MODES = ("discrete",)
MAX_STEPS = 500  # Habitat's limit
IMAGE_SIZE_PX = 224
_GOAL_SENSORS = {"pointgoal_with_gps_compass": "pointgoal", "imagegoal": "goal_image"}
"""habitat-lab's goal sensors, and their keys in the observation."""


@dataclass(slots=True)
class _Progress:
    """What has happened in the running episode; `reset` replaces it."""

    instruction: str = ""
    geodesic_m: float = 0.0  # from the start
    steps: int = 0
    path_m: float = 0.0
    over: bool = True


class HabitatEnv(gymnasium.Env[dict[str, Any], Any]):
    """One of habitat-lab's navigation tasks, on our apartments or with any habitat-lab config.

    The observation is the same as in our other worlds; PointNav adds `pointgoal` (distance in metres, angle in radians,
    left positive) and ImageNav `goal_image` (H, W, 3). Actions are `BaseAction`: Habitat's six and waiting. Where a
    task has no tilt, looking up and down is waiting. `info` has habitat-lab's measures (`success`, `spl`, `soft_spl`,
    `distance_to_goal`, `collisions`) and ours (`path_length`, `geodesic_distance`, `sees_goal`).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (as gymnasium.Env has it)
    kind: ClassVar[Literal["navigation"]] = "navigation"
    TASKS: ClassVar[tuple[HabitatTask, ...]]

    def __init__(
        self,
        task: str | None = None,
        *,
        simulator: str = "embedded",
        config: str | Path | None = None,
        overrides: Sequence[str] = (),
        scene: str | Path | None = None,
        image_size: int = IMAGE_SIZE_PX,
        action_mode: str = "discrete",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        camera_height_m: float = robots.CAMERA_HEIGHT_M,
        camera_tilt_rad: float = robots.CAMERA_TILT_RAD,
        fov_y_deg: float = robots.CAMERA_FOV_Y_DEG,
        top_down_map: bool = False,
    ) -> None:
        """Create the environment; nothing is rendered and no simulator starts before `reset`.

        Args:
            task: None or the class's one task.
            simulator: "embedded" (MuJoCo renders) or "habitat-sim", which must be installed in this Python.
            config: a habitat-lab config, by path or by its name among habitat-lab's own, whose dataset, agent and
                measures are used unchanged. None for our apartments and our robot.
            overrides: hydra overrides of the config, like "habitat.dataset.split=val".
            scene: a building's file (GLB), for PointNav in it on the embedded simulator instead of in our apartments.
            image_size: height and width of the images, pixels; a config brings its own size and camera.
            action_mode: "discrete".
            render_mode: None or "rgb_array".
            max_episode_steps: steps until the episode is truncated; None for 500, or the config's limit.
            camera_height_m: of the head camera above the floor.
            camera_tilt_rad: of the head camera at the start, up positive.
            fov_y_deg: vertical field of view, whole degrees.
            top_down_map: add habitat-lab's measure TopDownMap to `info` and to the rendered image; this takes time.

        Raises:
            UnknownNameError: unknown task, simulator, action mode or render mode.
            ConfigError: a number is out of range, or the config cannot be used.
            MissingExtraError: habitat-lab is not installed.
        """
        self.task: HabitatTask = self.TASKS[0]
        check_names(
            ("task", task or self.task, self.TASKS),
            ("simulator", simulator, get_args(configs.SimulatorName)),
            ("action mode", action_mode, ACTION_MODES),
            ("render mode", render_mode, (None, "rgb_array")),
        )
        check_number("image_size", image_size, *IMAGE_SIZES_PX, unit="pixels")
        check_number("max_episode_steps", max_episode_steps, 1)
        check_number("fov_y_deg", fov_y_deg, 10, 140, unit="degrees")
        select_renderer()  # before mujoco is first imported, which reads the choice
        from si_embodied.envs.episode import CameraSetup
        from si_embodied.envs.habitat.truth import HabitatGroundTruth

        self.render_mode, self._simulator = render_mode, simulator
        self._camera = CameraSetup(camera_height_m, 0.0, camera_tilt_rad, math.radians(fov_y_deg))
        if config is not None and (image_size, self._camera) != (IMAGE_SIZE_PX, CameraSetup()):
            raise ConfigError(
                "expected no image_size, camera_height_m, camera_tilt_rad or fov_y_deg with a config, which has a "
                f"camera, got: {image_size}, {camera_height_m}, {camera_tilt_rad}, {fov_y_deg}; change the camera with "
                'overrides=["habitat.simulator.agents.main_agent.sim_sensors.rgb_sensor.width=…"]'
            )
        if scene is not None and (self.task, simulator, config) != ("pointnav", "embedded", None):
            raise ConfigError(
                f"a scene without a data set has PointNav alone, on the embedded simulator and without a config; got "
                f"{self.task} on {simulator} with config {config}. habitat-sim takes a scene with a config of its own"
            )
        self._scene = "" if scene is None else str(Path(scene).expanduser().absolute())
        self._top_down_map = top_down_map
        self.setup = self._configure(config, overrides, image_size, max_episode_steps)
        self._source = self._episodes(own_config=config is not None)
        self.embodiment = self.setup.embodiment
        self.ground_truth = HabitatGroundTruth(self)
        self.observation_space = self._observation_space()
        self.action_space = gymnasium.spaces.Discrete(len(BaseAction))
        self._env: Any = None
        self._dataset: Any = None
        self.episode: Any = None  # habitat-lab's, of the running episode
        self.raw: Any = {}  # habitat-lab's last observation
        self.T_map_base = Pose.identity()
        self._frame: CameraFrame | None = None
        self._progress = _Progress()

    def _configure(
        self, config: str | Path | None, overrides: Sequence[str], image_size: int, max_steps: int | None
    ) -> configs.Setup:
        if config is None:
            made = configs.stock_config(self.task, overrides)
            configs.fit_to_apartments(made, self.task, self._camera, image_size, max_steps or MAX_STEPS)
            configs.override(made, overrides)
        else:
            extra = [] if max_steps is None else [f"habitat.environment.max_episode_steps={max_steps}"]
            made = configs.user_config(config, [*overrides, *extra])
        setup = configs.complete(made, self._simulator, top_down_map=self._top_down_map)  # type: ignore[arg-type]
        if self._simulator == "habitat-sim":
            from si_embodied.envs.habitat.lab import load_real

            load_real("real").prepare(setup.config, exported=config is None)
        return setup

    def _episodes(self, *, own_config: bool) -> EpisodeSource:
        from si_embodied.envs.habitat.sources import DatasetEpisodes, SeededEpisodes

        if not own_config:
            return SeededEpisodes(self.task, self._camera, self._scene)
        dataset = self.setup.config.habitat.dataset
        return DatasetEpisodes(dataset, scenes_are_files=self._simulator == "habitat-sim")

    def _observation_space(self) -> gymnasium.spaces.Dict:
        setup, box = self.setup, gymnasium.spaces.Box
        far = max(setup.depth_scale.max_m, configs.MAX_RANGE_M)
        space = observation_space(1, setup.height, setup.width, max_range_m=far)
        space.spaces["instruction"] = gymnasium.spaces.Text(MAX_INSTRUCTION_LENGTH, charset=CHARSET)
        sensors = setup.config.habitat.task.lab_sensors
        if "pointgoal_with_gps_compass_sensor" in sensors:
            space.spaces["pointgoal"] = box(-1e6, 1e6, (2,), np.float32)
        if "imagegoal_sensor" in sensors:
            space.spaces["goal_image"] = box(0, 255, (setup.height, setup.width, 3), np.uint8)
        return gymnasium.spaces.Dict(dict(sorted(space.spaces.items())))

    # --- the episode ------------------------------------------------------------------------------------------------

    @property
    def habitat_env(self) -> Any:
        """The `habitat.Env` that runs the episode.

        Raises:
            gymnasium.error.ResetNeeded: no episode has started.
        """
        if self._env is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._env

    @property
    def frame(self) -> CameraFrame:
        """The head camera's image of the last observation.

        Raises:
            gymnasium.error.ResetNeeded: no episode has started.
        """
        if self._frame is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._frame

    @property
    def pose(self) -> tuple[float, float, float]:
        """The robot's x, y in metres and yaw in radians, map."""
        x, y, _ = self.T_map_base.translation
        return float(x), float(y), self.T_map_base.yaw

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`.

        With a user's config, the seed is an index into its dataset's episodes, modulo their number.
        """
        super().reset(seed=seed)
        del options
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        self._start(*self._source.draw(number))
        self._env.sim.seed(number % 2**32)  # not `Env.seed`, which seeds numpy's and Python's own generators
        self.raw = self._env.reset()
        self._progress = _Progress(instruction_of(self.task, self.episode), self.distance_to_goal(), over=False)
        self._look()
        self.ground_truth.begin()
        return self._observe(), self._info()

    def _start(self, dataset: Any, episode: Any) -> None:
        """Give the episode to the `habitat.Env`, which is created on first use."""
        if self._env is None:
            from si_embodied.envs.habitat.lab import load_habitat

            self._env = load_habitat().Env(self.setup.config, dataset=dataset)
        elif dataset is not self._dataset:
            self._env.episodes = dataset.episodes
        self._dataset, self.episode = dataset, episode
        self._env.current_episode = episode

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute one of habitat's actions. The reward is the metres driven towards the goal, and 2.5 for success.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: no episode has started, or it is over.
        """
        env, progress = self.habitat_env, self._progress
        check_step(self.action_space, action, over=progress.over)
        before, (x, y, _) = self.distance_to_goal(), self.pose
        self.raw = env.step(self.setup.action_names[int(action)])
        progress.steps += 1
        self._look()
        progress.path_m += math.hypot(self.pose[0] - x, self.pose[1] - y)
        stopped = int(action) == BaseAction.STOP
        progress.over = bool(env.episode_over)
        info = self._info()
        reward = before - self.distance_to_goal() + (2.5 if info["success"] else 0.0)
        return self._observe(), reward, stopped, progress.over and not stopped, info

    # --- observation ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Turn habitat's last observation into a posed frame."""
        setup, raw = self.setup, self.raw
        state = self._env.sim.get_agent_state()
        self.T_map_base = base_pose(state.position, state.rotation)
        eye = state.sensor_states[setup.rgb]
        self._frame = CameraFrame(
            name=self.embodiment.cameras[0],
            stamp_s=self._progress.steps * self.embodiment.control_period_s,
            rgb=np.ascontiguousarray(raw[setup.rgb][..., :3]),
            depth_m=self._metres(np.asarray(raw[setup.depth])[..., 0]),
            intrinsics=Intrinsics.from_vertical_fov(setup.width, setup.height, setup.fov_y_rad),
            T_map_camera=camera_pose(eye.position, eye.rotation),
        )

    def _metres(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth in metres; 0, no return, where habitat-lab has clipped it."""
        scale = self.setup.depth_scale
        metres = depth * np.float32(scale.max_m - scale.min_m) + np.float32(scale.min_m) if scale.normalised else depth
        known = (metres > scale.min_m) & (metres < scale.max_m)
        return np.where(known, metres, np.float32(0)).astype(np.float32)

    def _observe(self) -> dict[str, Any]:
        observation = observation_dict((self.frame,), self.T_map_base, self._progress.instruction, self.frame.stamp_s)
        for sensor, name in _GOAL_SENSORS.items():
            if sensor in self.raw:
                observation[name] = np.array(self.raw[sensor])  # a copy: habitat-lab keeps its own
        return observation

    def _info(self) -> dict[str, Any]:
        metrics: Mapping[str, Any] = self._env.get_metrics()
        info = {
            "success": bool(metrics["success"]),
            "spl": float(metrics["spl"]),
            "soft_spl": float(metrics["soft_spl"]),
            "distance_to_goal": float(metrics["distance_to_goal"]),
            "collisions": int(metrics["collisions"]["count"]),
            "path_length": self._progress.path_m,
            "geodesic_distance": self._progress.geodesic_m,
        }
        if not self.ground_truth.goal_is_a_place and self._progress.over:
            info["sees_goal"] = bool(self.ground_truth.goal_mask().any())
        if "top_down_map" in metrics:
            info["top_down_map"] = copy.deepcopy(metrics["top_down_map"])  # habitat-lab reuses the array
        return info

    def distance_to_goal(self) -> float:
        """habitat-lab's measure of that name, metres. Privileged."""
        return float(self._env.get_metrics()["distance_to_goal"])

    # --- rendering --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """The robot's view, (H, W, 3), beside habitat-lab's top-down map if it was requested."""
        if self.render_mode is None:
            gymnasium.logger.warn('nothing to render: create the environment with render_mode="rgb_array"')
            return None
        view = self.frame.rgb
        if not self._top_down_map:
            return view
        from habitat.utils.visualizations.maps import colorize_draw_agent_and_fit_to_height

        drawn = colorize_draw_agent_and_fit_to_height(self.habitat_env.get_metrics()["top_down_map"], view.shape[0])
        image: NDArray[np.uint8] = np.concatenate([view, np.asarray(drawn, np.uint8)], axis=1)
        return image

    def close(self) -> None:
        """Free the simulator; the environment can be reset again."""
        if self._env is not None:
            self._env.close()
            self._env, self._frame, self._progress = None, None, _Progress()


class HabitatPointNavEnv(HabitatEnv):
    """Go to within 0.2 m of a point, given as distance and direction from the start."""

    TASKS = ("pointnav",)


class HabitatObjectNavEnv(HabitatEnv):
    """Find any object of a category, and stop within 1 m of it with it in view."""

    TASKS = ("objectnav",)


class HabitatImageNavEnv(HabitatEnv):
    """Go to the place where an image was taken."""

    TASKS = ("imagenav",)


class HabitatInstructionNavEnv(HabitatEnv):
    """Follow an instruction in words to an object, and stop within 1 m of it with it in view."""

    TASKS = ("instructionnav",)
