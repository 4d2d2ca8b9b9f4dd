"""What a policy and the planner node decided, side by side: shared by the conformance tests of both bodies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from std_msgs.msg import String

from si_embodied.geometry import Pose
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node.mapping_planner import ReplaceablePlanner
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord
from si_embodied.skills import Goal
from si_embodied.types import Decision, Execute, Observation, Task

SAME_M = 1e-6
RECORDS = "planner/record"


@dataclass
class Decided:
    """One decision, and what the model was told had happened before it."""

    decision: Decision
    memory: str


class Spy(ReplaceablePlanner):
    """Keeps the memory of every question."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(planner)
        self.memories: list[str] = []

    def plan(self, task: Task, observation: Observation, memory: Any, *, now_s: float | None = None) -> Decision:
        self.memories.append(memory.describe())
        return super().plan(task, observation, memory, now_s=now_s)


def node_decides(ros: Any, instruction: str, parameters: dict[str, Any], count: int, most_s: float) -> list[Decided]:
    """The first decisions of a planner node in a process of its own."""
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
    return [Decided(record.decision, record.memory.describe()) for record in records]


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


def numbers(goal: Goal) -> np.ndarray:
    """Metres and radians of a goal."""
    values = [getattr(goal, each.name) for each in dataclasses.fields(goal)]
    flat = [each.matrix() if isinstance(each, Pose) else each for each in values if each is not None]
    return np.concatenate([np.asarray(each, dtype=float).ravel() for each in flat] or [np.zeros(0)])
