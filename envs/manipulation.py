"""The tabletop world as a Gymnasium environment: Fetch, a table, and one instruction an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np

from si_embodied.arm_actions import DISCRETE_LEVELS, decode_discrete, decode_pose
from si_embodied.embodiment import TableArm
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number
from si_embodied.envs.mujoco.camera import camera_frame
from si_embodied.envs.mujoco.fetch import FINGER_DEPTH_M, HOME_M, MAX_OPENING_M
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M, SceneRenderer
from si_embodied.envs.mujoco.tabletop import CAMERAS, REST_S, TabletopWorld
from si_embodied.envs.scenes.tabletop_tasks import TASKS, TabletopTask, draw_task
from si_embodied.envs.spaces import observation_dict, observation_space
from si_embodied.envs.tabletop_truth import TabletopGroundTruth
from si_embodied.errors import ConfigError, SceneError
from si_embodied.types import ArmState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import CameraFrame

ActionMode = Literal["pose", "discrete"]
ACTION_MODES = ("pose", "discrete")

WORKSPACE_M = ((0.0, -0.62, 0.60), (1.0, 0.38, 1.60))
"""A cube of 1 m, so that EmbodiedBench's 0..100 along each axis are centimetres in it."""
REACH_M = 0.87
"""From the shoulder to the tool where it still points straight down, measured; the arm's own length is more."""
CONTROL_PERIOD_S = 3.0
POSE_STEPS, DISCRETE_STEPS = 60, 15
"""Actions for one object to move; EmbodiedBench gives 15 an episode. A pick and place needs eight to ten."""


