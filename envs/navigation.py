"""The Apartment: a robot with a head camera finds things in a furnished flat (`si_embodied/Apartment-v0`)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar, Literal, SupportsFloat, get_args

import gymnasium
import numpy as np
from numpy.typing import NDArray

from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M, RendererChoice, SceneRenderer, select_renderer
from si_embodied.envs.spaces import observation_dict, observation_space
from si_embodied.geometry import Pose

select_renderer()  # before mujoco's first import, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.base_motion import drive, slide  # noqa: E402
from si_embodied.envs.episode import SUCCESS_DISTANCE_M, CameraSetup, Episode, draw_episode  # noqa: E402
from si_embodied.envs.ground_truth import NavigationGroundTruth  # noqa: E402
from si_embodied.envs.mujoco.camera import camera_frame  # noqa: E402
from si_embodied.envs.overhead import OverheadView, side_by_side  # noqa: E402
from si_embodied.envs.scenes.generator import ROBOT_RADIUS_M  # noqa: E402
from si_embodied.envs.scenes.mjcf import CAMERA  # noqa: E402
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS  # noqa: E402

ActionMode = Literal["discrete", "continuous"]
TASKS, ACTION_MODES = NAVIGATION_TASKS, get_args(ActionMode)
STEPS_PER_GOAL = 500  # Habitat's, for one goal
_DISCRETE_PERIOD_S, _CONTINUOUS_PERIOD_S = 0.5, 0.25
_MIN_VISIBLE_PX_AT_224 = 40
_OVERHEAD_PX = 448


def fetch_base(*, discrete: bool) -> MobileBase:
    """What a planner may know of Fetch's base: its size, its steps and limits, and its head camera's."""
    return MobileBase(
        cameras=(CAMERA,),
        action_mode="discrete" if discrete else "continuous",
        radius_m=ROBOT_RADIUS_M,
        height_m=1.1,
        forward_step_m=0.25,
        turn_step_rad=math.radians(15.0),
        tilt_step_rad=math.radians(15.0),
        tilt_range_rad=(-1.05, 0.52),
        max_speed_m_s=1.0,
        max_turn_rate_rad_s=1.5,
        control_period_s=_DISCRETE_PERIOD_S if discrete else _CONTINUOUS_PERIOD_S,
        success_distance_m=SUCCESS_DISTANCE_M,
    )


class ApartmentEnv(gymnasium.Env[dict[str, Any], Any]):
    """A disc on wheels with one RGB-D camera in a procedural apartment; every episode is a function of its seed.

    Success is to stop within 1 m of the target's surface while seeing it; a route's earlier goals count when the robot
    is within 1 m and sees them. Metrics are Habitat's: SPL (Anderson et al., arXiv 1807.06757) and SoftSPL.

    Example:
        >>> import gymnasium, si_embodied.envs
        >>> env = gymnasium.make("si_embodied/Apartment-v0", task="objectnav")
        >>> observation, info = env.reset(seed=0)
        >>> env.close()
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (as gymnasium.Env has it)
    kind: ClassVar[Literal["navigation"]] = "navigation"

    def __init__(
        self,
        task: str = "objectnav",
        *,
        image_size: int = 224,
        action_mode: str = "discrete",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        camera_height_m: float = 1.1,
        camera_pan_rad: float = 0.0,
        camera_tilt_rad: float = -0.35,
        fov_y_deg: float = 70.0,
        room_count: int | None = None,
        renderer: str | None = None,
    ) -> None:
        """Make the environment; nothing is rendered before `reset`.

        Args:
            task: "objectnav", "spatial" or "route".
            image_size: height and width of the pictures, pixels.
            action_mode: "discrete" (`BaseAction`) or "continuous" (forward speed m/s, turn rate rad/s, stop > 0.5).
            render_mode: None or "rgb_array".
            max_episode_steps: steps until the episode is truncated; None for Habitat's 500 for each goal of the task.
            camera_height_m: of the head camera above the floor.
            camera_pan_rad: of the head camera, left positive.
            camera_tilt_rad: of the head camera at the start, up positive.
            fov_y_deg: vertical field of view.
            room_count: 2 to 5; None draws it from the seed.
            renderer: as in `select_renderer`.

        Raises:
            UnknownNameError: no such task, action mode or render mode.
            ConfigError: a number out of range.
        """
        check_names(
            ("task", task, NAVIGATION_TASKS),
            ("action mode", action_mode, get_args(ActionMode)),
            ("render mode", render_mode, (None, "rgb_array")),
        )
        check_number("image_size", image_size, *IMAGE_SIZES_PX, unit="pixels")
        check_number("max_episode_steps", max_episode_steps, 1)
        check_number("camera_height_m", camera_height_m, 0.2, 2.2)
        check_number("fov_y_deg", fov_y_deg, 10, 140, unit="degrees")
        check_number("room_count", room_count, 2, 5)
        self.task, self.render_mode = task, render_mode
        self.discrete = action_mode == "discrete"
        self.camera = CameraSetup(camera_height_m, camera_pan_rad, camera_tilt_rad, math.radians(fov_y_deg))
        self.embodiment = fetch_base(discrete=self.discrete)
        self.min_visible_px = max(1, round(_MIN_VISIBLE_PX_AT_224 * (image_size / 224) ** 2))
        self.ground_truth = NavigationGroundTruth(self)
        self.observation_space = observation_space(1, image_size, image_size, max_range_m=MAX_RANGE_M)
        self.action_space: gymnasium.spaces.Space[Any] = (
            gymnasium.spaces.Discrete(len(BaseAction))
            if self.discrete
            else gymnasium.spaces.Box(np.array([-1.0, -1.5, 0.0], np.float32), np.array([1.0, 1.5, 1.0], np.float32))
        )
        self._image_size, self._max_steps, self._room_count = image_size, max_episode_steps, room_count
        self._renderer_name = renderer
        self._renderer: SceneRenderer | None = None
        self._rgb = np.zeros((image_size, image_size, 3), np.uint8)
        self._episode: Episode | None = None

    # --- the episode ------------------------------------------------------------------------------------------------

    @property
    def episode(self) -> Episode:
        """The running episode.

        Raises:
            gymnasium.error.ResetNeeded: there is none yet.
        """
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._episode

    @property
    def renderer_choice(self) -> RendererChoice:
        """Which renderer draws this environment, and why."""
        return select_renderer(self._renderer_name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without one, of the next seed drawn from `np_random`."""
        super().reset(seed=seed)
        del options
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self.start_episode(draw_episode(episode_seed, self.task, self.camera, self._room_count))
        return self._observe(), self._info()

    def start_episode(self, episode: Episode) -> None:
        """Put the robot at the start of an episode made by `draw_episode` or `build_episode`."""
        self._close_renderer()
        self._episode = episode
        self._data = mujoco.MjData(episode.model)
        self._renderer = SceneRenderer(episode.model, self._image_size, self._image_size, renderer=self._renderer_name)
        owners = sorted(set(episode.scene.owner.values()))
        self._owner = np.full(episode.model.ngeom + 1, -1, np.int32)  # the last entry is for pixels without a geom
        for geom, piece in episode.scene.owner.items():
            self._owner[episode.model.geom(geom).id] = owners.index(piece)
        self._owner_index = {name: i for i, name in enumerate(owners)}
        self.pose, self.tilt, self.leg = episode.start, self.camera.tilt_rad, 0
        self._stamp_s, self._steps, self._path_m, self._collisions = 0.0, 0, 0.0, 0
        self._success = self._over = False
        self._geodesic_m = episode.geodesic_m
        self._trail = [episode.start[:2]]
        self._place()

    def _place(self) -> None:
        """Move the simulated camera to where the robot is."""
        x, y, yaw = self.pose
        data, model = self._data, self.episode.model
        data.mocap_pos[0] = x, y, 0.0
        data.mocap_quat[0] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
        pan, down = self.camera.pan_rad / 2, -self.tilt / 2
        c, s, cd, sd = math.cos(pan), math.sin(pan), math.cos(down), math.sin(down)
        model.body_quat[model.body(CAMERA).id] = c * cd, -s * sd, c * sd, s * cd  # about z, then about the new y
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self.__dict__.pop("_segmentation", None)

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """One control period. The reward is the metres driven nearer to the goal, and 2.5 for success, as in Habitat.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: there is no episode, or it is over.
        """
        episode = self.episode
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset() first")
        if not self.action_space.contains(action):
            raise gymnasium.error.InvalidAction(f"expected an action in {self.action_space}, got: {action!r}")
        before = self.distance_to_goal()
        stopped = self._move_discrete(int(action)) if self.discrete else self._move_continuous(action)
        self._steps += 1
        self._stamp_s += self.embodiment.control_period_s
        self._arrive()
        if stopped:
            self._success = self.leg == len(episode.task.goals) - 1 and self.leg_reached()
        limit = self._max_steps or STEPS_PER_GOAL * len(episode.task.goals)
        truncated = not stopped and self._steps >= limit
        self._over = stopped or truncated
        reward = before - self.distance_to_goal() + (2.5 if self._success else 0.0)
        return self._observe(), reward, stopped, truncated, self._info()

    def _move_discrete(self, action: int) -> bool:
        (x, y, yaw), body = self.pose, self.embodiment
        if action == BaseAction.FORWARD:
            nx, ny, touched = slide(self.episode.obstacles, body.radius_m, x, y, yaw, body.forward_step_m)
            self._path_m += math.hypot(nx - x, ny - y)
            self._collisions += touched
            self.pose = nx, ny, yaw
        elif action in (BaseAction.TURN_LEFT, BaseAction.TURN_RIGHT):
            turn = body.turn_step_rad if action == BaseAction.TURN_LEFT else -body.turn_step_rad
            self.pose = x, y, math.remainder(yaw + turn, 2 * math.pi)
        elif action in (BaseAction.LOOK_UP, BaseAction.LOOK_DOWN):
            tilt = self.tilt + (body.tilt_step_rad if action == BaseAction.LOOK_UP else -body.tilt_step_rad)
            self.tilt = min(max(tilt, body.tilt_range_rad[0]), body.tilt_range_rad[1])
        return action == BaseAction.STOP

    def _move_continuous(self, action: NDArray[np.float32]) -> bool:
        if action[2] > 0.5:
            return True
        self.drive(float(action[0]), float(action[1]), self.embodiment.control_period_s)
        return False

    # --- for whoever runs the clock itself, as a robot over ROS does ------------------------------------------------

    def drive(self, speed_m_s: float, turn_rate_rad_s: float, period_s: float) -> None:
        """Drive for a time without looking and without counting a step."""
        body, obstacles = self.embodiment, self.episode.obstacles
        x, y, yaw, length, touched = drive(obstacles, body.radius_m, self.pose, speed_m_s, turn_rate_rad_s, period_s)
        self.pose = x, y, yaw
        self._path_m += length
        self._collisions += touched

    def observe(self) -> dict[str, Any]:
        """Look from where the robot is by now."""
        self._arrive()
        return self._observe()

    def _arrive(self) -> None:
        """The robot is where its pose says: move its camera there, and note the goals of a route that it came to."""
        self._trail.append(self.pose[:2])
        self._place()
        while self.leg < len(self.episode.task.goals) - 1 and self.leg_reached():
            self.leg += 1

    # --- what is measured -------------------------------------------------------------------------------------------

    @cached_property
    def _segmentation(self) -> NDArray[np.int32]:
        """Furniture index of every pixel of the current view; computed when asked for, dropped when the robot moves."""
        if self._renderer is None:
            raise gymnasium.error.ResetNeeded("the environment was closed; call reset() first")
        return self._owner[self._renderer.segmentation(self._data, CAMERA)]

    def target_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the current view that show the current leg's target. Privileged."""
        index = self._owner_index[self.episode.task.goals[self.leg]]
        return np.asarray(self._segmentation == index)

    def leg_reached(self) -> bool:
        """Whether the robot is within the success distance of the current leg's target and sees it. Privileged."""
        x, y, _ = self.pose
        near = self.episode.targets[self.leg].distance(x, y) <= SUCCESS_DISTANCE_M
        return near and int(self.target_mask().sum()) >= self.min_visible_px

    def distance_to_goal(self) -> float:
        """Driving distance from here through the goals that are left, metres. Privileged."""
        return self.episode.fields[self.leg].at(self.pose[0], self.pose[1])

    def _info(self) -> dict[str, Any]:
        distance = self.distance_to_goal()
        efficiency = self._geodesic_m / max(self._geodesic_m, self._path_m)
        return {
            "success": self._success,
            "spl": float(self._success) * efficiency,
            "soft_spl": max(0.0, 1.0 - distance / self._geodesic_m) * efficiency,
            "distance_to_goal": distance,
            "path_length": self._path_m,
            "geodesic_distance": self._geodesic_m,
            "collisions": self._collisions,
        }

    def _observe(self) -> dict[str, Any]:
        if self._renderer is None:
            raise gymnasium.error.ResetNeeded("the environment was closed; call reset() first")
        frame = camera_frame(self._renderer, self._data, CAMERA, self._stamp_s)
        self._rgb = frame.rgb
        x, y, yaw = self.pose
        return observation_dict((frame,), Pose.planar(x, y, yaw), self.episode.task.instruction, self._stamp_s)

    # --- pictures ---------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """The robot's view beside the apartment from above, (H, W, 3); None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('nothing to render: make the environment with render_mode="rgb_array"')
            return None
        episode = self.episode
        if getattr(self, "_overhead_of", None) is not episode:
            self._overhead = OverheadView(episode.model, self._data, episode.apartment, _OVERHEAD_PX)
            self._overhead_of = episode
        centre = episode.goal(self.leg).centre
        goal = float(centre[0]), float(centre[1])
        overhead = self._overhead.draw(self.pose, self._trail, goal, self.embodiment.radius_m)
        return side_by_side(self._rgb, overhead)

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def close(self) -> None:
        """Free the renderer; the environment can be reset again."""
        self._close_renderer()
