"""The backend of a planner whose plans a person may make in the model's place.

The person's plan takes the way of every plan: prompt, grounding, guard, skills, record. So what they do by hand is a
demonstration in the planner's own terms, and the guard bounds it like the model's.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import BackendError, ConfigError
from si_embodied.plan import Plan, plan_text
from si_embodied.types import Completion

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.types import Prompt

PERSON = "person"
MOST_GIVEN = 8
"""Plans of the person's that wait for the robot."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A prompt and the answer to it."""

    prompt: Prompt
    answer: str
    by_hand: bool


class Wheel:
    """Answers as the model does, or as the person at the wheel says."""

    def __init__(self, model: Backend) -> None:
        """Let the model answer until `by_hand` is set."""
        self._model = model
        self._lock = threading.Lock()  # a question to the model waits for the plan in progress, and the other way round
        self._given: deque[Plan] = deque()
        self.by_hand = False
        self.waiting = False  # for the person's plan
        self.prompt: Prompt | None = None  # the latest
        self.lesson: Lesson | None = None  # the latest; None if its prompt was not answered

    @property
    def info(self) -> BackendInfo:
        """The model's info; by hand, the person is the model."""
        info = self._model.info
        return BackendInfo(PERSON, "none", "none", info.prompts) if self.by_hand else info

    def ready(self) -> bool:
        """Whether a plan may be asked for: by hand, once the person has made one."""
        self.waiting = self.by_hand and not self._given
        return not self.waiting

    def give(self, plan: Plan) -> None:
        """Take a plan of the person's, for after those that they gave before; its views are the observation's.

        Raises:
            ConfigError: too many plans are waiting.
        """
        if len(self._given) >= MOST_GIVEN:
            raise ConfigError(f"{MOST_GIVEN} of your steps are waiting already; let the robot take them first")
        self._given.append(plan)
        self.waiting = False

    def release(self) -> None:
        """Forget what was given."""
        self._given.clear()
        self.waiting, self.lesson = False, None

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The person's plan, or the model's completion; raises what the model raises.

        Raises:
            BackendError: the person pointed at a view that the prompt does not show.
        """
        self.prompt, self.lesson = prompt, None
        if self.by_hand and self._given:
            completion = Completion(plan_text(_numbered(self._given.popleft(), prompt)))
        else:
            with self._lock:
                completion = self._model.generate(prompt, deadline_s=deadline_s)
        self.lesson = Lesson(prompt, completion.text, self.by_hand)
        return completion

    def cancel(self) -> None:
        """Abort the model's completion."""
        self._model.cancel()

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def lock(self) -> threading.Lock:
        """Held while the model plans; hold it to ask the model something else."""
        return self._lock


def _numbered(plan: Plan, prompt: Prompt) -> Plan:
    """The plan with the numbers that the prompt gives its views."""
    numbers = {index: number for number, index in prompt.views.items()}
    subgoals = []
    for subgoal in plan.subgoals:
        view = getattr(subgoal, "view", None)
        if view is not None and view not in numbers:
            shown = ", ".join(frame.name for frame in prompt.frames)
            raise BackendError(f"the prompt {prompt.version} does not show that view to the model; it shows: {shown}")
        subgoals.append(subgoal if view is None else subgoal.model_copy(update={"view": numbers[view]}))
    return plan.model_copy(update={"subgoals": tuple(subgoals)})
