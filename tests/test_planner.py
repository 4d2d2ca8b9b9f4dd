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
from si_embodied.errors import BackendError, DeadlineExceeded, PromptTooLong
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.prompts import load_prompt
from si_embodied.skills import Finish, NavigateTo, Rotate
from si_embodied.types import Completion, Prompt

GOTO = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'
HOME = '{"subgoals":[{"skill":"home"}],"done":false}'
STOP = '{"subgoals":[],"done":true}'
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


def thinking_aloud(thought: str, answer: str) -> ScriptedBackend:
    """A backend that thinks before its answer, and keeps the prompts that it was given."""

    class Thinker(ScriptedBackend):
        def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
            prompts.append(prompt.text)
            return dataclasses.replace(super().generate(prompt, deadline_s=deadline_s), thought=thought)

    prompts: list[str] = []
    backend = Thinker(lambda _: answer)
    backend.prompts = prompts  # type: ignore[attr-defined]
    return backend


def test_thoughts_are_in_the_record_and_not_in_the_next_prompt(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """Also those of a plan that had to be asked for again; unprintable characters are replaced."""
    backend = thinking_aloud("the chair \x00 must be behind", TURN)
    planner, memory = Planner(backend, base), Memory()
    for _ in range(2):
        decision = planner.plan(find_chair, wall_ahead, memory)
        assert isinstance(decision, Execute)
        assert decision.record.thoughts == ("the chair \ufffd must be behind",)
        memory = memory.add(Attempt("turn 90", decision.goals[0], wall_ahead.T_map_base, Outcome(Code.OK)))
    assert "turn 90: done" in backend.prompts[1]  # type: ignore[attr-defined]
    assert "must be behind" not in backend.prompts[1]  # type: ignore[attr-defined]
    twice = Planner(thinking_aloud("hm", "no plan"), base).plan(find_chair, wall_ahead, Memory())
    assert (twice.record.code, twice.record.thoughts) == (Code.PLAN_INVALID, ("hm", "hm"))


def test_a_record_without_thoughts_has_none(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    assert decide([TURN], base, wall_ahead, find_chair)[0].record.thoughts == ()


class Forgetful(ScriptedBackend):
    """A backend whose context has room for so many characters and images."""

    def __init__(self, answer: str, *, characters: int = 10_000, images: int = 100) -> None:
        super().__init__(lambda _: answer)
        self.characters, self.images = characters, images
        self.shown: list[Prompt] = []

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        if len(prompt.text) > self.characters or len(prompt.images) > self.images:
            raise PromptTooLong(f"the prompt has {len(prompt.text)} characters and {len(prompt.images)} images")
        self.shown.append(prompt)
        return super().generate(prompt, deadline_s=deadline_s)


def remembering(observation: Observation) -> Memory:
    """Twelve attempts, sixteen objects and four views."""
    (frame,) = observation.frames
    views = tuple(dataclasses.replace(frame, stamp_s=frame.stamp_s - age) for age in (4.0, 3.0, 2.0, 1.0))
    memory = Memory(keyframes=views)
    for number in range(16):
        memory = memory.pointed_at(f"chair {number}", np.array([number, 0.0, 0.0]), frame.stamp_s, None)
    for number in range(12):
        memory = memory.add(Attempt(f"turn {number}", None, observation.T_map_base, Outcome(Code.OK)))
    return memory


def test_a_prompt_beyond_the_models_context_shows_less_of_the_memory(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """The newest half, then half of that. A plan is grounded in the views that it was shown, and the record says it."""
    backend, memory = Forgetful(GOTO.replace('"view":1', '"view":3'), images=3), remembering(wall_ahead)
    decision = Planner(backend, base).plan(find_chair, wall_ahead, memory)
    assert isinstance(decision, Execute)
    (prompt,) = backend.shown
    assert len(prompt.images) == 3
    assert "turn 11: done" in prompt.text
    assert "turn 5: done" not in prompt.text
    assert "chair 15" in prompt.text
    assert "chair 7 " not in prompt.text
    assert "without the oldest part of the memory" in decision.record.message
    assert "5 images" in decision.record.message
    assert decision.record.shortened == 1


def test_a_prompt_that_is_too_long_without_any_memory_holds_the_robot(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """And says why: the model failed in nothing, so it is a refusal and no outage."""
    decision = Planner(Forgetful(TURN, characters=50), base).plan(find_chair, wall_ahead, remembering(wall_ahead))
    assert isinstance(decision, Hold)
    assert decision.code is Code.PROMPT_TOO_LONG
    assert "also without the memory, the prompt has" in decision.message


def test_a_question_again_that_does_not_fit_holds_the_robot(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """The first answer is on record."""
    length = len(load_prompt("nav/v2").render(find_chair, wall_ahead, Memory()).text)
    backend = Forgetful("no plan", characters=length + 20)
    decision = Planner(backend, base).plan(find_chair, wall_ahead, Memory())
    assert (decision.record.code, decision.record.raw_text) == (Code.PROMPT_TOO_LONG, ("no plan",))


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


@pytest.mark.parametrize("ending", [STOP, '{"subgoals":[{"skill":"stop"}],"done":false}'])
@pytest.mark.parametrize(("sure", "goes_on"), [(Certainty(0.69), True), (Certainty(0.71), False), (None, False)])
def test_the_end_of_a_task_must_be_probable_else_the_model_is_asked_what_it_would_do_instead(
    ending: str, sure: Certainty | None, goes_on: bool, base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """The second question excludes every plan that ends the task."""
    asked: list[Prompt] = []

    class Ending(Sure):
        def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
            asked.append(prompt)
            self.answer = ending if len(asked) == 1 else TURN
            return super().generate(prompt, deadline_s=deadline_s)

    decision = Planner(Ending(sure, Certainty(0.2)), base).plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    assert isinstance(decision.goals[0], Rotate if goes_on else Finish)
    assert len(decision.record.raw_text) == len(asked) == 1 + goes_on
    if goes_on:
        assert "0.69" in decision.record.message
        properties = asked[1].schema["properties"]
        skills = {choice["properties"]["skill"]["const"] for choice in properties["subgoals"]["items"]["anyOf"]}
        assert properties["subgoals"]["minItems"] == 1
        assert "goto" in skills
        assert "stop" not in skills


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
