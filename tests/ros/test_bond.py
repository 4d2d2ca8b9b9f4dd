"""The bond with Nav2's lifecycle manager. In this process, bondpy plays the manager."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import GetState

from si_embodied.ros_nodes.sensing.bridge import seconds

PLANNER = ["-m", "si_embodied.ros_nodes.planner_node"]
SETTINGS = {"backend": "scripted", "script": '{"subgoals": [], "done": true}', "bond": True}
FORMS_S, ENDS_S = 20.0, 20.0


@pytest.fixture
def bond(ros: Any) -> Iterator[Any]:
    """The manager's side of the bond, created once the planner is active."""
    bondpy = pytest.importorskip("bondpy.bondpy", reason="it comes with Nav2, not from PyPI")
    bond = bondpy.Bond(ros.node, "bond", "planner")
    bond.heartbeat_period = 0.1
    yield bond
    bond.shutdown()


def activated(ros: Any) -> Any:
    process = ros.start(PLANNER, SETTINGS)
    assert ros.change(Transition.TRANSITION_CONFIGURE)
    assert ros.change(Transition.TRANSITION_ACTIVATE)
    return process


def formed(ros: Any, bond: Any) -> None:
    bond.start()
    ros.wait(lambda: bond.sister_instance_id is not None and not bond.is_broken(), FORMS_S, "the bond")


def test_the_bond_lasts_while_the_planner_is_active(ros: Any, bond: Any) -> None:
    activated(ros)
    formed(ros, bond)
    assert ros.change(Transition.TRANSITION_DEACTIVATE)
    ros.wait(bond.is_broken, ENDS_S, "the bond's end")
    assert ros.call(GetState, "planner/get_state", GetState.Request()).current_state.id == State.PRIMARY_STATE_INACTIVE
    assert ros.change(Transition.TRANSITION_ACTIVATE), "it forms a new bond"


def test_a_killed_planner_stops_its_heartbeat(ros: Any, bond: Any) -> None:
    """bondcpp in the real manager then treats the planner as dead after `bond_timeout`."""
    from bond.msg import Status

    process = activated(ros)
    formed(ros, bond)
    heard = ros.listen(Status, "bond")

    def beats() -> list[Any]:
        return [each for each in heard if each.instance_id == bond.sister_instance_id and each.active]

    ros.wait(lambda: len(beats()) > 10, ENDS_S, "heartbeats")
    stamps_s = [seconds(each.header.stamp) for each in beats()]
    assert statistics.median(np.diff(stamps_s)) < 0.5, "far below the 4 s that Nav2 waits"
    ros.processes.remove(process)
    process.kill()
    process.communicate()
    heard.clear()
    with pytest.raises(AssertionError, match="in vain"):
        ros.wait(beats, 1.0, "a heartbeat of a dead process")


def test_a_bond_without_bondpy_names_the_package_to_install(ros: Any) -> None:
    try:
        import bondpy  # noqa: F401
    except ModuleNotFoundError:
        process = ros.start(PLANNER, SETTINGS)
        assert not ros.change(Transition.TRANSITION_CONFIGURE)
        assert "apt install ros-$ROS_DISTRO-bondpy" in ros.stop(process)
    else:
        pytest.skip("bondpy is installed here")
