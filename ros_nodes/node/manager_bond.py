"""The bond by which Nav2's lifecycle manager sees that the planner lives. Needs bondpy, which comes with Nav2."""

from __future__ import annotations

from typing import Any

from bondpy.bondpy import Bond

_TOPIC, _PERIOD_S, _TIMEOUT_S = "bond", 0.1, 4.0
"""As all of Nav2's own nodes have them (nav2_util's LifecycleNode); the manager counts by its own `bond_timeout`."""


class ManagerBond:
    """Made when the node becomes active, broken when it no longer is: a bond is formed once."""

    def __init__(self, node: Any) -> None:
        """Begin to tell that `node` lives."""
        self._bond = Bond(node, _TOPIC, node.get_name())
        self._bond.heartbeat_period, self._bond.heartbeat_timeout = _PERIOD_S, _TIMEOUT_S
        self._bond.start()

    def close(self) -> None:
        """Say that it ends; the manager does not take that for a death where it has asked for it."""
        self._bond.shutdown()
