"""Cell labels and questions agree with what the image shows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from si_embodied.embodiment import TaskKind
from si_embodied.plan import parse_plan
from si_embodied.training.annotations import (
    Annotation,
    ApartmentAnnotation,
    Container,
    FreeSpot,
    HouseholdAnnotation,
    TabletopAnnotation,
    VisibleObject,
    read_annotation,
)
from si_embodied.training.batches import EXPLORE, SKILL_WEIGHT, answered
from si_embodied.training.examples import NO_LABEL, cell_labels
from si_embodied.training.forms import form_for
from si_embodied.training.nano_settings import IMAGE_PROMPTS, NANO_PROMPTS
from si_embodied.training.question_drawing import draw_questions
from si_embodied.training.questions import Question, QuestionCounts, fragment, plan_json, subgoal
from si_embodied.training.scenes import NOTHING, RENDER_PX
from si_embodied.training.vocabulary import make_tokenizer

CATEGORIES, COLOURS = ("cube", "bowl", "chair"), ("red", "blue")
RED, BLUE = "red cube", "blue cube"
ASKED = form_for(IMAGE_PROMPTS, 1)


def visible(number: int, name: str, xy: tuple[float, float], pixels: int = 400) -> VisibleObject:
    colour, category = name.split()
    return VisibleObject(number, name, category, colour, pixels, (100 * number, 500), True, xy)


def table() -> TabletopAnnotation:
    """Red on the left (y up), blue on the right, a bowl between, nearer to blue."""
    return TabletopAnnotation(
        objects=(visible(1, RED, (0.5, 0.3)), visible(2, BLUE, (0.5, -0.1)), visible(3, "red bowl", (0.6, -0.2))),
        pick={RED: (200, 500), BLUE: (700, 510)},
        into={"bowl 0": (750, 400)},
        onto={},
        beside=(FreeSpot(RED, BLUE, "left", (600, 500)),),
        containers=(Container(3, "bowl 0", "red bowl", "bowl", (0.6, -0.2)),),
    )


def flat() -> ApartmentAnnotation:
    seen = (visible(1, "red chair", (1.0, 0.0)), visible(2, "blue chair", (9.0, 0.0), pixels=20))
    return ApartmentAnnotation(seen, ("red chair", "blue chair", "red bowl"), (0.0, 0.0))


def drawn(annotation: Annotation, kind: str, count: int = 200) -> list[Question]:
    rng, counts = np.random.default_rng(0), QuestionCounts(fragments=0, plans=1)
    return [q for _ in range(count) for q in draw_questions(annotation, rng, counts) if q.kind == kind]


def household() -> HouseholdAnnotation:
    """A mug and a hardly visible bowl on a chair; a blue can is in another room."""
    things = (visible(1, "red mug", (1.0, 0.0)), visible(2, "blue bowl", (1.0, 0.2), pixels=11))
    return HouseholdAnnotation((*things, visible(3, "red chair", (1.0, 0.1))), ("red mug", "blue bowl", "blue can"))


@pytest.mark.parametrize("annotation", [table(), flat(), household()])
def test_an_annotation_survives_a_json_round_trip(annotation: Annotation) -> None:
    assert read_annotation(json.loads(json.dumps(dataclasses.asdict(annotation)))) == annotation


def test_a_cell_is_labelled_with_the_object_that_fills_it() -> None:
    instance = np.full((224, 224), 255, np.uint8)
    instance[:112, :112] = 1  # the upper left of four cells
    instance[150:154, 150:154] = 2  # small, but all of it is in the lower right
    objects = visible(1, RED, (0, 0), pixels=112 * 112), visible(2, "blue chair", (0, 0), pixels=16 + 8)
    shown = dataclasses.replace(table(), objects=objects, pick={RED: (250, 260)})
    labels = cell_labels(instance, shown, CATEGORIES, COLOURS, 2)
    assert labels[0].tolist() == [0, 0, 250, 260]
    assert labels[3].tolist() == [2, 1, 200, 500]
    assert (labels[1:3] == NO_LABEL).all()


def test_a_fragment_stops_after_its_point() -> None:
    assert fragment("goto", "red chair", [3, 4]).answer == (
        '{"subgoals":[{"skill":"goto","object":"red chair","view":0,"point":[3,4'
    )


def test_the_planner_parses_every_plan() -> None:
    rng = np.random.default_rng(1)
    cases: tuple[tuple[Annotation, TaskKind], ...] = ((table(), "manipulation"), (flat(), "navigation"))
    for annotation, kind in cases:
        asked = [q for _ in range(50) for q in draw_questions(annotation, rng, QuestionCounts(0, 2))]
        assert len(asked) > 50
        for question in asked:
            parse_plan(question.answer, kind, 1)


def test_the_leftmost_object_has_the_largest_y() -> None:
    asked = [q for q in drawn(table(), "extreme") if "to the left" in str(q.instruction)]
    assert asked
    assert all(f'"object":"{RED}"' in q.answer for q in asked)
    nearest = [q for q in drawn(table(), "extreme") if "nearest" in str(q.instruction)]
    assert nearest
    assert all(f'"object":"{BLUE}"' in q.answer for q in nearest)


def test_household_objects_in_view_are_pointed_at_and_others_are_not() -> None:
    rng, counts = np.random.default_rng(0), QuestionCounts(fragments=9, plans=0)
    asked = [one for _ in range(40) for one in draw_questions(household(), rng, counts)]
    pointed = {(json.loads(one.answer + "]}]}")["subgoals"][0]["object"], one.kind) for one in asked if not one.absent}
    assert pointed == {("red mug", "point pick"), ("red chair", "point place")}
    assert {one.answer.split('"')[9] for one in asked if one.absent} == {"blue can", "red bowl", "blue mug"}


def test_a_household_object_without_a_category_labels_no_cell() -> None:
    instance = np.full((RENDER_PX, RENDER_PX), NOTHING, np.uint8)
    instance[:100, :100], instance[:100, 124:] = 1, 3
    labels = cell_labels(instance, household(), CATEGORIES, COLOURS, 2)
    assert labels[:, 0].tolist() == [NO_LABEL, CATEGORIES.index("chair"), NO_LABEL, NO_LABEL]


def test_hardly_visible_furniture_is_not_asked_for() -> None:
    asked = drawn(flat(), "goto") + drawn(flat(), "explore")
    names = {str(q.instruction).rpartition(" the ")[2] for q in asked}
    assert {"red chair", "red bowl"} <= names
    assert "blue chair" not in names  # 20 pixels of it are in view


@pytest.mark.parametrize(("distance", "near"), [(1.0, True), (5.0, False)])
def test_the_task_ends_only_near_a_target_that_was_driven_up_to(distance: float, near: bool) -> None:
    annotation = dataclasses.replace(flat(), objects=(visible(1, "red chair", (distance, 0.0)),))
    asked = drawn(annotation, "goto")
    arrived = [q for q in asked if q.last == "goto red chair: done"]
    assert 0 < len(arrived) < len(asked)
    for question in asked:
        assert parse_plan(question.answer, "navigation", 1).done is (near and question in arrived)


def test_the_robot_explores_for_objects_that_resemble_visible_ones() -> None:
    objects = (
        visible(1, "red chair", (1.0, 0.0)), visible(2, "blue table", (2.0, 0.0)), visible(3, "red desk", (3, 0))
    )  # fmt: skip
    annotation = ApartmentAnnotation(objects, ("red chair", "blue table", "green sofa"), (0.0, 0.0))
    asked = {str(q.instruction).rpartition(" the ")[2] for q in drawn(annotation, "explore", 600)}
    # Colours and categories of visible objects, recombined with each other and with those of the scene.
    assert {"blue chair", "green chair", "green table", "red sofa", "blue sofa", "green sofa"} <= asked
    # A red desk is in view, and people would call it a table.
    assert not asked & {"red chair", "blue table", "red desk", "red table"}


def test_a_glance_stops_at_the_end_of_the_instruction() -> None:
    rng = np.random.default_rng(0)
    asked = draw_questions(flat(), rng, QuestionCounts(fragments=0, plans=0, glances=40))
    assert {q.kind for q in asked} == {"glance"}
    tokenizer = make_tokenizer()
    for question in asked:
        one = answered(question, ASKED)
        assert tokenizer.decode(one.tokens).endswith(f"Task: {question.instruction}")
        assert one.early is not None
        index, token = one.early
        assert index == len(one.tokens) - 1
        there = "red chair" in str(question.instruction)
        assert tokenizer.decode([token]) == ("100" if there else EXPLORE)  # the point's x


def test_pointing_at_an_absent_object_stops_before_the_point() -> None:
    asked = [q for _ in range(40) for q in draw_questions(flat(), np.random.default_rng(2), QuestionCounts(9, 0))]
    absent = [q for q in asked if q.absent]
    assert absent
    for question in absent:
        one = answered(question, ASKED)
        assert question.answer.endswith('"point":[')
        assert '"blue chair"' not in question.answer  # 20 pixels of it are in view
        assert make_tokenizer().decode([one.tokens[-1]]) == EXPLORE
        assert one.weights[-1] == max(one.weights)


def test_a_plan_becomes_one_step_where_the_prompt_shows_what_was_tried() -> None:
    tabletop, apartment = (form_for(NANO_PROMPTS, world) for world in (0, 1))
    plan = draw_questions(table(), np.random.default_rng(0), QuestionCounts(0, 1))[0]
    pick, place = (f'"skill":"{skill}"' for skill in ("pick", "place"))
    assert pick in plan.answer
    assert place in plan.answer
    steps = {plan.step(np.random.default_rng(seed)) for seed in range(9)}
    assert {(pick in one.answer, place in one.answer) for one in steps} == {(True, False), (False, True)}
    for one in steps:
        asked = make_tokenizer().decode(answered(one, tabletop).tokens)
        assert asked.startswith("1. pick ") == (place in one.answer)
        assert '"view":1' in asked
        assert asked.endswith('"done":false}')
    arrived = Question(
        "find the red chair",
        plan_json([subgoal("goto", "red chair", [1, 2])], done=True),
        "goto",
        "goto red chair: done",
    )
    end = answered(arrived.step(np.random.default_rng(0)), apartment)
    text = make_tokenizer().decode(end.tokens)
    assert text.startswith("1. goto red chair: done\nTo reach: (none)\nReached: goto red chair\nTask:")
    assert text.endswith('{"subgoals":[],"done":true}')
    assert next(weight for weight in end.weights if weight) == SKILL_WEIGHT, "whether anything is left to do"
