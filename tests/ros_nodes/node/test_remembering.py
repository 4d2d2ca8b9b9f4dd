"""What is remembered while the robot moves, and from one task to the next."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Code, Observation, Outcome, Pose
from si_embodied.config import MemoryConfig, PlannerConfig, Prompts
from si_embodied.memory import Attempt, Memory
from si_embodied.ros_nodes.node.remembering import PassedViews, forgetting, memory_for
from si_embodied.types import SeenObject

SHOWN = PlannerConfig(prompts=Prompts(navigation="nav/v2"))
FAILED = Attempt("goto chair", None, Pose.identity(), Outcome(Code.BLOCKED))


def seen_from(observation: Observation, x: float, yaw: float, stamp_s: float) -> Observation:
    """The same image, from another place."""
    moved = Pose.planar(x, 0.0, yaw)
    (frame,) = observation.frames
    frame = dataclasses.replace(frame, stamp_s=stamp_s, T_map_camera=moved @ frame.T_map_camera)
    return Observation(stamp_s, (frame,), moved)


def full(observation: Observation) -> Memory:
    """A memory with a view, the view of a plan, an object and an attempt."""
    memory = memory_for(SHOWN, "navigation", None).saw(observation).planned(observation).add(FAILED)
    return memory.pointed_at("red chair", np.array([2.0, 0.0, 0.4]), observation.stamp_s, None)


def test_the_next_task_knows_the_views_and_objects_of_the_last_one_but_not_its_attempts(
    wall_ahead: Observation,
) -> None:
    last = full(wall_ahead)
    memory = memory_for(SHOWN, "navigation", last)
    assert (memory.keyframes, memory.objects) == (last.keyframes, last.objects)
    assert (memory.attempts, memory.before) == ((), None)


def test_settings_that_were_changed_between_tasks_count_from_the_next_task_on(wall_ahead: Observation) -> None:
    changed = dataclasses.replace(SHOWN, memory=MemoryConfig(entries=3))
    memory = memory_for(changed, "navigation", full(wall_ahead))
    assert (memory.limit, memory.config.entries, len(memory.keyframes)) == (3, 3, 1)


def test_forgetting_leaves_the_attempts(wall_ahead: Observation) -> None:
    memory = forgetting(full(wall_ahead).localised(SeenObject("goal", np.zeros(3), 0.0, 0.9)))
    assert (memory.keyframes, memory.before, memory.objects, memory.goal) == ((), None, (), None)
    assert [attempt.description for attempt in memory.attempts] == ["goto chair"]


@pytest.mark.parametrize(
    ("x", "yaw", "left"), [(0.0, 0.0, False), (0.05, 0.05, False), (0.2, 0.0, True), (0.0, 0.2, True)]
)  # fmt: skip
def test_a_view_has_passed_once_the_camera_has_left_it(
    wall_ahead: Observation, x: float, yaw: float, left: bool
) -> None:  # fmt: skip
    views = PassedViews()
    first, second = seen_from(wall_ahead, 0.0, 0.0, 1.0), seen_from(wall_ahead, x, yaw, 2.0)
    assert views.add(first) is None
    assert views.add(second) is (first if left else None)


def test_of_a_turn_every_view_but_the_last_has_passed(wall_ahead: Observation) -> None:
    """The last one is the plan's own image."""
    views = PassedViews()
    turn = [seen_from(wall_ahead, 0.0, float(step), float(step)) for step in range(5)]
    standing = [seen_from(wall_ahead, 0.0, 4.0, 4.0 + step) for step in range(1, 4)]
    passed = [views.add(each) for each in (*turn, *standing)]
    assert [each.stamp_s for each in passed if each is not None] == [0.0, 1.0, 2.0, 3.0]
