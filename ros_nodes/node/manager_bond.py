"""The bond through which Nav2's lifecycle manager monitors the planner. Needs bondpy, which is part of Nav2."""

from __future__ import annotations

from typing import Any

from bondpy.bondpy import Bond

_TOPIC, _PERIOD_S, _TIMEOUT_S = "bond", 0.1, 4.0
"""The values of Nav2's own nodes (nav2_util's LifecycleNode). The manager uses its own `bond_timeout`."""


class ManagerBond:
    """Created when the node is activated, closed when it is deactivated. A bond can be formed only once."""

    def __init__(self, node: Any) -> None:
        """Start sending the heartbeat of `node`."""
        self._bond = Bond(node, _TOPIC, node.get_name())
        self._bond.heartbeat_period, self._bond.heartbeat_timeout = _PERIOD_S, _TIMEOUT_S
        self._bond.start()

    def close(self) -> None:
        """Break the bond. The manager does not treat this as a crash if it requested the transition."""
        self._bond.shutdown()
