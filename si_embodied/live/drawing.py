"""From what a policy knows to what a page shows. Pure: the same moment gives the same frame."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.geometry import heading
from si_embodied.live.frame import Frame, MapView, Outline, PastPlan, Picture, Place, PlanView, PromptView, Xy
from si_embodied.live.moment import LISTED_PLANS
from si_embodied.live.pictures import floor, goal_marks, picture, plan_marks
from si_embodied.types import Execute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import Embodiment
    from si_embodied.live.moment import Moment
    from si_embodied.skills import Goal
    from si_embodied.types import CameraFrame, Decision, Observation, Prompt

_TRAIL_POINTS = 400


def frame_of(moment: Moment) -> Frame:
    """What a page shows of a moment."""
    decision = moment.decisions[-1] if moment.decisions else None
    goals, number = _labelled_goals(decision), moment.earlier + len(moment.decisions)
    execution = moment.execution
    frame = Frame(
        title=moment.title,
        seed=moment.seed,
        instruction=moment.instruction,
        step=moment.step,
        stamp_s=moment.observation.stamp_s,
        status=moment.status,
        pictures=tuple(picture(each.rgb, each.name, goal_marks(goals, each)) for each in moment.observation.frames),
        map=_map(moment, goals),
        plans=_past(moment.decisions, moment.earlier),
    )
    if execution.memory is None:
        return frame
    return dataclasses.replace(
        frame,
        doing="" if execution.step is None else execution.step.words,
        plan=None if decision is None else _plan(decision, number, execution.planned_from),
        prompt=None if moment.prompt is None else _prompt(moment.prompt),
        attempts=execution.memory.describe(),
    )


def _labelled_goals(decision: Decision | None) -> list[tuple[str, Goal]]:
    """The goals of a decision with the words of their subgoals."""
    if not isinstance(decision, Execute):
        return []
    words = (f"{number} {subgoal.words}" for number, subgoal in enumerate(decision.subgoals, 1))
    return list(zip(words, decision.goals, strict=False))


def _plan(decision: Decision, number: int, seen: Observation | None) -> PlanView:
    record, plan = decision.record, decision.plan
    goals = decision.goals if isinstance(decision, Execute) else ()
    return PlanView(
        number=number,
        verdict="execute" if isinstance(decision, Execute) else "hold",
        code=int(record.code),
        code_name=record.code.name,
        message=record.message,
        steps=() if plan is None else (*(each.words for each in plan.subgoals), *(("done",) if plan.done else ())),
        goals=tuple(goal.words for goal in goals),
        answers=record.raw_text,
        thoughts=tuple(thought for thought in record.thoughts if thought),
        latency_s={part: round(seconds, 6) for part, seconds in record.latency_s.items()},
        tokens=(record.prompt_tokens, record.completion_tokens),
        probability=record.decision_probability,
        model=f"{record.model}, {record.kernel}, {record.dtype}",
        prompt_version=record.prompt_version,
        pictures=() if seen is None else _views(decision, seen),
    )


def _views(decision: Decision, seen: Observation) -> tuple[Picture, ...]:
    """The views that the plan points at, or without any the first one."""
    executed = len(decision.subgoals) if isinstance(decision, Execute) else 0
    pointed = {
        subgoal.view for subgoal in (decision.plan.subgoals if decision.plan else ()) if hasattr(subgoal, "view")
    }
    chosen = sorted(view for view in pointed if view < len(seen.views)) or list(range(len(seen.frames)))[:1]
    return tuple(
        picture(seen.views[view].rgb, _caption(seen.views[view], seen), plan_marks(decision.plan, view, executed))
        for view in chosen
    )


def _caption(frame: CameraFrame, seen: Observation) -> str:
    age_s = seen.stamp_s - frame.stamp_s
    return frame.name if age_s <= 0 else f"{frame.name}, {age_s:.1f} s before"


def _prompt(prompt: Prompt) -> PromptView:
    count = itertools.count()
    parts = tuple(part if isinstance(part, str) else next(count) for part in prompt.content)
    images = tuple(picture(image, f"image {number}") for number, image in enumerate(prompt.images, 1))
    return PromptView(prompt.version, prompt.system, parts, images)


def _map(moment: Moment, goals: Sequence[tuple[str, Goal]]) -> MapView:
    observation, memory, seen = moment.observation, moment.execution.memory, moment.execution.planned_from
    grid = None if seen is None else seen.navigation_map
    tool = observation.arm
    place = observation.T_map_base if tool is None else tool.T_map_tool
    base = isinstance(moment.robot, MobileBase)
    return MapView(
        robot=(*_xy(place.translation), round(place.yaw if base else 0.0, 4)),
        radius_m=moment.robot.radius_m if isinstance(moment.robot, MobileBase) else 0.03,
        robot_name="robot" if tool is None else "gripper",
        trail=_thinned(moment.trail),
        grid=None if grid is None else floor(grid),
        keyframes=() if memory is None else tuple(
            (*_xy(view.T_map_camera.translation), round(heading(view.T_map_camera), 4)) for view in memory.keyframes
        ),
        objects=() if memory is None else tuple(Place(seen.name, *_xy(seen.position_m)) for seen in memory.objects),
        goals=tuple(Place(label, *_xy(goal.place_m)) for label, goal in goals if goal.place_m is not None),
        outlines=moment.outlines or _workspace(moment.robot),
    )  # fmt: skip


def _workspace(robot: Embodiment | None) -> tuple[Outline, ...]:
    """An arm's workspace from above; nothing for other robots."""
    if not isinstance(robot, TableArm):
        return ()
    (x0, y0, _), (x1, y1, _) = robot.workspace_m
    return (Outline("workspace", (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),)


def _past(decisions: Sequence[Decision], earlier: int) -> tuple[PastPlan, ...]:
    """The latest decisions, numbered from the episode's start."""
    first = max(0, len(decisions) - LISTED_PLANS)
    return tuple(_past_plan(number, each) for number, each in enumerate(decisions[first:], earlier + first + 1))


def _past_plan(number: int, decision: Decision) -> PastPlan:
    record = decision.record
    total_s = round(record.latency_s.get("total", 0.0), 6)
    if not isinstance(decision, Execute):
        return PastPlan(number, "hold", record.code.name, record.message, total_s)
    words = ", then ".join(subgoal.words for subgoal in decision.subgoals) or "done"
    return PastPlan(number, "execute", record.code.name, words, total_s)


def _thinned(trail: Sequence[Xy]) -> tuple[Xy, ...]:
    """At most `_TRAIL_POINTS` points, evenly chosen, with the last."""
    if len(trail) <= _TRAIL_POINTS:
        return tuple(trail)
    chosen = np.linspace(0, len(trail) - 1, _TRAIL_POINTS).round().astype(int)
    return tuple(trail[int(index)] for index in chosen)


def _xy(point: Sequence[float] | NDArray[np.float64]) -> Xy:
    return round(float(point[0]), 3), round(float(point[1]), 3)
