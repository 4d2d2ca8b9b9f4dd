"""A backend of your own: answers every prompt by a rule. Yours would call a model.

planner = Planner(TurnAndLook(), embodiment)
"""

from __future__ import annotations

from si_embodied.backends import BackendInfo
from si_embodied.errors import DeadlineExceeded
from si_embodied.types import Completion, Prompt


class TurnAndLook:
    """Turns to the left until the prompt's memory says that it has turned around, then stops."""

    info = BackendInfo(model="turn-and-look", kernel="none", dtype="none")

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Plan one quarter turn, or stop."""
        if deadline_s <= 0:
            raise DeadlineExceeded(f"no time to answer: deadline_s is {deadline_s}")
        turns = prompt.text.count("turn 90: done")
        subgoal = '{"skill": "turn", "degrees": 90}' if turns < 4 else '{"skill": "stop"}'
        return Completion(f'{{"subgoals": [{subgoal}], "done": false}}')

    def cancel(self) -> None:
        """Answers take no time."""

    def close(self) -> None:
        """Nothing is held open."""