class TabletopEnv(gymnasium.Env[dict[str, Any], Any]):
    """Follow an instruction about what stands on a table.

    The episode ends with success as soon as all conditions of the task hold in the physics: let go, at rest, in place.

    Actions, by `action_mode`:
        pose: Box (7,): the tool's x, y, z (metres, map), roll, pitch, yaw (radians, map; (pi, 0, yaw) points down) and
            the opening (0 closed to 1 open). The tool moves there in a straight line, in at most 3 s of simulated time.
        discrete: EmbodiedBench's MultiDiscrete (7,): x, y, z in centimetres from the workspace's lowest corner,
            rotations in 3 degrees from -180, gripper 0 or 1.

    Episodes are cut after 60 actions (15 in discrete mode) for each object that the task moves, unless
    `max_episode_steps` says otherwise.

    Example:
        >>> import gymnasium
        >>> import si_embodied.envs
        >>> env = gymnasium.make("si_embodied/Tabletop-v0", task="stack")
        >>> observation, info = env.reset(seed=0)
        >>> observation["rgb"].shape
        (3, 224, 224, 3)
        >>> env.close()
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012  (as gymnasium.Env has it)
    kind: Literal["manipulation"] = "manipulation"

    def __init__(
        self,
        task: str = "base",
        *,
        image_size: int = 224,
        action_mode: ActionMode = "pose",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        renderer: str | None = None,
    ) -> None:
        """Make the environment.

        Args:
            task: base, stack, sort, spatial, visual or complex.
            image_size: side of the square images, pixels.
            action_mode: see the class.
            render_mode: None or "rgb_array" (the side camera).
            max_episode_steps: actions before the episode is cut; None for the task's own.
            renderer: as in `select_renderer`; None to choose by what this machine has.

        Raises:
            UnknownNameError: no such task, action mode or render mode.
            ConfigError: a number out of range.
        """
        check_names(
            ("task", task, TASKS),
            ("action mode", action_mode, ACTION_MODES),
            ("render mode", render_mode, (None, "rgb_array")),
        )
        check_number("image_size", image_size, *IMAGE_SIZES_PX, unit="pixels")
        check_number("max_episode_steps", max_episode_steps, 1)
        self.task, self.render_mode = task, render_mode
        self._image_size, self._max_steps, self._renderer_name = image_size, max_episode_steps, renderer
        self.embodiment = TableArm(
            cameras=CAMERAS,
            action_mode=action_mode,
            workspace_m=WORKSPACE_M,
            shoulder_m=(0.0326, 0.0, 0.976),
            reach_m=REACH_M,
            max_opening_m=MAX_OPENING_M,
            finger_depth_m=FINGER_DEPTH_M,
            home_m=HOME_M,
            control_period_s=CONTROL_PERIOD_S,
        )
        self.observation_space = observation_space(
            len(CAMERAS), image_size, image_size, max_range_m=MAX_RANGE_M, arm=True
        )
        self.action_space = _action_space(action_mode)
        self._world: TabletopWorld | None = None
        self._renderer: SceneRenderer | None = None

    # --- Gymnasium -------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of a seed; without one, of the next seed that `np_random` draws."""
        super().reset(seed=seed)
        episode = int(self.np_random.integers(2**31)) if seed is None else seed
        self._begin(episode)
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Move the tool.

        Raises:
            ConfigError: the action has another shape, or is not finite, or the episode has not begun.
        """
        world = self.world
        if self.embodiment.action_mode == "pose":
            target, opening = decode_pose(action)
        else:
            target, opening = decode_discrete(action, self.embodiment)
        reached = world.controller.move(target, opening * MAX_OPENING_M, CONTROL_PERIOD_S - REST_S)
        world.rest()
        self._steps += 1
        self._failures += not reached
        info = self._info()
        truncated = self._steps >= self._limit and not info["success"]
        return self._observe(), float(info["success"]), info["success"], truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """The side view (H, W, 3), of the last observation."""
        if self.render_mode is None:
            return None
        return self.last_frames[CAMERAS.index("side")].rgb

    def close(self) -> None:
        """Give the renderer's resources back."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # --- for whoever may look inside -------------------------------------------------------------------------------

    @property
    def world(self) -> TabletopWorld:
        """The physics.

        Raises:
            ConfigError: before the first reset.
        """
        if self._world is None:
            raise ConfigError("call reset(seed=...) first: there is no episode yet")
        return self._world

    @property
    def last_frames(self) -> tuple[CameraFrame, ...]:
        """The frames of the last observation."""
        return self._frames

    def observe(self) -> dict[str, Any]:
        """Look again without moving; after the physics was changed from outside."""
        return self._observe()

    # --- one episode -----------------------------------------------------------------------------------------------

    def _begin(self, seed: int) -> None:
        rng = np.random.default_rng([seed, TASKS.index(self.task)])
        for _ in range(20):
            drawn = draw_task(self.task, rng)
            world = TabletopWorld(drawn.scene)
            truth = TabletopGroundTruth(world, drawn.conditions, lambda: self._frames, self._segmentation)
            if truth.progress() == 0 and all(world.is_still(thing.name) for thing in drawn.scene.objects):
                break
        else:
            raise SceneError(f"no {self.task!r} scene at rest was found for seed {seed}")
        self.close()
        self._world, self.ground_truth, self.episode = world, truth, drawn
        self._renderer = SceneRenderer(world.model, self._image_size, self._image_size, renderer=self._renderer_name)
        self._steps = self._failures = 0
        self._limit = self._max_steps or _steps_for(drawn, self.embodiment.action_mode)

    def _observe(self) -> dict[str, Any]:
        world, renderer = self.world, self._open_renderer
        stamp_s = float(world.data.time)
        self._frames = tuple(camera_frame(renderer, world.data, name, stamp_s) for name in CAMERAS)
        self._masks: dict[str, NDArray[np.int32]] = {}
        arm = ArmState(world.controller.tool, world.controller.opening_m)
        return observation_dict(self._frames, world.T_map_base, self.episode.instruction, stamp_s, arm)

    @property
    def _open_renderer(self) -> SceneRenderer:
        if self._renderer is None:
            raise ConfigError("this environment was closed; call reset(seed=...) to start an episode")
        return self._renderer

    def _segmentation(self, camera: str) -> NDArray[np.int32]:
        """Drawn only when it is asked for, once an observation."""
        if camera not in self._masks:
            self._masks[camera] = self._open_renderer.segmentation(self.world.data, camera)
        return self._masks[camera]

    def _info(self) -> dict[str, Any]:
        progress = self.ground_truth.progress()
        return {"success": progress == 1.0, "progress": progress, "action_failures": self._failures}


def _action_space(mode: ActionMode) -> gymnasium.spaces.Box | gymnasium.spaces.MultiDiscrete[Any]:
    if mode == "discrete":
        return gymnasium.spaces.MultiDiscrete(list(DISCRETE_LEVELS))
    pi = float(np.float32(np.pi))
    low = np.array([*WORKSPACE_M[0], -pi, -pi, -pi, 0.0], dtype=np.float32)
    high = np.array([*WORKSPACE_M[1], pi, pi, pi, 1.0], dtype=np.float32)
    return gymnasium.spaces.Box(low, high, dtype=np.float32)


def _steps_for(task: TabletopTask, mode: ActionMode) -> int:
    return len(task.conditions) * (POSE_STEPS if mode == "pose" else DISCRETE_STEPS)
