"""The planner as a policy: decide, execute the goals with skills, remember the outcomes, decide again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, get_args

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import open_planner
from si_embodied.embodiment import Embodiment, SkillRobot
from si_embodied.errors import ConfigError
from si_embodied.memory import Memory
from si_embodied.policies.base import ExecutedGoal, Execution
from si_embodied.policies.controllers import Controller, make_controller
from si_embodied.task import TaskProgress
from si_embodied.types import Hold, Latency, Outcome
from si_embodied.worker import PlannerWorker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import gymnasium

    from si_embodied.config import PlannerConfig
    from si_embodied.planner import AnyPlanner
    from si_embodied.policies.base import Action, Skill
    from si_embodied.types import Decision, Observation, Task

_MOST_SKILLS_A_STEP = 8
"""A skill may end without an action, and the next one then starts in the same step. Limits that chain."""


class SpatialPlannerPolicy:
    """Plans and acts with skills, on the observations' clock. It sees observations only.

    >>> env = gymnasium.make("si_embodied/Apartment-v0")
    >>> policy = SpatialPlannerPolicy.for_env(env)
    """

    def __init__(
        self,
        planner: AnyPlanner,
        *,
        latency: Latency = 0.0,
        owns_planner: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Create a policy for one robot.

        Args:
            planner: plans in this process or remotely; its embodiment determines the skills and the bounds.
            latency: how long a plan takes on the observations' clock while the world keeps moving: seconds, or
                "measured" for the time it took on this machine. 0 freezes the world during planning. A skill robot has
                no wait action, so it supports 0 only.
            owns_planner: close the planner together with the policy.
            sleep: waits, in real seconds, before a model or server that has failed is asked again. The world is frozen
                meanwhile, so an outage costs the episode no steps.
            ready: whether a plan may be asked for now; the policy waits while it may not.

        Raises:
            ConfigError: an invalid latency.
        """
        if latency != "measured" and not 0 <= latency < float("inf"):
            raise ConfigError(f"expected latency to be 'measured' or seconds >= 0, got: {latency!r}")
        if latency != 0 and isinstance(planner.embodiment, SkillRobot):
            raise ConfigError(f"expected latency 0 for a skill robot, which cannot wait, got: {latency!r}")
        self.config = planner.config
        self._planner, self._owns_planner, self._sleep, self._ready = planner, owns_planner, sleep, ready
        self._now_s = 0.0
        self._worker = PlannerWorker(
            planner,
            lambda: self._now_s,
            latency=(lambda measured_s: measured_s) if latency == "measured" else lambda _: float(latency),
        )
        self._controller: Controller = make_controller(planner.embodiment)
        self._progress: TaskProgress | None = None
        self._skill: Skill | None = None
        self._asked: tuple[Observation, Memory] | None = None  # of the plan that is being made
        self._planned_from: tuple[Observation, Memory] | None = None  # of the last decision
        self._goals: list[ExecutedGoal] = []
        self.decisions: list[Decision] = []

    @classmethod
    def for_env(
        cls,
        env: gymnasium.Env[Any, Any],
        model: str | Path | BackendConfig | None = None,
        *,
        config: PlannerConfig | None = None,
        latency: Latency = 0.0,
    ) -> SpatialPlannerPolicy:
        """Open a model and create a policy for an environment's robot. Close the policy when done.

        Args:
            env: an environment with an `embodiment`: one from this package, or one as described in docs/evaluation.md.
            model: as for `si_embodied.open_planner`; None opens the small planner shipped with the package.
            config: the planner's settings.
            latency: see `SpatialPlannerPolicy`.

        Raises:
            ConfigError: the planner does not support the environment's robot.
            SiEmbodiedError: the model cannot be opened; see `open_planner`.
        """
        embodiment = embodiment_of(env)
        planner = open_planner(BackendConfig() if model is None else model, embodiment, config)
        return cls(planner, latency=latency, owns_planner=True)

    def reset(self, task: Task) -> None:
        """Start an episode and drop any plan in progress; raise `ConfigError` if the robot is of another kind."""
        kind = self._planner.embodiment.kind
        if task.kind != kind:
            raise ConfigError(f"this policy controls a {kind} robot, got a task of kind {task.kind!r}")
        self._worker.reset()
        self._controller.reset()
        self._progress = TaskProgress(task, Memory.for_planner(self.config, kind))
        self._skill = None
        self._asked = self._planned_from = None
        self._goals = []
        self.decisions = []

    @property
    def execution(self) -> Execution:
        """The executed goals, how the policy ended the task, and what its last decision was made from."""
        progress = self._progress
        if progress is None:
            return Execution()
        planned_from = None
        if self._planned_from is not None:
            observation, memory = self._planned_from
            planned_from = memory.recall(observation)
        return Execution(tuple(self._goals), progress.end, planned_from, progress.memory, progress.step)

    def act(self, observation: Observation) -> Action:
        """The next action: from the current skill, or a wait while the planner is busy or holds."""
        progress = self._progress
        if progress is None:
            raise ConfigError("call reset(task) before act(observation)")
        self._now_s = observation.stamp_s
        self._controller.update(observation)
        for _ in range(_MOST_SKILLS_A_STEP):
            action = self._advance(progress, observation)
            if action is not None:
                return action
        return self._controller.wait(observation)

    def close(self) -> None:
        """Stop planning, and close the planner if the policy owns it."""
        self._worker.close()
        if self._owns_planner:
            self._planner.close()

    def _advance(self, progress: TaskProgress, observation: Observation) -> Action | None:
        """Advance the task by one event: an action, or None if a skill has just ended or started."""
        if progress.end is not None:
            return self._controller.finished(observation)
        if self._skill is not None:
            progress.saw(observation)
            result = self._skill.step(observation)
            if not isinstance(result, Outcome):
                return result
            self._skill = None
            assert progress.step is not None  # the one that the skill executed
            self._goals.append(ExecutedGoal(len(self.decisions) - 1, progress.step.words, result))
            progress.finished(result)
            return None
        stale = self._planner.guard.check_plan_age(progress.stamp_s, self._now_s)
        step = progress.next_step(observation.T_map_base, stale)
        if step is not None:
            self._skill = self._controller.skill(step.goal)
            return None
        if progress.end is None:
            return self._decide(progress, observation)
        return None

    def _decide(self, progress: TaskProgress, observation: Observation) -> Action | None:
        """Submit a request if none is pending, and take the planner's answer if it is ready."""
        if not self._worker.busy:
            if not self._ready():
                return self._controller.wait(observation)
            if progress.pause_s > 0:
                self._sleep(progress.pause_s)
            self._asked = self._controller.prepare(observation), progress.memory
            self._worker.submit(progress.task, *self._asked)
        decision = self._worker.poll()
        if decision is None:
            return self._controller.wait(observation)
        self.decisions.append(decision)
        self._planned_from = self._asked
        progress.decided(decision, observation)
        holding = isinstance(decision, Hold) and progress.end is None
        return self._controller.wait(observation) if holding else None


def embodiment_of(env: gymnasium.Env[Any, Any]) -> Embodiment:
    """The robot of an environment.

    Raises:
        ConfigError: the planner does not support this robot.
    """
    world: Any = env.unwrapped
    robot = world.embodiment
    if isinstance(robot, Embodiment):
        return robot
    kinds = ", ".join(kind.__name__ for kind in get_args(Embodiment))
    raise ConfigError(
        f"the planner supports {kinds}, not {type(robot).__name__}; use the policy random or oracle there"
    )
