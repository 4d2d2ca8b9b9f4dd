"""One decision: executed if every step succeeds, held with a code otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Code, Execute, Hold, Observation, Outcome, Task
from si_embodied.backends import BackendInfo, ScriptedBackend
from si_embodied.certainty import Certainty
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.skills import Finish, NavigateTo, Rotate
from si_embodied.types import Completion, Prompt

GOTO = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'
HOME = '{"subgoals":[{"skill":"home"}],"done":false}'
TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'


def decide(
    answers: list[str], base: MobileBase, observation: Observation, task: Task
) -> tuple[Execute | Hold, ScriptedBackend]:
    backend = ScriptedBackend(answers)
    return Planner(backend, base).plan(task, observation, Memory()), backend


def test_a_plan_becomes_goals(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision, _ = decide([GOTO], base, wall_ahead, find_chair)
    assert isinstance(decision, Execute)
    (goal,) = decision.goals
    assert isinstance(goal, NavigateTo)
    assert decision.record.raw_text == (GOTO,)
    assert decision.record.prompt_version == "nav/v2"
    assert decision.record.code is Code.OK
    assert {"render", "parse", "ground", "guard", "total"} <= set(decision.record.latency_s)


def test_a_plan_with_nothing_left_to_do_is_a_stop(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision, _ = decide(['{"subgoals":[],"done":true}'], base, wall_ahead, find_chair)
    assert isinstance(decision, Execute)
    assert [type(goal) for goal in decision.goals] == [Finish]


def test_subgoals_after_a_stop_are_ignored(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    stop_then_turn = '{"subgoals":[{"skill":"stop"},{"skill":"turn","degrees":90}],"done":true}'
    decision, _ = decide([stop_then_turn], base, wall_ahead, find_chair)
    assert isinstance(decision, Execute)
    assert [type(goal) for goal in decision.goals] == [Finish]


def test_a_bad_answer_is_repaired_once(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision, _ = decide(["I think I will turn.", TURN], base, wall_ahead, find_chair)
    assert isinstance(decision, Execute)
    assert isinstance(decision.goals[0], Rotate)
    assert decision.record.raw_text == ("I think I will turn.", TURN)


class Sure:
    """A backend that gives one answer, and says how sure it is."""

    info = BackendInfo("sure", "none", "none")

    def __init__(self, *certainties: Certainty | None, answer: str = TURN) -> None:
        self.certainties, self.answer = iter(certainties), answer

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        return Completion(self.answer, certainty=next(self.certainties))

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_decision_records_its_probability(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    planner = Planner(Sure(Certainty(0.75, 0.25), Certainty(0.75), None), base)
    records = [planner.plan(find_chair, wall_ahead, Memory()).record for _ in range(3)]
    found = [(record.decision_probability, record.point_probability) for record in records]
    assert found == [(0.75, 0.25), (0.75, None), (None, None)]


def test_an_unsure_decision_is_a_hold_with_its_plan(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """A point's probability is not compared, and a model that does not say how sure it is may go."""
    config = PlannerConfig(min_probability=0.4, look_around=False)
    planner = Planner(Sure(Certainty(0.39), Certainty(0.41, 0.001), None), base, config)
    unsure, sure, silent = (planner.plan(find_chair, wall_ahead, Memory()) for _ in range(3))
    assert isinstance(unsure, Hold)
    assert unsure.code is Code.UNSURE
    assert "0.39" in unsure.message
    assert "0.40" in unsure.message
    assert unsure.plan is not None
    assert unsure.record.decision_probability == 0.39
    assert isinstance(sure, Execute)
    assert isinstance(silent, Execute)


