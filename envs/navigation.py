"""The Apartment: a robot with a head camera finds furniture in an apartment (`si_embodied/Apartment-v0`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, SupportsFloat, get_args

import gymnasium
import numpy as np
from numpy.typing import NDArray

from si_embodied import robots
from si_embodied.embodiment import BaseAction
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number, check_step
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M, select_renderer
from si_embodied.envs.spaces import observation_dict, observation_space
from si_embodied.geometry import Pose

select_renderer()  # before mujoco is first imported, which reads the choice

from si_embodied.envs.apartment_view import ApartmentView  # noqa: E402
from si_embodied.envs.base_motion import drive, slide  # noqa: E402
from si_embodied.envs.episode import SUCCESS_DISTANCE_M, CameraSetup, Episode, draw_episode  # noqa: E402
from si_embodied.envs.ground_truth import NavigationGroundTruth  # noqa: E402
from si_embodied.envs.overhead import OverheadView, side_by_side  # noqa: E402
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS  # noqa: E402

ActionMode = Literal["discrete", "continuous"]
TASKS, ACTION_MODES = NAVIGATION_TASKS, get_args(ActionMode)
STEPS_PER_GOAL = 500  # Habitat's limit for one goal
_MIN_VISIBLE_PX_AT_224 = 40
_OVERHEAD_PX = 448


@dataclass(slots=True)
class _Progress:
    """What has happened in the running episode; `start_episode` replaces it."""

    geodesic_m: float  # from the start
    trail: list[tuple[float, float]]  # map positions of the base
    stamp_s: float = 0.0
    steps: int = 0
    path_m: float = 0.0
    collisions: int = 0
    success: bool = False
    over: bool = False


class ApartmentEnv(gymnasium.Env[dict[str, Any], Any]):
    """A disc-shaped base with one RGB-D camera in a procedural apartment; every episode is a function of its seed.

    The robot succeeds if it stops within 1 m of the target's surface and sees it. A route's earlier goals count as
    reached when the robot is within 1 m and sees them. Metrics are Habitat's: SPL (Anderson et al., arXiv 1807.06757)
    and SoftSPL.

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
        camera_height_m: float = robots.CAMERA_HEIGHT_M,
        camera_pan_rad: float = 0.0,
        camera_tilt_rad: float = robots.CAMERA_TILT_RAD,
        fov_y_deg: float = robots.CAMERA_FOV_Y_DEG,
        room_count: int | None = None,
        renderer: str | None = None,
    ) -> None:
        """Create the environment; nothing is rendered before `reset`.

        Args:
            task: "objectnav", "spatial" or "route".
            image_size: height and width of the images, pixels.
            action_mode: "discrete" (`BaseAction`) or "continuous" (forward speed m/s, turn rate rad/s, stop > 0.5).
            render_mode: None or "rgb_array".
            max_episode_steps: steps until the episode is truncated; None for Habitat's 500 per goal of the task.
            camera_height_m: of the head camera above the floor.
            camera_pan_rad: of the head camera, left positive.
            camera_tilt_rad: of the head camera at the start, up positive.
            fov_y_deg: vertical field of view.
            room_count: 2 to 5; None draws it from the seed.
            renderer: as in `select_renderer`.

        Raises:
            UnknownNameError: unknown task, action mode or render mode.
            ConfigError: a number is out of range.
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
        self.embodiment = robots.FETCH_BASE if self.discrete else robots.FETCH_BASE_CONTINUOUS
        self.min_visible_px = max(1, round(_MIN_VISIBLE_PX_AT_224 * (image_size / 224) ** 2))
        self.ground_truth = NavigationGroundTruth(self)
        self.observation_space = observation_space(1, image_size, image_size, max_range_m=MAX_RANGE_M)
        highest = np.array([self.embodiment.max_speed_m_s, self.embodiment.max_turn_rate_rad_s, 1.0], np.float32)
        self.action_space: gymnasium.spaces.Space[Any] = (
            gymnasium.spaces.Discrete(len(BaseAction))
            if self.discrete
            else gymnasium.spaces.Box(np.array([-highest[0], -highest[1], 0.0], np.float32), highest)
        )
        self._image_size, self._max_steps, self._room_count = image_size, max_episode_steps, room_count
        self._renderer_name = renderer
        self._view: ApartmentView | None = None
        self._overhead: OverheadView | None = None
        self._episode: Episode | None = None
        self._rgb = np.zeros((image_size, image_size, 3), np.uint8)
        self._progress = _Progress(0.0, [])
        self.pose = (0.0, 0.0, 0.0)  # x, y in metres and yaw in radians, map
        self.tilt = camera_tilt_rad  # of the head camera, radians, up positive
        self.leg = 0  # index of the goal under way

    # --- the episode ------------------------------------------------------------------------------------------------

    @property
    def episode(self) -> Episode:
        """The running episode.

        Raises:
            gymnasium.error.ResetNeeded: no episode has started.
        """
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._episode

    @property
    def _open_view(self) -> ApartmentView:
        if self._view is None:
            raise gymnasium.error.ResetNeeded("the environment was closed; call reset() first")
        return self._view

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`."""
        super().reset(seed=seed)
        del options
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self.start_episode(draw_episode(episode_seed, self.task, self.camera, self._room_count))
        return self._observe(), self._info()

    def start_episode(self, episode: Episode) -> None:
        """Put the robot at the start of an episode from `draw_episode` or `build_episode`."""
        self.close()
        self._episode = episode
        self._view = ApartmentView(episode.scene, episode.model, self.camera, self._image_size, self._renderer_name)
        # An episode that goes on where the last one ended may start at its goal.
        self._progress = _Progress(max(episode.geodesic_m, 1e-6), [episode.start[:2]])
        self.pose, self.tilt, self.leg = episode.start, self.camera.tilt_rad, 0
        self._view.place(self.pose, self.tilt)

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Run one control period. The reward is Habitat's: metres driven towards the goal, and 2.5 for success.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: no episode has started, or it is over.
        """
        goals, progress = self.episode.task.goals, self._progress
        check_step(self.action_space, action, over=progress.over)
        before = self.distance_to_goal()
        stopped = self._move_discrete(int(action)) if self.discrete else self._move_continuous(action)
        progress.steps += 1
        progress.stamp_s += self.embodiment.control_period_s
        self._arrive()
        if stopped:
            progress.success = self.leg == len(goals) - 1 and self.leg_reached()
        truncated = not stopped and progress.steps >= (self._max_steps or STEPS_PER_GOAL * len(goals))
        progress.over = stopped or truncated
        reward = before - self.distance_to_goal() + (2.5 if progress.success else 0.0)
        return self._observe(), reward, stopped, truncated, self._info()

    def _move_discrete(self, action: int) -> bool:
        """Move by one discrete action; returns whether the robot stops for good."""
        (x, y, yaw), body = self.pose, self.embodiment
        match action:
            case BaseAction.FORWARD:
                nx, ny, touched = slide(self.episode.obstacles, body.radius_m, x, y, yaw, body.forward_step_m)
                self._drove((nx, ny, yaw), math.hypot(nx - x, ny - y), touched)
            case BaseAction.TURN_LEFT | BaseAction.TURN_RIGHT:
                turn = body.turn_step_rad if action == BaseAction.TURN_LEFT else -body.turn_step_rad
                self.pose = x, y, math.remainder(yaw + turn, 2 * math.pi)
            case BaseAction.LOOK_UP | BaseAction.LOOK_DOWN:
                tilt = self.tilt + (body.tilt_step_rad if action == BaseAction.LOOK_UP else -body.tilt_step_rad)
                self.tilt = min(max(tilt, body.tilt_range_rad[0]), body.tilt_range_rad[1])
        return action == BaseAction.STOP

    def _move_continuous(self, action: NDArray[np.float32]) -> bool:
        """Drive for one control period; returns whether the robot stops for good."""
        if action[2] > 0.5:
            return True
        self.drive(float(action[0]), float(action[1]), self.embodiment.control_period_s)
        return False

    def _drove(self, pose: tuple[float, float, float], length_m: float, touched: bool) -> None:
        self.pose = pose
        self._progress.path_m += length_m
        self._progress.collisions += touched

    # --- for a caller that runs its own clock, such as the simulated robot over ROS ---------------------------------

    def drive(self, speed_m_s: float, turn_rate_rad_s: float, period_s: float) -> None:
        """Drive for a while, without rendering and without counting a step."""
        obstacles, radius_m = self.episode.obstacles, self.embodiment.radius_m
        x, y, yaw, length, touched = drive(obstacles, radius_m, self.pose, speed_m_s, turn_rate_rad_s, period_s)
        self._drove((x, y, yaw), length, touched)

    def observe(self) -> dict[str, Any]:
        """Observe from the robot's current pose."""
        self._arrive()
        return self._observe()

    def _arrive(self) -> None:
        """Move the camera to the robot's current pose, and mark the route's goals that it has reached."""
        self._progress.trail.append(self.pose[:2])
        self._open_view.place(self.pose, self.tilt)
        while self.leg < len(self.episode.task.goals) - 1 and self.leg_reached():
            self.leg += 1

    # --- measures ---------------------------------------------------------------------------------------------------

    def target_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the current view that show the current leg's target. Privileged."""
        return self._open_view.mask(self.episode.task.goals[self.leg])

    def furniture_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the current view that show any furniture. Privileged."""
        return self._open_view.owned()

    def leg_reached(self) -> bool:
        """Whether the robot is within the success distance of the current leg's target and sees it. Privileged."""
        x, y, _ = self.pose
        near = self.episode.targets[self.leg].distance(x, y) <= SUCCESS_DISTANCE_M
        return near and int(self.target_mask().sum()) >= self.min_visible_px

    def distance_to_goal(self) -> float:
        """Driving distance from here through the remaining goals, metres. Privileged."""
        return self.episode.fields[self.leg].at(self.pose[0], self.pose[1])

    def _info(self) -> dict[str, Any]:
        distance, progress = self.distance_to_goal(), self._progress
        efficiency = progress.geodesic_m / max(progress.geodesic_m, progress.path_m)
        return {
            "success": progress.success,
            "spl": float(progress.success) * efficiency,
            "soft_spl": max(0.0, 1.0 - distance / progress.geodesic_m) * efficiency,
            "distance_to_goal": distance,
            "path_length": progress.path_m,
            "geodesic_distance": progress.geodesic_m,
            "collisions": progress.collisions,
        }

    def _observe(self) -> dict[str, Any]:
        stamp_s = self._progress.stamp_s
        frame = self._open_view.frame(stamp_s)
        self._rgb = frame.rgb
        return observation_dict((frame,), Pose.planar(*self.pose), self.episode.task.instruction, stamp_s)

    # --- rendering --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """The robot's view beside the apartment from above, (H, W, 3); None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('nothing to render: create the environment with render_mode="rgb_array"')
            return None
        centre = self.episode.goal(self.leg).centre
        goal = float(centre[0]), float(centre[1])
        if self._overhead is None:
            view = self._open_view
            self._overhead = OverheadView.of(view.model, view.data, self.episode.apartment, _OVERHEAD_PX)
        overhead = self._overhead.draw(self.pose, self._progress.trail, goal, self.embodiment.radius_m)
        return side_by_side(self._rgb, overhead)

    def close(self) -> None:
        """Free the renderer; the environment can be reset again."""
        if self._view is not None:
            self._view.close()
            self._view = self._overhead = None
