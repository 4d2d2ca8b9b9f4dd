"""From what a policy knows to what a page shows."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from si_embodied import Execute, Hold, Observation, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.backends.tapped import Tap
from si_embodied.embodiment import MobileBase
from si_embodied.live.drawing import frame_of
from si_embodied.live.moment import LISTED_PLANS, Moment
from si_embodied.live.pictures import WIDEST_PX, floor, goal_marks, picture
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.types import NavigationMap

GOTO = '{"subgoals":[{"skill":"goto","object":"red chair","view":1,"point":[500,500]}],"done":false}'
EMPTY = '{"subgoals":[],"done":false}'
HOSTILE = "<img src=x onerror=alert(1)>"


def played(base: MobileBase, observation: Observation, task: Task, *answers: str) -> tuple[SpatialPlannerPolicy, Tap]:
    tap = Tap()
    policy = SpatialPlannerPolicy(Planner(tap.on(ScriptedBackend(answers)), base))
    policy.reset(task)
    policy.act(observation)
    return policy, tap


def moment(policy: SpatialPlannerPolicy, observation: Observation, tap: Tap, **changes: object) -> Moment:
    made = Moment("planner", 3, "find the red chair", 1, "acting", observation, policy.decisions, policy.execution,
                  tap.prompt)  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def pixels(data: str) -> np.ndarray:
    kind, _, text = data.partition(";base64,")
    assert kind in ("data:image/jpeg", "data:image/png")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_a_plan_is_drawn_where_it_points(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy, tap = played(base, wall_ahead, find_chair, GOTO)
    frame = frame_of(moment(policy, wall_ahead, tap, robot=base))
    assert isinstance(policy.decisions[0], Execute)
    assert frame.plan is not None
    assert (frame.plan.verdict, frame.plan.steps) == ("execute", ("goto red chair",))
    (seen,) = frame.plan.pictures
    assert [(mark.label, mark.x, mark.y, mark.executed) for mark in seen.marks] == [
        ("1 goto red chair", 0.5, 0.5, True)
    ]
    # The point is the middle of the image, so the goal's place in the map projects back to it.
    (now,) = frame.pictures
    assert now.marks[0].x == pytest.approx(0.5, abs=0.02)
    assert now.marks[0].y == pytest.approx(0.5, abs=0.02)
    assert frame.map is not None
    assert [(place.label, place.x) for place in frame.map.goals] == [("1 goto red chair", pytest.approx(3.0, abs=0.1))]
    assert frame.doing == "goto red chair"
    assert frame.plan.latency_s["total"] > 0


def test_a_hold_says_its_code_and_its_reason(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy, tap = played(base, wall_ahead, find_chair, EMPTY)
    frame = frame_of(moment(policy, wall_ahead, tap))
    hold = policy.decisions[0]
    assert isinstance(hold, Hold)
    assert frame.plan is not None
    assert (frame.plan.verdict, frame.plan.code, frame.plan.code_name) == ("hold", 204, "EMPTY_PLAN")
    assert frame.plan.message == hold.message
    assert [(past.verdict, past.code_name) for past in frame.plans] == [("hold", "EMPTY_PLAN")]


def test_a_point_that_was_refused_is_marked_as_such(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    blind = dataclasses.replace(
        wall_ahead, frames=tuple(dataclasses.replace(each, depth_m=each.depth_m * 0) for each in wall_ahead.frames)
    )
    policy, tap = played(base, blind, find_chair, GOTO)
    assert isinstance(policy.decisions[0], Hold)
    plan = frame_of(moment(policy, blind, tap)).plan
    assert plan is not None
    assert [mark.executed for mark in plan.pictures[0].marks] == [False]


def test_the_prompt_is_what_the_model_was_given(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy, tap = played(base, wall_ahead, find_chair, GOTO)
    prompt = frame_of(moment(policy, wall_ahead, tap)).prompt
    assert prompt is not None
    assert tap.prompt is not None
    assert tap.completion is not None
    assert tap.completion.text == GOTO
    texts = [part for part in prompt.parts if isinstance(part, str)]
    assert texts == [part for part in tap.prompt.content if isinstance(part, str)]
    assert [part for part in prompt.parts if isinstance(part, int)] == list(range(len(tap.prompt.images)))
    assert "find the red chair" in "".join(texts)
    assert pixels(prompt.images[0].data).shape == (100, 100, 3)


def test_a_policy_without_plans_still_shows_its_images(wall_ahead: Observation) -> None:
    frame = frame_of(Moment("random", 0, "go", 0, "acting", wall_ahead))
    assert (frame.plan, frame.prompt, frame.plans) == (None, None, ())
    assert len(frame.pictures) == 1


def test_a_frame_is_one_line_of_json_whatever_the_model_said(base: MobileBase, wall_ahead: Observation) -> None:
    policy, tap = played(base, wall_ahead, Task(f"{HOSTILE}\n\u2028", "navigation"), HOSTILE, HOSTILE)
    text = frame_of(moment(policy, wall_ahead, tap)).to_json()
    assert "\n" not in text
    assert json.loads(text)["plan"]["answers"] == [HOSTILE, HOSTILE]


def test_the_list_of_decisions_keeps_the_latest_and_their_numbers(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy, tap = played(base, wall_ahead, find_chair, GOTO)
    frame = frame_of(moment(policy, wall_ahead, tap, decisions=policy.decisions * (LISTED_PLANS + 5)))
    assert [past.number for past in frame.plans] == list(range(6, LISTED_PLANS + 6))


def test_goals_behind_the_camera_or_outside_its_image_are_not_drawn(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy, _ = played(base, wall_ahead, find_chair, GOTO)
    decision = policy.decisions[0]
    assert isinstance(decision, Execute)
    goals = [("chair", decision.goals[0])]
    frame = wall_ahead.frames[0]
    assert len(goal_marks(goals, frame)) == 1
    turned = Pose.from_rpy(0.0, 0.0, np.pi) @ frame.T_map_camera
    assert goal_marks(goals, dataclasses.replace(frame, T_map_camera=turned)) == ()
    aside = Pose.from_rpy(0.0, 0.0, 1.2) @ frame.T_map_camera
    assert goal_marks(goals, dataclasses.replace(frame, T_map_camera=aside)) == ()


def test_the_floor_is_where_the_base_can_go_with_y_upwards() -> None:
    lengths = np.full((2, 3), np.inf, np.float32)
    lengths[0, 2] = 1.0  # the lowest y, the highest x
    grid = floor(NavigationMap(0.5, (-1.0, 2.0), lengths))
    assert (grid.x, grid.y, grid.width, grid.height) == (-1.0, 2.0, 1.5, 1.0)
    assert pixels(grid.data)[..., 3].astype(bool).tolist() == [[False, False, False], [False, False, True]]


def test_wide_images_are_made_smaller_and_keep_their_own_size_in_words() -> None:
    made = picture(np.zeros((720, 1280, 3), np.uint8), "head")
    assert (made.width, made.height) == (1280, 720)
    assert pixels(made.data).shape == (360, WIDEST_PX, 3)