@pytest.mark.parametrize(
    ("kind", "config", "looks"),
    [
        ("navigation", PlannerConfig(Prompts(navigation="nav/v1")), None),
        ("navigation", PlannerConfig(), "look_around"),
        ("navigation", PlannerConfig(look_around=False), None),
        ("manipulation", PlannerConfig(), "home"),
    ],
)
def test_an_unsure_model_looks_again_and_holds_if_that_does_not_help(
    kind: str, config: PlannerConfig, looks: str | None, request: pytest.FixtureRequest, wall_ahead: Observation
) -> None:
    robot, task = (
        request.getfixturevalue(name)
        for name in {"navigation": ("base", "find_chair"), "manipulation": ("arm", "stack_cubes")}[kind]
    )
    config, memory = dataclasses.replace(config, min_probability=0.4), Memory()
    planner = Planner(Sure(*[Certainty(0.3)] * 2, answer=HOME if kind == "manipulation" else TURN), robot, config)
    if looks is not None:
        first = planner.plan(task, wall_ahead, memory)
        assert isinstance(first, Execute)
        assert [subgoal.words for subgoal in first.subgoals] == [looks]
        assert "0.30" in first.record.message
        memory = memory.add(Attempt(looks, first.goals[0], wall_ahead.T_map_base, Outcome(Code.OK)))
    second = planner.plan(task, wall_ahead, memory)
    assert isinstance(second, Hold)
    assert second.code is Code.UNSURE


def test_two_bad_answers_hold_the_robot(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision, _ = decide(["no", "still no", TURN], base, wall_ahead, find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.PLAN_INVALID
    assert "JSON object" in decision.message


def test_the_repair_prompt_quotes_the_offence(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    asked: list[str] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt.text)
        return "no"

    Planner(ScriptedBackend(answer), base).plan(find_chair, wall_ahead, Memory())
    assert len(asked) == 2
    assert "expected one JSON object" in asked[1]


def test_an_empty_plan_that_is_not_done_holds(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision, _ = decide(['{"subgoals":[],"done":false}'], base, wall_ahead, find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.EMPTY_PLAN


def test_a_point_without_depth_holds(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    frame = dataclasses.replace(wall_ahead.frames[0], depth_m=np.zeros((100, 100), dtype=np.float32))
    decision, _ = decide([GOTO], base, dataclasses.replace(wall_ahead, frames=(frame,)), find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.DEPTH_INVALID
    assert decision.plan is not None


def test_subgoals_before_a_refused_one_are_executed(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    frame = dataclasses.replace(wall_ahead.frames[0], depth_m=np.zeros((100, 100), dtype=np.float32))
    both = TURN[: -len('],"done":false}')] + "," + GOTO[len('{"subgoals":[') :].replace("false", "true")
    decision, _ = decide([both], base, dataclasses.replace(wall_ahead, frames=(frame,)), find_chair)
    assert isinstance(decision, Execute)
    assert [type(goal) for goal in decision.goals] == [Rotate]


@pytest.mark.parametrize(
    ("error", "code"),
    [(BackendError("the model is gone"), Code.BACKEND_FAILED), (DeadlineExceeded("slow"), Code.DEADLINE_EXCEEDED)],
)
def test_a_failing_backend_holds_and_says_why(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, error: Exception, code: Code
) -> None:
    def fail(prompt: Prompt) -> str:
        raise error

    decision = Planner(ScriptedBackend(fail), base).plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is code
    assert decision.message == str(error)


def test_the_backend_gets_the_remaining_deadline(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    class Clocked(ScriptedBackend):
        deadline_s = 0.0

        def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
            self.deadline_s = deadline_s
            return super().generate(prompt, deadline_s=deadline_s)

    backend = Clocked([TURN])
    Planner(backend, base, PlannerConfig(deadline_s=3.0)).plan(find_chair, wall_ahead, Memory())
    assert 2.5 < backend.deadline_s <= 3.0


def test_a_stale_image_holds_the_robot(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    decision = Planner(ScriptedBackend([TURN]), base).plan(find_chair, wall_ahead, Memory(), now_s=12.0)
    assert isinstance(decision, Hold)
    assert decision.code is Code.STALE_OBSERVATION
    assert decision.record.raw_text == ()


def test_an_arm_gets_the_manipulation_prompt(arm: TableArm, wall_ahead: Observation, stack_cubes: Task) -> None:
    decision = Planner(ScriptedBackend([TURN, TURN]), arm).plan(stack_cubes, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.record.prompt_version == "manip/v2"
    assert decision.code is Code.PLAN_INVALID
