"""The planner as a policy: decide, carry the goals out with skills, remember how it went, decide again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from si_embodied.embodiment import SkillRobot
from si_embodied.errors import ConfigError
from si_embodied.memory import Attempt, Memory
from si_embodied.policies.controllers import Controller, make_controller
from si_embodied.types import Code, Finish, Hold, Outcome
from si_embodied.worker import PlannerWorker

if TYPE_CHECKING:
    from si_embodied.planner import AnyPlanner
    from si_embodied.policies.base import Action, Skill
    from si_embodied.types import Decision, Execute, Goal, Observation, Task

Latency: TypeAlias = float | Literal["measured"]

GIVE_UP_AFTER_HOLDS = 5
"""Refusals in a row, each with the last one in its prompt, before the policy ends its task."""


class SpatialPlannerPolicy:
    """Plans and acts with skills, on the observations' clock. Sees observations only."""

    def __init__(self, planner: AnyPlanner, *, latency: Latency = 0.0) -> None:
        """Make a policy for one robot.

        Args:
            planner: decides, here or on another machine; its robot decides skills and bounds.
            latency: seconds of the observations' clock that a plan takes while the world goes on; "measured" takes
                what the plan took on this machine, 0 stops the world while the planner thinks. A robot of skills has
                no action that lets time pass: 0 alone.
        """
        if latency != "measured" and not 0 <= latency < float("inf"):
            raise ConfigError(f"expected a latency of 'measured' or of seconds >= 0, got: {latency!r}")
        if latency != 0 and isinstance(planner.embodiment, SkillRobot):
            raise ConfigError(f"expected a latency of 0 for a robot of skills, which cannot wait, got: {latency!r}")
        self.config = planner.config
        self._planner = planner
        self._now_s = 0.0
        self._worker = PlannerWorker(
            self._planner,
            lambda: self._now_s,
            latency=(lambda measured_s: measured_s) if latency == "measured" else lambda _: float(latency),
        )
        self._controller: Controller = make_controller(planner.embodiment)
        self._task: Task | None = None
        self.decisions: list[Decision] = []

    def reset(self, task: Task) -> None:
        """Start an episode; whatever is being planned is dropped."""
        kind = self._planner.embodiment.kind
        if task.kind != kind:
            raise ConfigError(f"this policy drives a robot for {kind}, got a task of kind {task.kind!r}")
        self._task = task
        self._worker.reset()
        self._controller.reset()
        self._memory = Memory(self.config.memory_entries)
        self._pending: deque[tuple[Goal, str]] = deque()
        self._skill: tuple[Skill, Attempt] | None = None
        self._holds = 0
        self._finished = False
        self.decisions = []

    def act(self, observation: Observation) -> Action:
        """The next action: the skill's under way, or waiting while a decision is made or refused."""
        if self._task is None:
            raise ConfigError("call reset(task) before act(observation)")
        self._now_s = observation.stamp_s
        self._controller.update(observation)
        # A skill that ends without an action lets the next begin in the same step; a plan has at most a few.
        for _ in range(8):
            if self._finished:
                return self._controller.finished(observation)
            action = self._advance(observation)
            if action is not None:
                return action
        return self._controller.wait(observation)

    def close(self) -> None:
        """Stop planning."""
        self._worker.close()

    def _advance(self, observation: Observation) -> Action | None:
        """One skill's action, or None when something ended and the next thing can start."""
        if self._skill is not None:
            skill, attempt = self._skill
            result = skill.step(observation)
            if not isinstance(result, Outcome):
                return result
            self._end_skill(attempt, result)
            return None
        if self._pending:
            self._start_skill(*self._pending.popleft(), observation)
            return None
        return self._decide(observation)

    def _start_skill(self, goal: Goal, description: str, observation: Observation) -> None:
        if isinstance(goal, Finish):
            self._finished = True
            return
        attempt = Attempt(description, goal, observation.T_map_base, Outcome(Code.OK))
        self._skill = (self._controller.skill(goal), attempt)

    def _end_skill(self, attempt: Attempt, outcome: Outcome) -> None:
        self._skill = None
        self._memory = self._memory.add(Attempt(attempt.description, attempt.goal, attempt.T_map_base, outcome))
        if not outcome.succeeded:
            self._pending.clear()  # what was to follow was planned for a success

    def _decide(self, observation: Observation) -> Action | None:
        """Ask, or look whether the answer is there."""
        assert self._task is not None  # act() has checked
        if not self._worker.busy:
            self._worker.submit(self._task, self._controller.prepare(observation), self._memory)
        decision = self._worker.poll()
        if decision is None:
            return self._controller.wait(observation)
        self.decisions.append(decision)
        if isinstance(decision, Hold):
            self._holds += 1
            refused = Attempt("plan", None, observation.T_map_base, Outcome(decision.code, decision.message))
            self._memory = self._memory.add(refused)
            self._finished = self._holds >= GIVE_UP_AFTER_HOLDS
            return None if self._finished else self._controller.wait(observation)
        self._holds = 0
        self._pending.extend(_described(decision))
        return None


def _described(decision: Execute) -> list[tuple[Goal, str]]:
    """Each goal with the words that the next prompt shows for it; a `Finish` of `done` has no subgoal of its own."""
    words = [f"{subgoal.skill} {getattr(subgoal, 'object', '')}".strip() for subgoal in decision.subgoals]
    words += ["stop"] * (len(decision.goals) - len(words))
    return list(zip(decision.goals, words, strict=True))
