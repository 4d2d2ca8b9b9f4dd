"""Answers in EmbodiedBench's format: what is read, what is rejected, and the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from si_embodied.benchmarking.embodied.answers import MAX_ACTIONS, answer_schema, parse_seven, parse_skills, text_schema
from si_embodied.benchmarking.embodied.situation import INVALID, QUIT
from si_embodied.errors import PlanParseError
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.constraint import Grammars, longest_answer_bytes

ACTION = [52, 40, 24, 120, 60, 60, 1]
SKILLS = ("navigate to the table", "pick up the mug")


def answer(plan: Any) -> str:
    texts = dict.fromkeys(("visual_state_description", "reasoning_and_reflection", "language_plan"), "words")
    return json.dumps({**texts, "executable_plan": plan})


@pytest.mark.parametrize(
    "plan", [[ACTION], str([ACTION]), f"({ACTION},)", [{"action": ACTION}], [{"action": str(ACTION)}], [str(ACTION)]]
)
def test_every_spelling_of_seven_integers_that_embodiedbench_reads_is_read(plan: Any) -> None:
    assert parse_seven(answer(plan)) == (tuple(ACTION),)


def test_a_plan_inside_properties_and_code_fences_is_read() -> None:
    inside = json.dumps({"properties": {"executable_plan": [ACTION]}})
    assert parse_seven(f"Here it is:\n```json\n{inside}\n```") == (tuple(ACTION),)


def test_a_plan_after_thinking_is_read() -> None:
    assert parse_seven(f"<think>left or right</think>\n{answer([ACTION])}") == (tuple(ACTION),)


def test_line_breaks_inside_a_text_do_not_matter() -> None:
    assert parse_seven('{"language_plan": "1.\n2.", "executable_plan": [[1, 2]]}') == ((1, 2),)


@pytest.mark.parametrize(
    "text",
    ["", "pick up the cube", "[1, 2]", "{}", answer("pick up"), answer([["a"] * 7]), answer([{"act": ACTION}]),
     answer([[True] * 7]), answer(3), answer(None), answer("[" * 5000), '{"executable_plan": [[1, 2'],
)  # fmt: skip
def test_anything_else_is_no_plan(text: str) -> None:
    with pytest.raises(PlanParseError):
        parse_seven(text)


def test_a_wrong_number_of_integers_is_left_for_the_world_to_judge() -> None:
    assert parse_seven(answer([[1, 2, 3], ACTION])) == ((1, 2, 3), tuple(ACTION))


def test_an_empty_plan_quits() -> None:
    assert parse_seven(answer([])) == (QUIT,)
    assert parse_skills(answer([]), 2) == (QUIT,)


def ids(*numbers: Any) -> str:
    return answer([{"action_id": number, "action_name": "words"} for number in numbers])


def test_action_ids_are_read_up_to_the_first_that_does_not_exist() -> None:
    assert parse_skills(ids(0, 1, 0), 2) == (0, 1, 0)
    assert parse_skills(ids(1, 2, 0), 2) == (1,)
    assert parse_skills(ids(2, 0), 2) == (INVALID,)
    assert parse_skills(ids(-1), 2) == (INVALID,)


@pytest.mark.parametrize("text", [ids("1"), ids(1.5), ids(True), answer(["navigate"]), answer([1])])
def test_ids_that_are_no_numbers_are_no_plan(text: str) -> None:
    with pytest.raises(PlanParseError):
        parse_skills(text, 2)


def allowed(schema: dict[str, Any], plan: Any) -> bool:
    """Whether a decoder that is bound to the schema can write the answer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(shipped_checkpoint() / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    constraint = Grammars(tokenizer.to_str(), vocabulary_size=tokenizer.get_vocab_size(), end_token=end).start(schema)
    tokens = tokenizer.encode(json.dumps(json.loads(answer(plan)), separators=(",", ":"))).ids
    return constraint.fits(tokens) == len(tokens)


@pytest.mark.parametrize(
    ("skills", "plan", "fits"),
    [
        ((), [ACTION], True), ((), [ACTION] * MAX_ACTIONS, True), ((), [], False), ((), [ACTION[:6]], False),
        ((), [[101, *ACTION[1:]]], False), ((), [[*ACTION[:6], 2]], False), ((), [ACTION] * (MAX_ACTIONS + 1), False),
        (SKILLS, [{"action_id": 1, "action_name": SKILLS[1]}], True),
        (SKILLS, [{"action_id": 0, "action_name": SKILLS[1]}], False), (SKILLS, [], False),
    ],
)  # fmt: skip
def test_bound_answers_are_plans_within_the_ranges_and_never_empty(
    skills: tuple[str, ...], plan: Any, fits: bool
) -> None:
    assert allowed(answer_schema(skills, 20), plan) is fits


def test_a_decoder_can_bound_every_answer() -> None:
    longest = "x" * 20
    text = json.dumps({**dict.fromkeys(json.loads(answer(0)), longest), "executable_plan": [[100] * 7] * MAX_ACTIONS})
    assert len(text.replace(" ", "")) <= longest_answer_bytes(answer_schema((), 20))
    assert longest_answer_bytes(text_schema(20)) >= longest_answer_bytes(answer_schema((), 20))
