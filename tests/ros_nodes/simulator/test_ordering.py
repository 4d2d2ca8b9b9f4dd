"""Stops that were published before a goal do not stop it, in whatever order they are read."""

from __future__ import annotations

from si_embodied.ros_nodes.simulator.ordering import GoalOrder


def test_a_stop_that_was_published_before_the_newest_goal_is_outdated() -> None:
    order = GoalOrder()
    assert not order.outdated({"source_timestamp": 5}), "without a goal every stop counts"
    order.goal({"source_timestamp": 10})
    assert order.outdated({"source_timestamp": 9})
    assert not order.outdated({"source_timestamp": 11})
    order.goal({"source_timestamp": 7})
    assert order.outdated({"source_timestamp": 9}), "a goal that is read late does not turn the order back"
