"""What the planner's backend with perfect perception answers, from a ground truth of its own."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from si_embodied import CameraFrame, Intrinsics, Observation, Pose, Task
from si_embodied.memory import Memory
from si_embodied.policies.perfect_pixels import navigation_answer, perfect_pixels_backend
from si_embodied.prompts import load_prompt


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
    prompt = load_prompt("nav/v2").render(Task("find it", "navigation"), seen(), Memory())
    prompt = dataclasses.replace(prompt, content=(f"\n{attempts}", *prompt.content))
    plan = navigation_answer(Visible(), prompt)  # type: ignore[arg-type]
    assert [subgoal.skill for subgoal in plan.subgoals] == [skill]


class Place(Visible):
    """A place that is near, straight ahead and to the left."""

    def straight_way(self) -> tuple[float, float]:  # type: ignore[override]
        return 0.5, 0.6

    def visible_target(self) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("attempts", "skills"),
    [
        ("(nothing yet)", ["turn", "forward"]),
        ("1. turn 29: done", ["turn", "forward"]),
        ("1. turn 29: done\n2. plan: failed (repetition)", ["explore"]),
        ("1. plan: failed (obstructed)\n2. explore: done", ["turn", "forward"]),
    ],
)
def test_a_place_is_driven_to_straight_unless_that_just_failed(attempts: str, skills: list[str]) -> None:
    prompt = load_prompt("nav/v2").render(Task("go there", "navigation"), seen(), Memory())
    prompt = dataclasses.replace(prompt, content=(f"\n{attempts}", *prompt.content))
    plan = navigation_answer(Place(), prompt)  # type: ignore[arg-type]
    assert [subgoal.skill for subgoal in plan.subgoals] == skills


def seen(*earlier_s: float) -> Observation:
    """Views of 10 x 10 pixels, remembered ones of these times and a present one of 9 s."""
    image, camera = np.zeros((10, 10, 3), np.uint8), Intrinsics(10, 10, 5.0, 5.0, 4.5, 4.5)
    frames = [CameraFrame("head", stamp_s, image, None, camera, Pose.identity()) for stamp_s in (*earlier_s, 9.0)]
    return Observation(9.0, tuple(frames[-1:]), Pose.identity(), keyframes=tuple(frames[:-1]))


class Remembered(Visible):
    """A red chair that the view of 2 s shows, and no other."""

    def visible_target(self) -> None:  # type: ignore[override]
        return None

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        return (2.0, 7.0) if frame.stamp_s == 2.0 else None


@pytest.mark.parametrize(
    ("earlier_s", "answer"),
    [((1.0, 2.0, 3.0), ("goto", 2)), ((1.0, 3.0), ("look_around", None)), ((), ("look_around", None))],
)
def test_a_target_in_an_earlier_view_is_driven_to_and_the_robot_looks_around_before_it_explores(
    earlier_s: tuple[float, ...], answer: tuple[str, int | None]
) -> None:
    prompt = load_prompt("nav/v2").render(Task("find it", "navigation"), seen(*earlier_s), Memory())
    (subgoal,) = navigation_answer(Remembered(), prompt).subgoals  # type: ignore[arg-type]
    assert (subgoal.skill, getattr(subgoal, "view", None)) == answer


class Known(Place):
    """A place whose way the ground truth knows."""

    goal_is_a_place = True


@pytest.mark.parametrize(
    ("localised", "knows_the_way", "skill"),
    [(False, True, "turn"), (False, False, "look_around"), (True, False, "navigate")],
)
def test_a_teacher_searches_until_the_goal_picture_is_localised(
    localised: bool, knows_the_way: bool, skill: str
) -> None:
    observation = dataclasses.replace(seen(), goal_point_m=np.zeros(3) if localised else None)
    prompt = load_prompt("nav/v2").render(Task("go there", "navigation"), observation, Memory())
    env = SimpleNamespace(unwrapped=SimpleNamespace(kind="navigation", ground_truth=Known()))
    backend = perfect_pixels_backend(env, knows_the_way=knows_the_way)  # type: ignore[arg-type]
    assert json.loads(backend.generate(prompt, deadline_s=np.inf).text)["subgoals"][0]["skill"] == skill
