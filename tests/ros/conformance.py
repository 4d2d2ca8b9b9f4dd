"""What a policy and the planner node decided, side by side: shared by the conformance tests of both bodies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from std_msgs.msg import String

from si_embodied.geometry import Pose
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node.mapping_planner import ReplaceablePlanner
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord
from si_embodied.skills import Goal
from si_embodied.types import Decision, Execute, Observation, SeenObject, Task

SAME_M = 1e-6
RECORDS = "planner/record"


@dataclass
class Decided:
    """One decision, and what was remembered before it."""

    decision: Decision
    memory: str  # what the model was told had happened
    views: list[Any]  # what each remembered view shows: where it was seen from, or the number of an observation
    objects: tuple[SeenObject, ...]


class View(Protocol):
    """An image, in memory or named in a record."""

    @property
    def stamp_s(self) -> float:
        """When it was taken."""


class Spy(ReplaceablePlanner):
    """Keeps the memory of every question."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(planner)
        self.asked: list[tuple[Observation, Memory]] = []

    def plan(self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None) -> Decision:
        self.asked.append((observation, memory))
        return super().plan(task, observation, memory, now_s=now_s)

    def decided(self, decisions: Sequence[Decision], shows: Callable[[View], Any]) -> list[Decided]:
        """Each decision with its memory; `shows` says what a view shows."""
        return [
            Decided(decision, memory.describe(), [*map(shows, memory.recall(observation).keyframes)], memory.objects)
            for decision, (observation, memory) in zip(decisions, self.asked, strict=True)
        ]


def node_follows(
    ros: Any, robot: Any, poses: Sequence[Pose], instruction: str, parameters: dict[str, Any], count: int, most_s: float
) -> list[Decided]:  # fmt: skip
    """What a node decides on a recorded robot, which must be asked to go where the policy went."""
    decided = node_decides(ros, instruction, parameters, count, most_s, lambda view: robot.seen[view.stamp_s])
    for asked, shown in zip(robot.asked, poses, strict=False):
        assert np.allclose(asked.translation, shown.translation, atol=SAME_M), "not where the policy went"
    return decided


def node_decides(
    ros: Any, instruction: str, parameters: dict[str, Any], count: int, most_s: float, shows: Callable[[View], Any]
) -> list[Decided]:
    """The first decisions of a planner node in a process of its own; `shows` says what a view shows."""
    heard: list[String] = ros.listen(String, RECORDS, 50)
    ros.start(
        ["-m", "si_embodied.ros_nodes.planner_node"],
        {"use_sim_time": True, "autostart": True, "backend": "scripted", **parameters},
    )
    ros.wait(lambda: ros.node.count_publishers(RECORDS), most_s, "the records' publisher")
    handle = ros.task(instruction, timeout_s=600.0)
    ros.wait(lambda: len(heard) >= count, most_s, f"{count} decisions")
    ros.result(handle.cancel_goal_async(), most_s, "the cancellation")
    records = [DecisionRecord.from_json(message.data) for message in heard[:count]]
    return [
        Decided(each.decision, each.memory.describe(), [*map(shows, each.remembered)], each.memory.objects)
        for each in records
    ]


def assert_same(ours: Decision, theirs: Decision, *, within_m: float = SAME_M) -> None:
    """The same answer, verdict, plan and goals, within metres, and radians as many."""
    assert type(theirs) is type(ours)
    assert theirs.record.raw_text == ours.record.raw_text
    assert (theirs.record.code, theirs.record.message) == (ours.record.code, ours.record.message)
    assert theirs.plan == ours.plan
    if isinstance(ours, Execute):
        assert isinstance(theirs, Execute)
        assert theirs.subgoals == ours.subgoals
        assert [type(goal) for goal in theirs.goals] == [type(goal) for goal in ours.goals]
        for mine, other in zip(ours.goals, theirs.goals, strict=True):
            assert np.allclose(numbers(mine), numbers(other), rtol=0, atol=within_m)


def assert_same_memory(ours: Decided, theirs: Decided, *, within_m: float = SAME_M) -> None:
    """The same attempts, the same views in the same order, and the same objects."""
    assert theirs.memory == ours.memory
    assert len(theirs.views) == len(ours.views)
    for mine, other in zip(ours.views, theirs.views, strict=True):
        shown = [view.matrix() if isinstance(view, Pose) else view for view in (mine, other)]
        assert np.allclose(*shown, rtol=0, atol=within_m)
    named = [[(seen.name, seen.sightings) for seen in each.objects] for each in (ours, theirs)]
    assert named[1] == named[0]
    for mine, other in zip(ours.objects, theirs.objects, strict=True):
        assert np.allclose(mine.position_m, other.position_m, rtol=0, atol=within_m)


def numbers(goal: Goal) -> np.ndarray:
    """Metres and radians of a goal."""
    values = [getattr(goal, each.name) for each in dataclasses.fields(goal)]
    flat = [each.matrix() if isinstance(each, Pose) else each for each in values if each is not None]
    return np.concatenate([np.asarray(each, dtype=float).ravel() for each in flat] or [np.zeros(0)])
