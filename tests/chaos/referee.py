"""Judges what a robot does under faults: every command, motion and plan, against the faults' promises. No ROS here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from faults import Fault

MOVED_M, MOVED_RAD = 0.15, 0.15
"""After this motion the planner must notice a frozen camera (its `frozen_travel_m` is 0.1)."""
_EDGE_S = 0.3
"""An image may have passed the relay just before a fault, or just after it."""


@dataclass(slots=True)
class Active:
    """A fault that is being injected. Times are of the steady clock, stamps of the planner's clock, in seconds."""

    fault: Fault
    began_s: float
    stamp_s: float
    place: tuple[float, float, float] | None = None  # x, y, yaw or x, y, z of the robot at the beginning
    counted_s: float | None = None  # from when its promises count; None: not yet
    robot_s: float = 0.0  # the robot's time then


@dataclass(slots=True)
class Recovery:
    """How long the robot took to act again after a fault, the last of several."""

    fault: Fault  # of these, the one with the longest promise
    seconds: float


@dataclass(slots=True)
class Referee:
    """Watches one robot. `violations` is empty if nothing unsafe happened."""

    lowest: tuple[float, float, float]  # bounds of goals in the map, metres
    highest: tuple[float, float, float]
    violations: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    robot_s: float = 0.0  # simulated time
    say: Callable[[str], None] = lambda _: None
    _active: list[Active] = field(default_factory=list)
    _ended: list[tuple[Fault, float]] = field(default_factory=list)  # not recovered from yet
    _images: list[tuple[Fault, float, float]] = field(default_factory=list)  # stamps between which none is good
    _place: tuple[float, float, float] | None = None
    _motion_s: float = float("-inf")
    _reported: set[tuple[int, str]] = field(default_factory=set)

    # --- faults -------------------------------------------------------------------------------------------------------

    def began(self, fault: Fault, now_s: float, stamp_s: float) -> None:
        """A fault begins."""
        self._count("faults")
        counted = None if fault.needs_motion else now_s
        self._active.append(Active(fault, now_s, stamp_s, self._place, counted, self.robot_s))

    def ended(self, fault: Fault, now_s: float, stamp_s: float) -> None:
        """A fault ends."""
        active = next(each for each in self._active if each.fault is fault)
        self._active.remove(active)
        if fault.no_plan:
            self._images.append((fault, active.stamp_s + _EDGE_S, stamp_s - _EDGE_S))
        self._ended.append((fault, now_s))

    def clock_jumped(self, by_s: float) -> None:
        """The planner's clock jumps: earlier stamps come again, on good images."""
        self._images.clear()
        for active in self._active:
            active.stamp_s += by_s

    @property
    def pending(self) -> bool:
        """Whether the robot has still to recover from a fault that has ended."""
        return bool(self._ended)

    def drop_pending(self) -> None:
        """Nothing can be said of recoveries under way: the episode has ended."""
        self._ended.clear()

    def lost(self, now_s: float) -> list[Fault]:
        """The faults from which the robot has not recovered within three times the longest of their promises."""
        longest_s = max((fault.recovers_s for fault, _ in self._ended), default=0.0)
        last_s = max((ended_s for _, ended_s in self._ended), default=now_s)
        return [] if self._active or now_s - last_s <= 3 * longest_s else [fault for fault, _ in self._ended]

    # --- what the robot does ------------------------------------------------------------------------------------------

    def goal(self, xyz: Iterable[float], now_s: float, what: str = "goal") -> None:
        """A goal was published."""
        self._count(f"{what}s")
        xyz = tuple(xyz)
        inside = all(low <= value <= high for low, value, high in zip(self.lowest, xyz, self.highest, strict=True))
        if not inside:  # also if it is NaN
            self.violated(f"{what} at {xyz} outside {self.lowest} to {self.highest}")
        for active in self._active:
            if self._past(active, active.fault.no_goal_s, now_s):
                self.violated(f"{what} {now_s - active.began_s:.2f} s after {active.fault.name!r} began")

    def plan(self, code: int, stamp_s: float, now_s: float) -> None:
        """A decision was published: code 0 is a plan, made from an image with this stamp."""
        self._count("holds" if code else "plans")
        if code:
            return
        bad = [(each.fault, each.stamp_s + _EDGE_S, math.inf) for each in self._active if each.fault.no_plan]
        for fault, first_s, last_s in (*bad, *self._images):
            if first_s < stamp_s < last_s:
                self.violated(f"a plan on an image taken during {fault.name!r}")
        self._acts(now_s)

    def place(self, place: tuple[float, float, float], *, moving: bool, now_s: float) -> None:
        """Where the robot is (x, y and yaw, or x, y and z), in truth, and whether it moves."""
        self._place = place
        for active in self._active:
            if active.counted_s is None and active.place is not None and _moved(active.place, place):
                active.counted_s, active.robot_s = now_s, self.robot_s
        if not moving:
            return
        self._motion_s = now_s
        for active in self._active:
            if self._past(active, active.fault.stands_s, now_s):
                key = (id(active), "motion")
                if key not in self._reported:
                    self._reported.add(key)
                    self.violated(f"the robot moves {now_s - active.began_s:.2f} s after {active.fault.name!r} began")
        self._acts(now_s)

    def velocity(self, values: Iterable[float]) -> None:
        """A velocity was commanded. The planner and the watchdog command none but zero."""
        self._count("zero velocities")
        values = tuple(values)
        if any(value != 0.0 for value in values):
            self.violated(f"a velocity of {values}")

    def _past(self, active: Active, limit_s: float | None, now_s: float) -> bool:
        if limit_s is None or active.counted_s is None:
            return False
        passed_s = now_s - active.counted_s
        return (
            min(passed_s, self.robot_s - active.robot_s) > limit_s if active.fault.by_robot_time else passed_s > limit_s
        )

    def _acts(self, now_s: float) -> None:
        if self._active:
            return
        if self._ended:  # the time since the last of them ended is the one's with the longest promise
            slowest = max((fault for fault, _ in self._ended), key=lambda fault: fault.recovers_s)
            self.recoveries.append(Recovery(slowest, now_s - max(ended_s for _, ended_s in self._ended)))
            self._ended.clear()

    def violated(self, what: str) -> None:
        """Something happened that must not."""
        self.violations.append(what)
        self.say(f"VIOLATION {what}")

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _moved(before: tuple[float, float, float], after: tuple[float, float, float]) -> bool:
    turn = abs(math.remainder(after[2] - before[2], 2 * math.pi))
    return math.dist(before[:2], after[:2]) > MOVED_M or turn > MOVED_RAD
