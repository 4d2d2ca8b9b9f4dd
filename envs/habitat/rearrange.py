"""Language rearrangement as a Gymnasium environment (`si_embodied/HabitatRearrange-v0`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, SupportsFloat, get_args

import gymnasium
import numpy as np

from si_embodied import robots
from si_embodied.embodiment import SkillRobot
from si_embodied.envs.arguments import IMAGE_SIZES_PX, check_names, check_number, check_step
from si_embodied.envs.habitat.config import SimulatorName
from si_embodied.envs.habitat.household import taking_area
from si_embodied.envs.habitat.rearrange_tasks import (
    REARRANGE_TASKS,
    At,
    Skill,
    draw_rearrangement,
    holds,
    skills_of,
)
from si_embodied.envs.mujoco.renderer import MAX_RANGE_M
from si_embodied.envs.spaces import CHARSET, observation_dict, observation_space
from si_embodied.errors import SceneError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.habitat.rearrange_truth import RearrangeGroundTruth
    from si_embodied.envs.habitat.rearrange_view import RearrangeView
    from si_embodied.envs.habitat.rearrange_world import RearrangeWorld
    from si_embodied.envs.scenes.apartment import Apartment
    from si_embodied.types import CameraFrame

TASKS, ACTION_MODES = REARRANGE_TASKS, ("skill",)
MAX_SKILLS = 70
"""EB-Habitat's number of actions; an episode here offers fewer, and the remaining numbers are invalid."""
MAX_STEPS, MAX_INVALID = 30, 10  # EB-Habitat's limits
_PERIOD_S = 5.0
_SCENES_TRIED = 50


@dataclass(slots=True)
class _Running:
    """The running episode; `reset` replaces it."""

    world: RearrangeWorld
    skills: tuple[Skill, ...]
    areas: NDArray[np.float32]  # of `skill_areas`
    truth: RearrangeGroundTruth
    frame: CameraFrame  # of the last observation
    steps: int = 0
    invalid: int = 0
    path_m: float = 0.0
    feedback: str = "the task begins"
    done: bool = True  # whether the last skill succeeded
    over: bool = False


