"""The planner as a policy: decide, carry the goals out with skills, remember how it went, decide again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import open_planner
from si_embodied.embodiment import Embodiment, SkillRobot
from si_embodied.errors import ConfigError
from si_embodied.memory import Memory
from si_embodied.policies.controllers import Controller, make_controller
from si_embodied.task import TaskProgress
from si_embodied.types import Hold, Latency, Outcome
from si_embodied.worker import PlannerWorker

if TYPE_CHECKING:
    from pathlib import Path

    import gymnasium

    from si_embodied.config import PlannerConfig
    from si_embodied.planner import AnyPlanner
    from si_embodied.policies.base import Action, Skill
    from si_embodied.types import Decision, Observation, Task

_MOST_SKILLS_A_STEP = 8
"""A skill that ends without an action lets the next one begin in the same step; a plan has at most a few."""


class SpatialPlannerPolicy:
    """Plans and acts with skills, on the observations' clock. Sees observations only.

    >>> env = gymnasium.make("si_embodied/Apartment-v0")
    >>> policy = SpatialPlannerPolicy.for_env(env)
    """

    def __init__(self, planner: AnyPlanner, *, latency: Latency = 0.0, owns_planner: bool = False) -> None:
        """Make a policy for one robot.

        Args:
            planner: decides, here or on another machine; its robot decides the skills and the bounds.
            latency: seconds of the observations' clock that a plan takes while the world goes on; "measured" is what
                the plan took on this machine, 0 stops the world while the planner thinks. A robot of skills has no
                action that lets time pass, so it takes 0 alone.
            owns_planner: close the planner with the policy.
        """
        if latency != "measured" and not 0 <= latency < float("inf"):
            raise ConfigError(f"expected a latency of 'measured' or of seconds >= 0, got: {latency!r}")
        if latency != 0 and isinstance(planner.embodiment, SkillRobot):
            raise ConfigError(f"expected a latency of 0 for a robot of skills, which cannot wait, got: {latency!r}")
        self.config = planner.config
        self._planner, self._owns_planner = planner, owns_planner
        self._now_s = 0.0
        self._worker = PlannerWorker(
            planner,
            lambda: self._now_s,
            latency=(lambda measured_s: measured_s) if latency == "measured" else lambda _: float(latency),
        )
        self._controller: Controller = make_controller(planner.embodiment)
        self._progress: TaskProgress | None = None
        self._skill: Skill | None = None
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
        """A policy for an environment's robot, with a model of its own; close it when done.

        Args:
            env: has an `embodiment`, as the environments of this package and those of docs/evaluation.md have.
            model: as `si_embodied.open_planner` takes it; None is the small planner that comes with the package.
            config: the planner's settings.
            latency: see `SpatialPlannerPolicy`.

        Raises:
            ConfigError: the environment's robot is of no kind that the planner plans for.
            SiEmbodiedError: the model cannot be opened, see `open_planner`.
        """
        embodiment = embodiment_of(env)
        planner = open_planner(BackendConfig() if model is None else model, embodiment, config)
        return cls(planner, latency=latency, owns_planner=True)

    def reset(self, task: Task) -> None:
        """Start an episode; whatever is being planned is dropped."""
        kind = self._planner.embodiment.kind
        if task.kind != kind:
            raise ConfigError(f"this policy drives a robot for {kind}, got a task of kind {task.kind!r}")
        self._worker.reset()
        self._controller.reset()
        self._progress = TaskProgress(task, Memory(self.config.memory_entries))
        self._skill = None
        self.decisions = []

    def act(self, observation: Observation) -> Action:
        """The next action: the skill's under way, or waiting while a decision is made or refused."""
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
        """Stop planning."""
        self._worker.close()
        if self._owns_planner:
            self._planner.close()

    def _advance(self, progress: TaskProgress, observation: Observation) -> Action | None:
        """An action, or None when a skill ended or began and the next thing can start."""
        if progress.end is not None:
            return self._controller.finished(observation)
        if self._skill is not None:
            result = self._skill.step(observation)
            if not isinstance(result, Outcome):
                return result
            self._skill = None
            progress.finished(result)
            return None
        step = progress.next_step(observation.T_map_base)
        if step is not None:
            self._skill = self._controller.skill(step.goal)
            return None
        if progress.end is None:
            return self._decide(progress, observation)
        return None

    def _decide(self, progress: TaskProgress, observation: Observation) -> Action | None:
        """Ask the planner, or look whether its answer is there."""
        if not self._worker.busy:
            self._worker.submit(progress.task, self._controller.prepare(observation), progress.memory)
        decision = self._worker.poll()
        if decision is None:
            return self._controller.wait(observation)
        self.decisions.append(decision)
        progress.decided(decision, observation)
        holds = isinstance(decision, Hold) and progress.end is None
        return self._controller.wait(observation) if holds else None


def embodiment_of(env: gymnasium.Env[Any, Any]) -> Embodiment:
    """The robot of an environment.

    Raises:
        ConfigError: it is of no kind that the planner plans for.
    """
    world: Any = env.unwrapped
    robot = world.embodiment
    if isinstance(robot, Embodiment):
        return robot
    kinds = ", ".join(kind.__name__ for kind in get_args(Embodiment))
    raise ConfigError(
        f"the planner plans for {kinds}, not for a {type(robot).__name__}; random and oracle can act there"
    )
