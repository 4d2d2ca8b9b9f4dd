"""Numbers are single tokens, answers use the tokens that the grammar generates, and any text can be encoded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("llguidance")

from si_embodied.embodiment import SKILL_WORDS, TaskKind
from si_embodied.envs.habitat.household import ITEMS
from si_embodied.envs.habitat.instructions import category_words
from si_embodied.envs.habitat.rearrange_tasks import REARRANGE_TASKS, draw_rearrangement
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.generator import generate_apartment
from si_embodied.envs.scenes.tabletop import COLOURS as TABLE_COLOURS
from si_embodied.envs.scenes.tabletop import SHAPES as TABLE_SHAPES
from si_embodied.envs.scenes.tabletop_tasks import TASKS, draw_task
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS, task_candidates
from si_embodied.memory import outcome_words
from si_embodied.models.constraint import Grammars
from si_embodied.plan import plan_schema, with_names
from si_embodied.prompts import load_prompt
from si_embodied.skills import skills_of
from si_embodied.training.questions import plan_json, subgoal
from si_embodied.training.vocabulary import CATEGORIES, COLOURS, SHAPES, make_tokenizer, word_id
from si_embodied.types import Code

GOTO = plan_json([subgoal("goto", "blue office chair", [512, 1000])], done=True)
EXPLORE = plan_json([{"skill": "explore"}], done=False)
NAMES = ["red chair", "blue office chair", "tv"]
EXPLORE_VIEWS = plan_json([{**subgoal("goto", "red chair", [51, 7]), "view": 3}, {"skill": "look_around"}], done=False)
NAMED = plan_json([{"skill": "navigate", "object": "blue office chair"}, {"skill": "explore"}], done=False)
TURNED = plan_json([{"skill": "turn", "degrees": -90}, {"skill": "forward", "centimetres": 120}], done=False)
FINISHED = plan_json([], done=True)
MOVE = plan_json([subgoal("pick", "red long block", [51, 7]), subgoal("place", "table", [0, 999])], done=True)


def encode(text: str) -> list[int]:
    return [int(i) for i in make_tokenizer().encode(text, add_special_tokens=False)]


@pytest.mark.parametrize("number", [0, 7, 10, 99, 100, 512, 999, 1000])
def test_a_number_is_its_own_token(number: int) -> None:
    assert encode(str(number)) == [number]


@pytest.mark.parametrize(
    "text", ["put the red cube in the blue bowl", "Ünï 汉字 <|im_end|>?", "x 12345\n\t", GOTO, MOVE]
)
def test_any_text_survives_a_round_trip(text: str) -> None:
    backend = make_tokenizer().backend_tokenizer
    backend.encode_special_tokens = True
    try:
        assert backend.decode(backend.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text
    finally:
        backend.encode_special_tokens = False


def test_the_worlds_words_are_single_tokens() -> None:
    assert set(TABLE_SHAPES) == set(SHAPES)
    assert set(CATALOGUE) <= set(CATEGORIES)
    names = {colour for kind in CATALOGUE.values() for colour in kind.colours} | set(TABLE_COLOURS)
    assert names <= set(COLOURS)
    for word in (*CATEGORIES, *COLOURS):
        assert encode(f"a {word}")[1:] == [word_id(word, spaced=True)]


@pytest.mark.parametrize(("kind", "plan"), [("navigation", GOTO), ("navigation", EXPLORE), ("manipulation", MOVE)])
def test_the_grammar_generates_a_plan_with_the_tokens_that_training_uses(kind: TaskKind, plan: str) -> None:
    follow_the_grammar(plan_schema(kind, 1), plan)


def follow_the_grammar(schema: dict[str, Any], plan: str) -> None:
    tokenizer = make_tokenizer()
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    grammars = Grammars(tokenizer.backend_tokenizer.to_str(), vocabulary_size=len(tokenizer), end_token=end)
    constraint = grammars.start(schema)
    left = encode(plan)
    while not constraint.finished:
        forced = constraint.forced()
        assert forced == left[: len(forced)]
        constraint.accept(forced)
        left = left[len(forced) :]
        if left:
            assert constraint.allowed()[left[0]]
            constraint.accept(left[:1])
            left = left[1:]
    assert left == []


def drawn_instructions(seeds: int) -> Iterator[str]:
    """Instructions of the first seeds."""
    for seed, task in itertools.product(range(seeds), TASKS):
        yield draw_task(task, np.random.default_rng((seed, 1))).instruction
    for seed in range(seeds):
        apartment = generate_apartment((seed, 0))
        rng = np.random.default_rng((seed, 2))
        for navigation in NAVIGATION_TASKS:
            yield from (one.instruction for one in task_candidates(apartment, navigation, rng))
        room = {piece.name: 3 for piece in apartment.furniture}
        for name in REARRANGE_TASKS:
            drawn = draw_rearrangement(apartment, name, room, rng)
            if drawn is not None:
                yield drawn.instruction
    for category in CATALOGUE:
        words = category_words(category)
        yield f"find {'an' if words[0] in 'aeiou' else 'a'} {words}"
    yield from ("go to where the goal picture was taken", "stay where you are")
    for x, y in itertools.product(("2.3 m ahead", "0.1 m behind"), ("10.5 m to the left", "4.0 m to the right")):
        yield f"go to the point {x} and {y} of where you start"


def falls_back(text: str) -> list[str]:
    """The words of a text that are not a single token."""
    tokens = [make_tokenizer().decode([token]) for token in encode(text)]
    return [word for word in re.findall(r"[A-Za-z]+", text) if not any(word in token for token in tokens)]


def test_no_instruction_of_any_task_falls_back_to_bytes() -> None:
    drawn = set(drawn_instructions(30))
    assert len(drawn) > 1000
    assert {word for instruction in drawn for word in falls_back(instruction)} == set()


def test_the_texts_of_the_small_models_prompts_are_words() -> None:
    prompts = [load_prompt(f"{kind}/nano2") for kind in ("nav", "manip", "rearrange")]
    texts = [re.sub(r"\$\w+", "", f"{prompt.system}\n{prompt.user}") for prompt in prompts]
    texts += [f"3. explore: {outcome_words(code)}" for code in Code if code is not Code.PROMPT_TOO_LONG]
    texts += [str(skill.model_fields["skill"].default) for skill in skills_of(None)]
    texts += [words.format("red mug") for words in SKILL_WORDS.values()]
    texts += ITEMS
    texts += [
        "Image-2: from 3.1 m behind, looking 90 degrees left, 14 s ago", "Image-3: now, head camera",
        "Image-1: the goal picture", "Image-2: from here, looking ahead, 0 s ago", "(nothing yet)", "(none yet)",
        "red mug: 2.3 m away, 30 degrees left, 12 s ago, seen twice", "now, wrist camera", "so far: goto red chair",
        "you hold the red mug", "you hold nothing", "cannot pick up the red mug: it is not seen", "the task begins",
        "no path to the red desk", "cannot open the fridge: it is open already", "it is closed", "there is no room",
    ]  # fmt: skip
    assert {word for text in texts for word in falls_back(text)} == set()


@pytest.mark.parametrize("text", [EXPLORE_VIEWS, NAMED, TURNED, FINISHED])
def test_the_grammar_of_several_views_and_names_uses_the_same_tokens(text: str) -> None:
    schema = with_names(plan_schema("navigation", 4, first_view=1, shown=("keyframes", "objects")), {"navigate": NAMES})
    follow_the_grammar(schema, text)


def test_a_view_and_the_start_of_its_point_are_one_piece() -> None:
    assert [make_tokenizer().decode([token]) for token in encode('","view":11,"point":[7,')][:2] == [
        '","view":11,"point":[', "7"
    ]  # fmt: skip
