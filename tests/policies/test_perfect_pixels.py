"""What the planner's backend with perfect perception answers, from a ground truth of its own."""

from __future__ import annotations

import numpy as np
import pytest

from si_embodied.plan import plan_schema
from si_embodied.policies.perfect_pixels import navigation_answer
from si_embodied.types import Prompt


class Visible:
    """A red chair that is in view all the time, at the middle of the image."""

    def at_goal(self) -> bool:
        return False

    def straight_way(self) -> None:
        return None

    def visible_target(self) -> tuple[int, float, float]:
        return 0, 4.5, 4.5

    def target_name(self) -> str:
        return "red chair"


@pytest.mark.parametrize(
    ("attempts", "skill"),
    [
        ("(nothing yet)", "goto"),
        ("1. goto red chair: failed (blocked)", "explore"),
        ("1. plan: failed (depth_ambiguous)", "explore"),
        ("1. plan: failed (no_standoff)", "explore"),  # refused: the robot has not moved
        ("1. goto red chair: failed (no_standoff)", "goto"),  # ended where the map does, nearer than before
        ("1. goto red chair: failed (blocked)\n2. explore: failed (skill_failed)", "goto"),
    ],
)
def test_a_visible_target_is_driven_to_unless_the_last_attempt_would_only_be_repeated(
    attempts: str, skill: str
) -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    prompt = Prompt("nav/v1", "", (attempts, image), plan_schema("navigation", 1))
    plan = navigation_answer(Visible(), prompt)  # type: ignore[arg-type]
    assert [subgoal.skill for subgoal in plan.subgoals] == [skill]
