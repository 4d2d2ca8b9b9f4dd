"""Imperfections of a simulated robot beside its noise: latency, failed sensors and clocks. Pure."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from si_embodied.ros_nodes.simulator.settings import SimulatorSettings
    from si_embodied.types import CameraFrame

T = TypeVar("T")


class DelayLine(Generic[T]):
    """A queue that releases each item when it is due, in the order of insertion."""

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: deque[tuple[float, T]] = deque()

    def put(self, due_s: float, item: T) -> None:
        """Hold `item` until `due_s`."""
        self._waiting.append((due_s, item))

    def take(self, now_s: float) -> list[T]:
        """Remove and return the items that are due; an item never overtakes an earlier one."""
        due: list[T] = []
        while self._waiting and self._waiting[0][0] <= now_s + 1e-9:
            due.append(self._waiting.popleft()[1])
        return due

    def clear(self) -> None:
        """Drop all waiting items."""
        self._waiting.clear()


def failed(frame: CameraFrame, settings: SimulatorSettings) -> CameraFrame:
    """The frame without depth if the depth camera has failed, and with the offset of the cameras' clock."""
    depth_m = frame.depth_m if settings.publish_depth else None
    return dataclasses.replace(frame, depth_m=depth_m, stamp_s=frame.stamp_s + settings.clock_offset_s)
