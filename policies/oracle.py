"""The oracle acts on the simulator's privileged ground truth. Its score is an upper bound for planners."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast, get_args

from si_embodied.embodiment import TableArm, TaskKind
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.policies.base import Policy
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.skills import Grasp, Release
from si_embodied.types import Outcome

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.ground_truth import ManipulationGroundTruth, ManipulationStep
    from si_embodied.policies.skills import Action, Skill
    from si_embodied.types import Observation, Task


class OraclePolicy(Policy):
    """Follows the shortest path, picks and places at exact poses, or calls the next skill, depending on the robot."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Use the ground truth of `env`.

        Raises:
            ConfigError: the environment has no ground truth of a known kind.
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
        """The next action. The arm's state comes from `observation`, everything else from the simulator."""
        if self._arm is not None:
            return self._arm.act(observation, self._world.ground_truth)
        return cast("Action", self._world.ground_truth.next_action())


class _ArmOracle:
    """Executes the task's next steps with the same skills as a planner."""

    def __init__(self, arm: TableArm) -> None:
        self._skills = ArmSkills(arm)
        self._skill: Skill | None = None

    def reset(self) -> None:
        self._skills.reset()
        self._skill = None

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
            self._skill = None
        return self._skills.wait(observation)


def _goal(step: ManipulationStep) -> Grasp | Release:
    if step.kind == "place":
        return Release(step.position_m)
    pose = Pose.from_rpy(math.pi, 0.0, step.yaw_rad, step.position_m)
    return Grasp(pose, step.width_m, step.grasp_height_m)
