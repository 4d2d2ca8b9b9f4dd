"""The tabletop as a Gymnasium environment: Fetch, a table, and one instruction per episode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np

from si_embodied.arm_actions import DISCRETE_LEVELS, decode_discrete, decode_pose
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number
from si_embodied.envs.mujoco.camera import camera_frame
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M, SceneRenderer
from si_embodied.envs.mujoco.tabletop import REST_S, TabletopWorld
from si_embodied.envs.scenes.tabletop_tasks import TASKS, TabletopTask, draw_task
from si_embodied.envs.spaces import observation_dict, observation_space
from si_embodied.envs.tabletop_truth import TabletopGroundTruth
from si_embodied.errors import ConfigError, SceneError
from si_embodied.robots import FETCH_ARM
from si_embodied.types import ArmState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import CameraFrame

ActionMode = Literal["pose", "discrete"]
ACTION_MODES = ("pose", "discrete")

MOTION_LIMIT_S = FETCH_ARM.control_period_s - REST_S
"""Longest motion of one action; the scene then rests for `REST_S`."""
POSE_STEPS, DISCRETE_STEPS = 60, 15
"""Actions allowed per object to move. EmbodiedBench allows 15 per episode; a pick and place needs eight to ten."""


@dataclass(slots=True)
class _Running:
    """The running episode; `reset` replaces it."""

    task: TabletopTask
    world: TabletopWorld
    truth: TabletopGroundTruth
    step_limit: int
    steps: int = 0
    failures: int = 0  # motions that did not reach their target


class TabletopEnv(gymnasium.Env[dict[str, Any], Any]):
    """Follow an instruction about the objects on a table.

    The episode ends with success as soon as all of the task's objects are in place, released and at rest.

    Actions, by `action_mode`:
        pose: Box (7,): the tool's x, y, z (metres, map), roll, pitch, yaw (radians, map; (pi, 0, yaw) points down) and
            the opening (0 closed to 1 open). The tool moves there in a straight line, within 3 s of simulated time.
        discrete: EmbodiedBench's MultiDiscrete (7,): x, y, z in centimetres from the workspace's lowest corner,
            rotations in 3 degrees from -180, gripper 0 or 1.

    Episodes are truncated after 60 actions (15 in discrete mode) per object that the task moves, unless
    `max_episode_steps` is given.

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
        """Create the environment; nothing is rendered before `reset`.

        Args:
            task: base, stack, sort, spatial, visual or complex.
            image_size: height and width of the images, pixels.
            action_mode: see the class.
            render_mode: None or "rgb_array" (the side camera).
            max_episode_steps: actions until the episode is truncated; None for the task's own limit.
            renderer: as in `select_renderer`; None for the best one on this machine.

        Raises:
            UnknownNameError: unknown task, action mode or render mode.
            ConfigError: a number is out of range.
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
        self.embodiment = replace(FETCH_ARM, action_mode=action_mode)
        cameras = len(self.embodiment.cameras)
        self.observation_space = observation_space(cameras, image_size, image_size, max_range_m=MAX_RANGE_M, arm=True)
        self.action_space = _action_space(action_mode)
        self._running: _Running | None = None
        self._renderer: SceneRenderer | None = None
        self._frames: tuple[CameraFrame, ...] = ()
        self._masks: dict[str, NDArray[np.int32]] = {}

    # --- Gymnasium -------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`."""
        super().reset(seed=seed)
        self._begin(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Move the tool.

        Raises:
            ConfigError: the action has the wrong shape or is not finite, or no episode has started.
        """
        running = self._started
        if self.embodiment.action_mode == "pose":
            target, opening = decode_pose(action)
        else:
            target, opening = decode_discrete(action, self.embodiment)
        reached = running.world.controller.move(target, opening * self.embodiment.max_opening_m, MOTION_LIMIT_S)
        running.world.rest()
        running.steps += 1
        running.failures += not reached
        info = self._info()
        truncated = running.steps >= running.step_limit and not info["success"]
        return self._observe(), float(info["success"]), info["success"], truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """The side camera's image (H, W, 3) of the last observation; None without a render mode."""
        if self.render_mode is None:
            return None
        return self.last_frames[self.embodiment.cameras.index("side")].rgb

    def close(self) -> None:
        """Free the renderer; the environment can be reset again."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # --- privileged -------------------------------------------------------------------------------------------------

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise ConfigError("no episode has started; call reset(seed=...) first")
        return self._running

    @property
    def world(self) -> TabletopWorld:
        """The running episode's physics; this and the next two properties raise ConfigError before `reset`."""
        return self._started.world

    @property
    def ground_truth(self) -> TabletopGroundTruth:
        """The running episode's ground truth."""
        return self._started.truth

    @property
    def episode(self) -> TabletopTask:
        """The running episode's task."""
        return self._started.task

    @property
    def last_frames(self) -> tuple[CameraFrame, ...]:
        """The frames of the last observation."""
        return self._frames

    def give_task(self, task: TabletopTask) -> dict[str, Any]:
        """Begin another task about the objects as they lie now, and observe."""
        world = self.world
        truth = TabletopGroundTruth(world, task.conditions, lambda: self._frames, self._segmentation)
        self._running = _Running(task, world, truth, self._max_steps or _steps_for(task, self.embodiment.action_mode))
        return self._observe()

    def observe(self) -> dict[str, Any]:
        """Observe again without moving, after a caller has changed the physics."""
        return self._observe()

    # --- one episode -----------------------------------------------------------------------------------------------

    def _begin(self, seed: int) -> None:
        rng = np.random.default_rng([seed, TASKS.index(self.task)])
        for _ in range(20):
            drawn = draw_task(self.task, rng)
            world = TabletopWorld(drawn.scene)
            truth = TabletopGroundTruth(world, drawn.conditions, lambda: self._frames, self._segmentation)
            if truth.progress() == 0 and all(world.is_still(item.name) for item in drawn.scene.objects):
                break
        else:
            raise SceneError(f"no {self.task!r} scene comes to rest for seed {seed}; try another seed")
        self.close()
        self._running = _Running(drawn, world, truth, self._max_steps or _steps_for(drawn, self.embodiment.action_mode))
        self._renderer = SceneRenderer(world.model, self._image_size, self._image_size, renderer=self._renderer_name)

    def _observe(self) -> dict[str, Any]:
        world, renderer = self.world, self._open_renderer
        stamp_s = float(world.data.time)
        self._frames = tuple(camera_frame(renderer, world.data, name, stamp_s) for name in self.embodiment.cameras)
        self._masks = {}
        arm = ArmState(world.controller.tool, world.controller.opening_m)
        return observation_dict(self._frames, world.T_map_base, self.episode.instruction, stamp_s, arm)

    @property
    def _open_renderer(self) -> SceneRenderer:
        if self._renderer is None:
            raise ConfigError("the environment was closed; call reset(seed=...) first")
        return self._renderer

    def _segmentation(self, camera: str) -> NDArray[np.int32]:
        """Geom ids (H, W) of a camera's pixels; rendered on demand, at most once per observation."""
        if camera not in self._masks:
            self._masks[camera] = self._open_renderer.segmentation(self.world.data, camera)
        return self._masks[camera]

    def _info(self) -> dict[str, Any]:
        progress = self.ground_truth.progress()
        return {"success": progress == 1.0, "progress": progress, "action_failures": self._started.failures}


def _action_space(mode: ActionMode) -> gymnasium.spaces.Box | gymnasium.spaces.MultiDiscrete[Any]:
    if mode == "discrete":
        return gymnasium.spaces.MultiDiscrete(list(DISCRETE_LEVELS))
    pi = float(np.float32(np.pi))
    lowest, highest = FETCH_ARM.workspace_m
    low = np.array([*lowest, -pi, -pi, -pi, 0.0], dtype=np.float32)
    high = np.array([*highest, pi, pi, pi, 1.0], dtype=np.float32)
    return gymnasium.spaces.Box(low, high, dtype=np.float32)


def _steps_for(task: TabletopTask, mode: ActionMode) -> int:
    return len(task.conditions) * (POSE_STEPS if mode == "pose" else DISCRETE_STEPS)
