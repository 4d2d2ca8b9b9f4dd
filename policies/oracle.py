"""The oracle: acts on the simulator's privileged ground truth. It bounds what a planner can reach; it is no planner."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from si_embodied.embodiment import TableArm, TaskKind
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.skills import Grasp, Release
from si_embodied.types import Outcome

if TYPE_CHECKING:
    import gymnasium
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.policies.base import Action, Skill
    from si_embodied.types import Observation, Task


class NavigationGroundTruth(Protocol):
    """What an apartment knows of its episode."""

    def next_action(self) -> Action:
        """The next action on the shortest path, in the environment's action mode; stop at the end."""

    def visible_target(self) -> tuple[int, float, float] | None:
        """(view, u, v): a pixel well inside the current leg's target as last observed, None if it is not."""

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link, radians and metres, to drive next where the goal is a place near by.

        None where the goal is a thing, or a place whose way is seen far enough to be pointed at.
        """

    def at_goal(self) -> bool:
        """Whether stopping now is success."""

    def target_name(self) -> str:
        """A noun phrase for the current leg's target, like "red chair"."""


class ManipulationStep(Protocol):
    """One pick or place that the task lacks."""

    @property
    def kind(self) -> Literal["pick", "place"]:
        """What to do."""

    @property
    def object_name(self) -> str:
        """What to grasp, or what to put it on or in."""

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,), the tool's when it grasps, or the surface to rest on, in the map."""

    @property
    def yaw_rad(self) -> float:
        """The tool's when it grasps."""

    @property
    def width_m(self) -> float:
        """The object's along the closing direction."""

    @property
    def grasp_height_m(self) -> float:
        """The tool's above the object's support when it grasps."""


class ManipulationGroundTruth(Protocol):
    """What a tabletop knows of its episode."""

    def next_step(self) -> ManipulationStep | None:
        """The next step from the physics as it is, None when the task is done."""

    def pixel_of(self, step: Any) -> tuple[int, float, float] | None:
        """(view, u, v) of the last observation that a perfect pointer gives for a step, None where nothing shows it."""


class RearrangementGroundTruth(Protocol):
    """What a household knows of its episode."""

    def next_action(self) -> Action:
        """The number of the next skill that the task lacks."""

    def seen_step(self) -> tuple[str, str, tuple[int, float, float] | None] | None:
        """(skill, words, pixel) of a perfect perceiver's next step, None when the task is done.

        The pixel (view, u, v) is None for what points at nothing: "navigate" and "explore".
        """


class OraclePolicy:
    """The shortest path, picks and places at exact poses, or the skills that are missing, by the kind of the robot."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Look into `env`.

        Raises:
            ConfigError: it has no ground truth of a kind known here.
        """
        world = cast("Any", env.unwrapped)
        kind = getattr(world, "kind", None)
        if kind not in get_args(TaskKind):
            raise ConfigError(f"the oracle needs an environment of ours with ground truth, got: {type(world).__name__}")
        self._world = world
        self._arm = _ArmOracle(world.embodiment) if isinstance(getattr(world, "embodiment", None), TableArm) else None

    def reset(self, task: Task) -> None:
        """Start an episode."""
        if self._arm is not None:
            self._arm.reset()

    def act(self, observation: Observation) -> Action:
        """The next action; `observation` says where the arm is, the simulator all else."""
        if self._arm is not None:
            return self._arm.act(observation, self._world.ground_truth)
        return cast("Action", self._world.ground_truth.next_action())

    def close(self) -> None:
        """Nothing is held."""


class _ArmOracle:
    """Carries out the steps that are missing with the same skills as a planner."""

    def __init__(self, arm: TableArm) -> None:
        self._skills = ArmSkills(arm)
        self.reset()

    def reset(self) -> None:
        self._skills.reset()
        self._skill: Skill | None = None
        self.outcomes: list[Outcome] = []

    def act(self, observation: Observation, truth: ManipulationGroundTruth) -> Action:
        for _ in range(4):  # a skill may end without an action
            if self._skill is None:
                step = truth.next_step()
                if step is None:
                    break
                self._skill = self._skills.skill(_goal(step))
            result = self._skill.step(observation)
            if not isinstance(result, Outcome):
                return result
            self.outcomes.append(result)
            self._skill = None
        return self._skills.wait(observation)


def _goal(step: ManipulationStep) -> Grasp | Release:
    if step.kind == "place":
        return Release(step.position_m)
    pose = Pose.from_rpy(math.pi, 0.0, step.yaw_rad, step.position_m)
    return Grasp(pose, step.width_m, step.grasp_height_m)
