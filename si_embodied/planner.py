"""Observation in, decision out: render, generate, parse, ground, guard. Synchronous; the caller passes the time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from si_embodied.config import DEFAULT_PROMPTS, PlannerConfig
from si_embodied.errors import DeadlineExceeded, PlanParseError, PromptTooLong, SiEmbodiedError
from si_embodied.grounding import Grounder
from si_embodied.guard import Guard
from si_embodied.plan import Plan, going_on, parse_plan
from si_embodied.planning_record import RecordDraft, printable
from si_embodied.prompts import load_prompt
from si_embodied.skills import Finish, Home, LookAround
from si_embodied.types import Code, Execute, Hold, Refusal

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend, BackendInfo
    from si_embodied.embodiment import Embodiment
    from si_embodied.memory import Memory
    from si_embodied.skills import Goal, Subgoal
    from si_embodied.types import CameraFrame, Decision, Observation, Prompt, Task


_LOG = logging.getLogger(__name__)


class AnyPlanner(Protocol):
    """The planner interface of workers and policies: `Planner` in this process, `RemotePlanner` over the network."""

    @property
    def config(self) -> PlannerConfig:
        """The planner's settings."""

    @property
    def embodiment(self) -> Embodiment:
        """The robot it plans for."""

    @property
    def guard(self) -> Guard:
        """The guard that checks its goals."""

    @property
    def info(self) -> BackendInfo:
        """The model that answers."""

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """Make one decision; see `Planner.plan`."""

    def cancel(self) -> None:
        """Abort the plan in progress, if any: it becomes a `Hold`. Callable from any thread."""

    def close(self) -> None:
        """Release the model or the connection."""


