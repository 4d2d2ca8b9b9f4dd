"""Decisions as lines of JSON, and how two decisions are compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from si_embodied.certainty import Certainty
from si_embodied.config import Prompts
from si_embodied.errors import BackendError, DataError, DeadlineExceeded, PromptTooLong
from si_embodied.geometry import Pose
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import Plan
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord, RememberedView
from si_embodied.ros_nodes.recording.replay import RecordedAnswers, apart, verdict
from si_embodied.skills import Goto, NavigateTo, Rotate, Turn
from si_embodied.types import ArmState, Code, Decision, Execute, Hold, Outcome, PlanRecord, Prompt, Task

CHAIR = Goto(object="chair", view=0, point=(500, 600))
PROMPT = Prompt("nav/v1", "", ("where?",), {})


def plan_record(code: Code = Code.OK, *answers: str) -> PlanRecord:
    return PlanRecord(7.25, "nav/v1", "some-model", "sdpa", "bfloat16", answers, 10, 5, {"total": 0.5}, code, "")


def going(x: float, y: float = 0.0, *, thing: str = "chair") -> Execute:
    """Drive to a chair at (x + 1, y)."""
    goal = NavigateTo(Pose.planar(x, y, 0.3), np.array([x + 1.0, y, 0.4]))
    subgoals = (CHAIR.model_copy(update={"object": thing}),)
    return Execute((goal,), subgoals, Plan(subgoals=subgoals, done=False), plan_record())


def turning() -> Execute:
    subgoals = (Turn(degrees=90),)
    plan = Plan(subgoals=subgoals, done=False)
    return Execute((Rotate(1.5708),), subgoals, plan, plan_record())


def holding(code: Code) -> Hold:
    return Hold(plan_record(code))


def full() -> DecisionRecord:
    """A record with a value in every field."""
    attempt = Attempt("goto chair", going(0.1).goals[0], Pose.planar(1, 2, 3), Outcome(Code.BLOCKED, "a cat"))
    return DecisionRecord(
        task=Task("go to the chair", "navigation"),
        decision=going(1 / 3),
        decided_s=1_700_000_000.123456789,
        settings=dataclasses.replace(NodeSettings(), cameras=("head", "wrist"), kind="navigation"),
        topics={"head": CameraTopics("/r/head/image_raw", "/r/head/depth", "/r/head/camera_info")},
        views={"head": 1_700_000_000.1, "wrist": 1_700_000_000.2},
        asked_s=1_700_000_000.3,
        memory=Memory(12, (attempt,), 3),
        arm=ArmState(Pose.planar(0.1, 0.2, 0.3), 0.05),
        remembered=(RememberedView("head", 1_699_999_990.5), RememberedView("head", 1_699_999_999.0)),
        unmapped=({"head": 1.5}, {"head": 2.5}),
        fresh=True,
    )


def test_a_record_survives_a_round_trip_exactly() -> None:
    record = full()
    line = record.to_json()
    again = DecisionRecord.from_json(line)
    assert "\n" not in line
    assert again.to_json() == line
    assert (again.views, again.unmapped, again.settings) == (record.views, record.unmapped, record.settings)
    assert again.remembered == record.remembered
    assert verdict(record.decision, again.decision) == "identical"
    assert np.array_equal(again.memory.attempts[0].T_map_base.rotation, record.memory.attempts[0].T_map_base.rotation)


def test_records_of_version_0_1_0_stay_readable() -> None:
    """Written by that version's own code."""
    written = Path(__file__).with_name("records_0_1_0.jsonl").read_text(encoding="utf-8").splitlines()
    plan, hold = map(DecisionRecord.from_json, written)
    assert plan.decision.record == plan_record()
    assert plan.decision.plan == going(1 / 3).plan
    assert verdict(plan.decision, going(1 / 3)) == "identical"
    assert plan.settings.planner.prompts == Prompts("nav/v1", "manip/v1", "rearrange/v1")
    assert isinstance(hold.decision, Hold)
    assert hold.decision.code is Code.NO_DEPTH