class HabitatRearrangeEnv(gymnasium.Env[dict[str, Any], Any]):
    """Bring objects where an instruction wants them, by named skills: navigate, pick, place, open, close.

    An action is the number of a skill in the observation's `skills` (one per line). `skill_areas` gives the map area of
    each skill's furniture, `feedback` and `skill_done` the result of the last skill, and `holding` the object in the
    gripper; the rest is the usual observation of the head camera. The episode ends with success as soon as all
    predicates hold. It is truncated after 30 actions or 10 invalid ones, as in EmbodiedBench's EB-Habitat.

    Example:
        >>> import gymnasium, si_embodied.envs
        >>> env = gymnasium.make("si_embodied/HabitatRearrange-v0", task="swap")
        >>> observation, info = env.reset(seed=0)
        >>> env.close()
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012  (as gymnasium.Env has it)
    kind: ClassVar[Literal["rearrangement"]] = "rearrangement"

    def __init__(
        self,
        task: str = "base",
        *,
        simulator: str = "embedded",
        image_size: int = 224,
        action_mode: str = "skill",
        render_mode: str | None = None,
        max_episode_steps: int = MAX_STEPS,
        camera_height_m: float = robots.CAMERA_HEIGHT_M,
        camera_tilt_rad: float = robots.CAMERA_TILT_RAD,
        fov_y_deg: float = robots.CAMERA_FOV_Y_DEG,
    ) -> None:
        """Create the environment; nothing is rendered before `reset`.

        Args:
            task: "base" (one object), "swap" (two), "clear" (all objects of a place), "store" (into a container).
            simulator: "embedded" (MuJoCo renders) or "habitat-sim", which must be installed in this Python.
            image_size: height and width of the images, pixels.
            action_mode: "skill".
            render_mode: None or "rgb_array".
            max_episode_steps: actions until the episode is truncated.
            camera_height_m: of the head camera above the floor.
            camera_tilt_rad: of the head camera at the start, up positive; at furniture, the camera looks at it.
            fov_y_deg: vertical field of view.

        Raises:
            UnknownNameError: unknown task, simulator, action mode or render mode.
            ConfigError: a number is out of range, or habitat-sim is not installed.
        """
        check_names(
            ("task", task, TASKS),
            ("simulator", simulator, get_args(SimulatorName)),
            ("action mode", action_mode, ACTION_MODES),
            ("render mode", render_mode, (None, "rgb_array")),
        )
        check_number("image_size", image_size, *IMAGE_SIZES_PX, unit="pixels")
        check_number("max_episode_steps", max_episode_steps, 1)
        check_number("fov_y_deg", fov_y_deg, 10, 140, unit="degrees")
        from si_embodied.envs.episode import CameraSetup
        from si_embodied.envs.habitat.rearrange_view import make_view
        from si_embodied.envs.habitat.rearrange_world import REACH_M

        self.task, self.render_mode = task, render_mode
        self._max_steps = max_episode_steps
        self._camera = CameraSetup(camera_height_m, 0.0, camera_tilt_rad, math.radians(fov_y_deg))
        self._view: RearrangeView = make_view(simulator, self._camera, image_size)
        self.embodiment = SkillRobot(("head",), "skill", REACH_M, _PERIOD_S)
        self.action_space = gymnasium.spaces.Discrete(MAX_SKILLS)
        space = observation_space(1, image_size, image_size, max_range_m=MAX_RANGE_M)
        words = gymnasium.spaces.Text(6000, min_length=0, charset=CHARSET + "\n")
        extra: dict[str, gymnasium.spaces.Space[Any]] = dict.fromkeys(("skills", "feedback", "holding"), words)
        extra["skill_areas"] = gymnasium.spaces.Box(-1e3, 1e3, (MAX_SKILLS, 2, 2), np.float32)
        extra["skill_done"] = gymnasium.spaces.Box(0, 1, (), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({**space.spaces, **extra})
        self._running: _Running | None = None

    # --- the episode ------------------------------------------------------------------------------------------------

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise gymnasium.error.ResetNeeded("no episode is running; call reset() first")
        return self._running

    @property
    def world(self) -> RearrangeWorld:
        """The running episode's apartment and items; this and the next properties raise ResetNeeded before `reset`."""
        return self._started.world

    @property
    def skills(self) -> tuple[Skill, ...]:
        """The running episode's skills, by number."""
        return self._started.skills

    @property
    def ground_truth(self) -> RearrangeGroundTruth:
        """The running episode's ground truth."""
        return self._started.truth

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`."""
        super().reset(seed=seed)
        del options
        from si_embodied.envs.habitat.rearrange_truth import RearrangeGroundTruth

        world = draw_world(int(self.np_random.integers(2**31)) if seed is None else seed, self.task, self._camera)
        self._view.show(world)
        skills = skills_of(world.task, world.stage.apartment)
        truth = RearrangeGroundTruth(world, skills, self.mask)
        frame = self._view.frame(world.layout(), 0.0)
        self._running = _Running(world, skills, skill_areas(skills, world.stage.apartment), truth, frame)
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute one skill. The reward is the progress made.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: no episode has started, or it is over.
        """
        world, running = self.world, self._started
        check_step(self.action_space, action, over=running.over)
        before = self.progress()
        if int(action) < len(self.skills):
            result = world.do(self.skills[int(action)])
            running.feedback, running.done = result.feedback, result.done
            running.path_m += result.driven_m
        else:
            running.feedback, running.done = f"there is no skill {int(action)}", False
        running.steps += 1
        running.frame = self._view.frame(world.layout(), running.steps * _PERIOD_S)
        running.invalid += not running.done
        info = self._info()
        truncated = not info["success"] and (running.steps >= self._max_steps or running.invalid >= MAX_INVALID)
        running.over = info["success"] or truncated
        return self._observe(), self.progress() - before, info["success"], truncated, info

    def predicates(self) -> tuple[bool, ...]:
        """Whether each condition of the task holds."""
        world = self.world
        return tuple(holds(condition, world.where, frozenset(world.opened)) for condition in world.task.conditions)

    def progress(self) -> float:
        """Fraction of the subgoals reached: objects in their places and, after that, containers closed."""
        subgoals = [done for done, condition in self._subgoals() if isinstance(condition, At) or self._all_at()]
        return sum(subgoals) / len(self.world.task.conditions)

    def _subgoals(self) -> list[tuple[bool, Any]]:
        return list(zip(self.predicates(), self.world.task.conditions, strict=True))

    def _all_at(self) -> bool:
        """Whether all items are in place; before that, a closed container may simply not have been opened yet."""
        return all(done for done, condition in self._subgoals() if isinstance(condition, At))

    # --- observation ------------------------------------------------------------------------------------------------

    def _observe(self) -> dict[str, Any]:
        world, running = self.world, self._started
        stamp_s = running.frame.stamp_s
        observation = observation_dict((running.frame,), world.T_map_base, world.task.instruction, stamp_s)
        observation["skills"] = "\n".join(skill.text for skill in self.skills)
        observation["skill_areas"] = running.areas.copy()
        observation["feedback"] = running.feedback
        observation["skill_done"] = np.array(running.done, np.uint8)
        observation["holding"] = (world.held or "nothing").replace("_", " ")
        return observation

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(H, W), the pixels of the last observation that show an object or a piece of furniture. Privileged."""
        return self._view.mask(self.world.layout(), name)

    def _info(self) -> dict[str, Any]:
        return {
            "success": all(self.predicates()),
            "progress": self.progress(),
            "invalid_actions": self._started.invalid,
            "path_length": self._started.path_m,
            "feedback": self._started.feedback,
        }

    def render(self) -> NDArray[np.uint8] | None:
        """The head camera's last image, (H, W, 3); None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn('nothing to render: create the environment with render_mode="rgb_array"')
            return None
        return self._started.frame.rgb

    def close(self) -> None:
        """Free the renderer; the environment can be reset again."""
        self._view.close()
        self._running = None


def skill_areas(skills: tuple[Skill, ...], apartment: Apartment) -> NDArray[np.float32]:
    """(MAX_SKILLS, 2, 2), the lowest and highest map xy of each skill's furniture; see `taking_area`.

    Zero for skills on objects, which have no fixed place, and for numbers without a skill.
    """
    areas = np.zeros((MAX_SKILLS, 2, 2), np.float32)
    pieces = {piece.name: piece for piece in apartment.furniture}
    for number, skill in enumerate(skills):
        if skill.target in pieces:
            areas[number] = taking_area(pieces[skill.target])
    return areas


def draw_world(seed: int, task: str, camera: Any) -> RearrangeWorld:
    """The apartment and the task of a seed: draws apartments from the seed until one offers such a task.

    Raises:
        SceneError: no apartment offers the task; the generator should never let this happen.
    """
    from si_embodied.envs.habitat.household import CONTAINERS, SURFACES
    from si_embodied.envs.habitat.rearrange_world import RearrangeWorld, free_spots, standing_room
    from si_embodied.envs.habitat.stage import load_stage, stage_name

    for attempt in range(_SCENES_TRIED):
        stage = load_stage(stage_name((seed, attempt)))
        rng = np.random.default_rng((seed, attempt, 10 + TASKS.index(task)))
        takers = [piece for piece in stage.apartment.furniture if piece.category in SURFACES | CONTAINERS]
        reached = [piece for piece in takers if standing_room(stage, piece).any()]
        spots = {piece.name: free_spots(stage, piece) for piece in reached}
        for _ in range(5):
            drawn = draw_rearrangement(stage.apartment, task, {name: len(s) for name, s in spots.items()}, rng)
            if drawn is None:
                continue
            cells = np.argwhere(stage.grid.free)
            row, column = (int(value) for value in cells[int(rng.integers(len(cells)))])
            start = (*stage.grid.point(row, column), float(rng.uniform(-math.pi, math.pi)))
            return RearrangeWorld(stage, drawn, camera, start, spots)
    raise SceneError(f"no {task!r} task in {_SCENES_TRIED} apartments of seed {seed}; this is a bug, please report it")