class _Refused(Exception):
    """Carries a refusal from any step up to `Planner.plan`, which turns it into a `Hold`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Planner:
    """Asks a backend for a plan, grounds its subgoals and returns the goals that pass the guard."""

    def __init__(self, backend: Backend, embodiment: Embodiment, config: PlannerConfig | None = None) -> None:
        """Plan for one robot.

        Args:
            backend: the model.
            embodiment: the robot; determines the skills and the bounds.
            config: defaults to `PlannerConfig()`. Empty prompt versions default to those the model was trained with,
                then to `DEFAULT_PROMPTS`.

        Raises:
            UnknownNameError: a prompt version does not exist.
            ConfigError: a prompt file cannot be read.
        """
        given = config or PlannerConfig()
        self.config = replace(given, prompts=given.prompts.or_else(backend.info.prompts).or_else(DEFAULT_PROMPTS))
        self.backend = backend
        self.embodiment = embodiment
        self.guard = Guard(embodiment, self.config.guard)
        self._grounder = Grounder(embodiment, self.config.grounding)
        self._template = load_prompt(self.config.prompts.version(embodiment.kind)).limited(
            look_around=self.config.look_around, first_camera_only=self.config.first_camera_only
        )
        # A model that is not told what it has done would start over: it may end a task without another look.
        self._confirms_done = self.config.confirm_done and self._template.shows_attempts
        self._canceled_s = -math.inf

    @property
    def info(self) -> BackendInfo:
        """The model that answers."""
        return self.backend.info

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """Make one decision. A refusal is a `Hold` with a code, never an exception and never a guess.

        Even an unforeseen exception becomes a `Hold`, with the code `INTERNAL_ERROR` and a traceback in the log.

        Args:
            task: the instruction.
            observation: what the model sees. Goals are grounded in these images.
            memory: earlier attempts in this episode.
            now_s: the current time on the observation's clock, used to reject a stale image. Defaults to the
                observation's own stamp.
        """
        grid = observation.navigation_map
        draft = RecordDraft(self._template.version, 0.0 if grid is None else grid.floor_m2)
        try:
            plan, goals = self._decide(task, observation, memory, now_s, draft)
        except _Refused as refused:
            refusal = refused.refusal
        except BaseException as error:  # noqa: BLE001 - the last resort: nothing may end the control loop
            refusal = unforeseen(error)
        else:
            record = draft.record(self.info, observation.stamp_s, Refusal(Code.OK, draft.note))
            return Execute(goals, plan.subgoals[: len(goals)], plan, record)
        return Hold(draft.record(self.info, observation.stamp_s, refusal), draft.plan)

    def cancel(self) -> None:
        """Abort the plan in progress, if any, whether or not the model has been asked yet."""
        self._canceled_s = time.perf_counter()
        self.backend.cancel()

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()

    def _decide(
        self, task: Task, observation: Observation, memory: Memory, now_s: float | None, draft: RecordDraft
    ) -> tuple[Plan, tuple[Goal, ...]]:
        """The model's plan, and the goals of its first subgoals, as far as they pass the guard."""
        now_s = observation.stamp_s if now_s is None else now_s
        _raise(self.guard.check_task(task))
        _raise(self.guard.check_observation(observation, now_s))
        _raise(self.guard.check_memory(memory))
        _raise(self._template.check(observation))
        observation = memory.recall(observation)
        plan = draft.plan = self._fitting_plan(task, observation, memory, draft)
        sure = draft.certainty
        unsure = None if sure is None else sure.refusal(self.config.min_probability)
        if unsure is not None:
            plan, draft.note = self._look_again(unsure, memory), unsure.message
        if not plan.subgoals and not plan.done:
            raise _Refused(Refusal(Code.EMPTY_PLAN, "the plan has no subgoals and is not done"))
        goals: list[Goal] = []
        for subgoal in plan.subgoals:
            goal = self._ground(subgoal, observation, memory, goals, draft)
            if isinstance(goal, Refusal):
                if not goals:
                    raise _Refused(goal)
                return plan, tuple(goals)  # execute the goals before the refused one, then plan again
            goals.append(goal)
            if isinstance(goal, Finish):  # ignore any subgoal after it
                return plan, tuple(goals[:-1] if goals[:-1] and self._confirms_done else goals)
        if plan.done and not (goals and self._confirms_done):
            goals.append(Finish())
        return plan, tuple(goals)

    def _fitting_plan(self, task: Task, observation: Observation, memory: Memory, draft: RecordDraft) -> Plan:
        """The model's plan from what it was shown of the memory: less, if the prompt exceeds its context."""
        reasoning = self.config.prompts.reasoning
        for draft.shortened, shown in enumerate(memory.shortened()):
            recalled = shown.recall(observation)
            with draft.timed("render"):
                prompt = _cleaned(self._template.render(task, recalled, shown, reasoning=reasoning))
            try:
                text = self._generate(prompt, draft)
            except PromptTooLong as error:
                draft.note = f"without the oldest part of the memory: {error}"
                too_long = Refusal(Code.PROMPT_TOO_LONG, f"also without the memory, {error}")
                continue
            if draft.shortened:
                prompt = replace(prompt, views=_indices(observation.views, recalled.views, prompt.views))
            return self._unless_unsure_of_the_end(self._parse(text, prompt, task, draft), prompt, task, draft)
        raise _Refused(too_long)

    def _unless_unsure_of_the_end(self, plan: Plan, prompt: Prompt, task: Task, draft: RecordDraft) -> Plan:
        """The plan; or if it ends the task and the model is not sure of that, what the model would do instead."""
        sure, least = draft.certainty, self.config.min_done_probability
        if not plan.ends or sure is None or sure.decision >= least:
            return plan
        draft.note = (
            f"the model is unsure that the task is done ({sure.decision:.2f}, less than {least:.2f}); it goes on"
        )
        prompt = replace(prompt, schema=going_on(prompt.schema))
        return self._parse(self._generate(prompt, draft), prompt, task, draft)

    def _look_again(self, unsure: Refusal, memory: Memory) -> Plan:
        """What an unsure model does first: look around, or take the arm out of the view. It holds if it just has."""
        looks: dict[str, Subgoal] = {"manipulation": Home()}
        if "keyframes" in self._template.shown and self.config.look_around:
            looks["navigation"] = LookAround()
        look = looks.get(self.embodiment.kind)
        if look is None or (memory.attempts and memory.attempts[-1].description == look.words):
            raise _Refused(unsure)
        return Plan(subgoals=(look,), done=False)

    def _ground(
        self, subgoal: Subgoal, observation: Observation, memory: Memory, earlier: Sequence[Goal], draft: RecordDraft
    ) -> Goal | Refusal:
        """Ground one subgoal and check the goal, which runs after `earlier` ones, with the guard."""
        with draft.timed("ground"):
            goal = subgoal.ground(observation, self._grounder)
        if isinstance(goal, Refusal):
            return goal
        with draft.timed("guard"):
            return self.guard.check_goal(goal, observation, memory, earlier) or goal

    def _parse(self, text: str, prompt: Prompt, task: Task, draft: RecordDraft) -> Plan:
        """The plan in an answer. If it is not a plan, ask once more and quote the offence."""
        try:
            with draft.timed("parse"):
                return parse_plan(text, task.kind, prompt.views)
        except PlanParseError as error:
            prompt = _cleaned(self._template.ask_again(prompt, error.offence))
        try:
            text = self._generate(prompt, draft)
            with draft.timed("parse"):
                return parse_plan(text, task.kind, prompt.views)
        except PromptTooLong as error:
            raise _Refused(Refusal(Code.PROMPT_TOO_LONG, f"asking again: {error}")) from error
        except PlanParseError as error:
            message = f"two answers in a row were not a plan; the second: {error.offence}"
            raise _Refused(Refusal(Code.PLAN_INVALID, message)) from error

    def _generate(self, prompt: Prompt, draft: RecordDraft) -> str:
        """The backend's answer, unless it is late or not text; `PromptTooLong` is left to the caller."""
        left_s = self.config.deadline_s - draft.elapsed_s()
        if left_s <= 0:
            message = f"the deadline of {self.config.deadline_s} s left no time to ask again"
            raise _Refused(Refusal(Code.DEADLINE_EXCEEDED, message))
        if self._canceled_s >= draft.started_s:
            raise _Refused(Refusal(Code.BACKEND_FAILED, "canceled before the model was asked"))
        try:
            with draft.timed("generate"):
                completion = self.backend.generate(prompt, deadline_s=left_s)
        except DeadlineExceeded as error:
            raise _Refused(Refusal(Code.DEADLINE_EXCEEDED, str(error))) from error
        except PromptTooLong:
            raise
        except SiEmbodiedError as error:
            raise _Refused(Refusal(Code.BACKEND_FAILED, str(error))) from error
        if not isinstance(completion.text, str):
            words = f"the backend answered with {type(completion.text).__name__} instead of text"
            raise _Refused(Refusal(Code.BACKEND_FAILED, words))
        draft.take(completion)
        if draft.elapsed_s() > self.config.deadline_s:
            message = f"the answer came after {draft.elapsed_s():.2f} s, later than {self.config.deadline_s} s"
            raise _Refused(Refusal(Code.DEADLINE_EXCEEDED, message))
        return completion.text


def unforeseen(error: BaseException) -> Refusal:
    """Log an exception that nobody foresaw, with its traceback, and turn it into a refusal.

    That includes the panics of Rust libraries (tokenizers, llguidance), which are no `Exception`. Requests to end the
    process are raised again.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    _LOG.error("planning failed unexpectedly; the robot holds", exc_info=error)
    return Refusal(Code.INTERNAL_ERROR, f"{type(error).__name__}: {error}"[:500])


def _indices(
    every: Sequence[CameraFrame], shown: Sequence[CameraFrame], numbers: Mapping[int, int]
) -> Mapping[int, int]:
    """From the numbers of shown views, as in `numbers`, to their indices among every view."""
    index = {(view.name, view.stamp_s): position for position, view in enumerate(every)}
    return {number: index[shown[i].name, shown[i].stamp_s] for number, i in numbers.items()}


def _cleaned(prompt: Prompt) -> Prompt:
    """The prompt with printable text: instructions, feedback and offences come from outside."""
    content = tuple(printable(part) if isinstance(part, str) else part for part in prompt.content)
    return replace(prompt, content=content)


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _Refused(refusal)
