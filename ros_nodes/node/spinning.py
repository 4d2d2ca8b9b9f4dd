"""The loop of a node's executor, which nothing that arrives can end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy

_SPIN_S = 0.05
"""How often it is looked whether to go on."""
_AGAIN_S = 0.001
"""Pause after an error: rclpy may raise each time."""


def spin_while(node: Any, executor: Any, wanted: Callable[[], bool]) -> None:
    """Run callbacks while `wanted` returns true. Whatever one raises is logged.

    rclpy's own callbacks raise too: that of /clock does for a time before 1970.
    """
    while rclpy.ok() and wanted():
        try:
            executor.spin_once(timeout_sec=_SPIN_S)
        except Exception as error:  # noqa: BLE001 - this is the boundary
            node.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=1.0)
            time.sleep(_AGAIN_S)
