"""The planner of EmbodiedBench as a policy: a plan of many actions from each answer, and never a guessed action."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.benchmarking.embodied.answers import parse_seven, parse_skills
from si_embodied.benchmarking.embodied.situation import INVALID
from si_embodied.errors import AnswerCutOff, PlanParseError, PromptTooLong
from si_embodied.plan import Plan
from si_embodied.planning_record import printable
from si_embodied.policies.base import Policy
from si_embodied.types import Code, Completion, Execute, Hold, PlanRecord

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.benchmarking.embodied.prompts import Prompter
    from si_embodied.benchmarking.embodied.situation import Situated, Situation
    from si_embodied.policies.base import Action
    from si_embodied.types import Decision, Observation, Task

DEADLINE_S = 600.0
"""For one answer; EmbodiedBench has no deadline."""
_NO_PLAN = Plan(subgoals=(), done=False)  # of our planner; the answer itself is in the record


class ProtocolPolicy(Policy):
    """Asks for a plan, carries out its actions, and asks again.

    An invalid answer is recorded as `PLAN_INVALID`, and the world is told that there is no plan. A model or server
    that fails ends the run with its `BackendError`: that is not the model's answer.
    """

    def __init__(self, backend: Backend, world: Situated, prompter: Prompter) -> None:
        """Plan with `backend` in `world`."""
        self._backend, self._world, self._prompter = backend, world, prompter
        self._queue: deque[Action] = deque()
        self._decisions: list[Decision] = []

    @property
    def decisions(self) -> list[Decision]:
        """One for each answer."""
        return self._decisions

    def reset(self, task: Task) -> None:
        """Start an episode."""
        self._queue.clear()
        self._decisions = []

    def act(self, observation: Observation) -> Action:
        """The next action of the plan, or `INVALID` or `QUIT`."""
        if self._world.replan:
            self._queue.clear()
        if not self._queue:
            self._queue.extend(self._ask(self._world.situation(), observation.stamp_s))
        return self._queue.popleft()

    def _ask(self, situation: Situation, stamp_s: float) -> tuple[Action, ...]:
        """The actions of the model's next answer, at least one."""
        started_s = time.perf_counter()
        completion, shortened, code, message = Completion(""), 0, Code.OK, ""
        actions: tuple[Action, ...] = (INVALID,)
        try:
            completion, shortened = self._generate(situation)
            actions = self._parse(completion.text, situation)
        except PlanParseError as error:
            code, message = Code.PLAN_INVALID, error.offence
        except AnswerCutOff as error:
            code, message = Code.PLAN_INVALID, str(error)
        latency_s = {**completion.latency_s, "total": time.perf_counter() - started_s}
        self._decisions.append(self._decision(completion, latency_s, code, message, stamp_s, shortened))
        return actions

    def _generate(self, situation: Situation) -> tuple[Completion, int]:
        """The answer, and how often the older half of the past was left out so that the prompt fits the context."""
        shortened = 0
        while True:
            try:
                return self._backend.generate(self._prompter.prompt(situation), deadline_s=DEADLINE_S), shortened
            except PromptTooLong:
                if not situation.past:
                    raise
                situation = replace(situation, past=situation.past[(len(situation.past) + 1) // 2 :])
                shortened += 1

    def _parse(self, text: str, situation: Situation) -> tuple[Action, ...]:
        if situation.skills:
            return parse_skills(text, len(situation.skills))
        found: tuple[Any, ...] = parse_seven(text)
        return tuple(each if isinstance(each, int) else np.array(each) for each in found)

    def _decision(
        self, completion: Completion, latency_s: dict[str, float], code: Code, message: str, stamp_s: float,
        shortened: int,
    ) -> Decision:  # fmt: skip
        info = self._backend.info
        record = PlanRecord(
            stamp_s, self._prompter.version, info.model, info.kernel, info.dtype, (printable(completion.text),),
            completion.prompt_tokens, completion.completion_tokens, latency_s, code, printable(message),
            thoughts=(printable(completion.thought),) if completion.thought else (), shortened=shortened,
        )  # fmt: skip
        return Execute((), (), _NO_PLAN, record) if code is Code.OK else Hold(record)
