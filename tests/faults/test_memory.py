"""Memory runs out, and a task goes on for hours: the planner holds, recovers, and keeps a bounded history."""

from __future__ import annotations

import pytest

from si_embodied import Code, Execute, Hold, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.types import Prompt

TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'


@pytest.mark.promise(recovers="with the next plan")
def test_a_backend_out_of_memory_is_a_hold_and_the_next_plan_works(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    failures = iter([MemoryError()])

    def answer(prompt: Prompt) -> str:
        for error in failures:
            raise error
        return TURN

    planner = Planner(ScriptedBackend(answer), base)
    decision = planner.plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is Code.INTERNAL_ERROR
    assert "MemoryError" in decision.message
    assert isinstance(planner.plan(find_chair, wall_ahead, Memory()), Execute)


def test_the_prompt_of_a_long_task_does_not_grow(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    asked: list[int] = []

    def answer(prompt: Prompt) -> str:
        asked.append(len(prompt.text))
        return TURN

    planner, memory = Planner(ScriptedBackend(answer), base), Memory.for_planner(PlannerConfig(), "navigation")
    for number in range(10_000):
        memory = memory.add(Attempt(f"goto place {number}", None, Pose.identity(), Outcome(Code.OK)))
    assert len(memory.attempts) == memory.kept
    assert memory.forgotten == 10_000 - memory.kept
    assert memory.describe().startswith("9989. goto place 9988")
    planner.plan(find_chair, wall_ahead, memory)
    assert asked[0] < 1000