def test_records_without_probabilities_stay_readable() -> None:
    plain = json.loads(full().to_json())
    for name in ("decision_probability", "point_probability", "thoughts", "shortened"):
        del plain["decision"][1]["record"][name]
    assert DecisionRecord.from_json(json.dumps(plain)).decision.record == full().decision.record


def test_a_recorded_answer_is_as_sure_as_the_model_was() -> None:
    """So that a replayed plan is refused with `UNSURE` where the recorded one was."""
    model = RecordedAnswers()
    for certainty in (Certainty(0.5, 0.25), Certainty(0.5), None):
        decision, point = (None, None) if certainty is None else (certainty.decision, certainty.point)
        model.load(
            dataclasses.replace(plan_record(Code.OK, "{}"), decision_probability=decision, point_probability=point)
        )
        assert model.generate(PROMPT, deadline_s=1.0).certainty == certainty


def test_recorded_thoughts_come_with_their_answers() -> None:
    model = RecordedAnswers()
    model.load(dataclasses.replace(plan_record(Code.PLAN_INVALID, "first", "second"), thoughts=("hm", "so")))
    given = [model.generate(PROMPT, deadline_s=1.0) for _ in range(2)]
    assert [(each.thought, each.text) for each in given] == [("hm", "first"), ("so", "second")]


def test_a_recorded_prompt_that_was_too_long_is_too_long_again() -> None:
    """As often as it was shortened, so that the answer meets the same views; without an answer, for ever."""
    model = RecordedAnswers()
    model.load(dataclasses.replace(plan_record(Code.OK, "{}"), shortened=2))
    for _ in range(2):
        with pytest.raises(PromptTooLong):
            model.generate(PROMPT, deadline_s=1.0)
    assert model.generate(PROMPT, deadline_s=1.0).text == "{}"
    model.load(dataclasses.replace(plan_record(Code.PROMPT_TOO_LONG), shortened=1))
    for _ in range(3):
        with pytest.raises(PromptTooLong):
            model.generate(PROMPT, deadline_s=1.0)


def test_records_of_format_3_stay_readable() -> None:
    """They called the observations to be mapped keyframes, and remembered neither views nor objects."""
    plain = json.loads(full().to_json())
    plain["format"], plain["keyframes"] = 3, plain.pop("unmapped")
    del plain["remembered"], plain["memory"]["objects"]
    record = DecisionRecord.from_json(json.dumps(plain))
    assert record.unmapped == full().unmapped
    assert (record.remembered, record.memory.objects) == ((), ())


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1}', json.dumps({"format": 2})])
def test_an_invalid_record_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match="record"):
        DecisionRecord.from_json(text)


@pytest.mark.parametrize(
    ("a", "b", "expected", "metres"),
    [
        (going(1), going(1), "identical", 0.0),
        (going(1), going(1.3, 0.4), "same skills", 0.5),
        (going(1), going(1, thing="stool"), "same skills", 0.0),
        (going(1), turning(), "different", None),
        (going(1), holding(Code.DEPTH_INVALID), "different", None),
        (holding(Code.DEPTH_INVALID), holding(Code.DEPTH_INVALID), "identical", None),
        (holding(Code.DEPTH_INVALID), holding(Code.TOO_FAR), "different", None),
    ],
)
def test_decisions_are_compared_by_code_skills_and_metres(
    a: Decision, b: Decision, expected: str, metres: float | None
) -> None:
    assert verdict(a, b) == expected
    assert apart(a, b) == (metres if metres is None else pytest.approx(metres))


def test_recorded_answers_are_repeated_and_then_fail_as_the_model_did() -> None:
    model = RecordedAnswers()
    model.load(plan_record(Code.PLAN_INVALID, "first", "second"))
    assert [model.generate(PROMPT, deadline_s=1.0).text for _ in range(2)] == ["first", "second"]
    model.load(plan_record(Code.DEADLINE_EXCEEDED))
    with pytest.raises(DeadlineExceeded):
        model.generate(PROMPT, deadline_s=1.0)
    model.load(plan_record(Code.BACKEND_FAILED))
    with pytest.raises(BackendError):
        model.generate(PROMPT, deadline_s=1.0)
    assert model.info.model == "some-model"
