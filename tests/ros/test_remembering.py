"""What a planner node knows after a task: published, known in the next task, and forgotten when it no longer holds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from si_embodied_msgs.msg import SeenObjectArray
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray
from wall_tape import Recorded, Tape

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED
from si_embodied.ros_nodes.simulator.publishing import TransformPublisher
from si_embodied.types import Code

Ros = Any  # of conftest.py
PLANNER = ["-m", "si_embodied.ros_nodes.planner_node"]
STARTS_S, SOON_S = 90.0, 60.0
GOTO = {"skill": "goto", "object": "wall", "view": 1, "point": [420, 480]}
TURN, TURN_BACK = {"skill": "turn", "degrees": 120}, {"skill": "turn", "degrees": -120}
SCRIPT = [[GOTO], [TURN], [TURN_BACK]]  # and the last again and again


@dataclass
class Stack:
    """A planner node with a memory, and a robot before a wall whose clock and localisation may jump."""

    ros: Ros
    T_map_odom: Pose = field(default_factory=Pose.identity)

    def __post_init__(self) -> None:
        self.objects: list[SeenObjectArray] = self.ros.listen(SeenObjectArray, "planner/objects", LATCHED)
        self.markers: list[MarkerArray] = self.ros.listen(MarkerArray, "planner/object_markers", LATCHED)
        self.records: list[String] = self.ros.listen(String, "planner/record", 50)
        self.robot = Recorded(self.ros, Tape(), waits_s=1.5)
        self.transforms = TransformPublisher(self.ros.node)
        self.ros.node.create_timer(0.02, self.localise)
        script = "\n".join(json.dumps({"subgoals": subgoals, "done": False}) for subgoals in SCRIPT)
        self.ros.start(
            PLANNER,
            {
                "use_sim_time": True, "autostart": True, "backend": "scripted", "script": script,
                "navigation.navigator": "topic", "navigation.stuck_s": 60.0, "frozen_travel_m": 0.0,
                "planner.guard.max_observation_age_s": 5.0,
            },
        )  # fmt: skip
        self.ros.wait(lambda: self.ros.node.count_publishers("planner/record"), STARTS_S, "the planner")

    def localise(self) -> None:
        self.transforms.publish(self.robot.now_s, ("map", "odom", self.T_map_odom))

    @property
    def known(self) -> list[str] | None:
        """The names of the objects published last; None before."""
        return [seen.name for seen in self.objects[-1].objects] if self.objects else None

    def task(self, decisions: int) -> Any:
        """Start a task and wait for so many decisions."""
        self.records.clear()
        handle = self.ros.task(timeout_s=600.0)
        self.ros.wait(lambda: len(self.records) >= decisions, SOON_S, f"{decisions} decisions")
        return handle

    def cancel(self, handle: Any) -> None:
        self.ros.result(handle.cancel_goal_async(), SOON_S, "the cancellation")

    def decision(self, index: int = 0) -> DecisionRecord:
        """A decision of the current task."""
        return DecisionRecord.from_json(self.records[index].data)


@pytest.fixture
def stack(ros: Ros) -> Stack:
    """After a task that went to the wall and turned away from it."""
    stack = Stack(ros)
    ros.wait(lambda: stack.known == [], SOON_S, "the news that nothing is known")
    stack.cancel(stack.task(3))
    ros.wait(lambda: stack.known == ["wall"], SOON_S, "the wall")
    return stack


def test_known_objects_are_published_and_kept_for_the_next_task_until_the_planner_is_deactivated(
    stack: Stack,
) -> None:
    (wall,) = stack.objects[-1].objects
    assert stack.objects[-1].header.frame_id == "map"
    assert (wall.position.x, wall.sightings, wall.confirmed) == (pytest.approx(3.0, abs=0.01), 1, False)
    assert math.isnan(wall.probability)
    assert bridge.seconds(wall.seen) in stack.robot.seen
    late: list[SeenObjectArray] = stack.ros.listen(SeenObjectArray, "planner/objects", LATCHED)
    stack.ros.wait(lambda: late, SOON_S, "what was published before somebody listened")
    assert [each.ns for each in stack.markers[-1].markers if each.action == Marker.ADD] == ["objects", "object_names"]
    stack.cancel(stack.task(1))
    record = stack.decision()
    assert [seen.name for seen in record.memory.objects] == ["wall"]
    assert record.remembered, "and views"
    assert record.memory.attempts == ()
    assert stack.ros.change(Transition.TRANSITION_DEACTIVATE)
    stack.ros.wait(lambda: stack.known == [], SOON_S, "the news that nothing is known any more")
    stack.ros.wait(lambda: len(stack.markers[-1].markers) == 1, SOON_S, "the markers' deletion")
    assert stack.ros.change(Transition.TRANSITION_ACTIVATE)
    stack.cancel(stack.task(1))
    assert (stack.decision().remembered, stack.decision().memory.objects) == ((), ())


def test_when_the_map_frame_jumps_the_goal_ends_and_nothing_from_before_is_shown(stack: Stack) -> None:
    handle = stack.task(1)
    jumped_s = stack.robot.now_s
    stack.T_map_odom = Pose.planar(3.0, 0.0, 0.0)
    stack.ros.wait(lambda: stack.known == [], SOON_S, "the news that nothing is known any more")
    stack.ros.wait(lambda: len(stack.records) >= 2, SOON_S, "another plan")
    stack.cancel(handle)
    record = stack.decision(1)
    assert all(view.stamp_s >= jumped_s for view in record.remembered)
    assert [attempt.outcome.code for attempt in record.memory.attempts] == [Code.STALE_OBSERVATION]
    assert record.fresh, "the map too"


def test_when_the_clock_is_set_back_nothing_from_before_is_shown(stack: Stack) -> None:
    stack.robot.now_s -= 5.0
    stack.ros.wait(lambda: stack.known == [], SOON_S, "the news that nothing is known any more")
    stack.cancel(stack.task(1))
    assert (stack.decision().remembered, stack.decision().memory.objects) == ((), ())
