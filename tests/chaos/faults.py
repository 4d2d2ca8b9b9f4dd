"""The faults that `make chaos` injects, and what the robot promises for each. No ROS here.

The promises are longer than the settings they come from, because commands and poses travel over DDS on a busy machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BASE, ARM = "apartment", "tabletop"
SLACK_S = 0.3
"""Transport, the planner's tick and the simulator's tick."""
_IMAGE_AGE_S, _GRACE_S, _POSE_AGE_S, _CLOCK_S = 1.0, 1.0, 0.3, 2.0
"""max_observation_age_s; how long a goal goes on without sensors or pose; max_transform_age_s; a clock has stopped."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are in seconds from its beginning, `recovers_s` from its end."""

    name: str
    recovers_s: float  # the planner acts again: it plans a goal, or the robot moves
    lasts_s: tuple[float, float] = (1.0, 5.0)
    no_goal_s: float | None = None  # from then on no goal is published; None: goals are allowed
    stands_s: float | None = None  # from then on the robot does not move; None: it may
    no_plan: bool = False  # an image taken during the fault is not planned on
    by_robot_time: bool = False  # the times are the simulation's, which a busy machine slows down
    needs_motion: bool = False  # the times count from when the camera has moved far enough to notice
    robots: tuple[str, ...] = (BASE, ARM)
    alone_from: tuple[str, ...] = ()  # faults that hide this one, and are not injected together with it


def _blind(name: str, late_s: float, **more: object) -> Fault:
    """A fault that the planner knows after `late_s`; a goal under way may go on for the grace period."""
    values = {
        "by_robot_time": True,
        "recovers_s": 5.0,
        "no_goal_s": late_s + SLACK_S,
        "stands_s": late_s + _GRACE_S + 2 * SLACK_S,
    }
    return Fault(name, **{**values, **more})  # type: ignore[arg-type]


_HIDES_MOTION = (
    "transforms stop", "transforms are NaN", "transforms are stamped 5 s ahead", "the clock stops",
    "the clock is 3 s ahead",
)  # fmt: skip
"""A frozen camera is noticed by the motion that it does not show."""

SENSOR_FAULTS = (
    _blind("images stop", _IMAGE_AGE_S),
    _blind("cameras stop", _IMAGE_AGE_S),
    _blind("depth stops", _IMAGE_AGE_S),
    _blind("images arrive 3 s late", _IMAGE_AGE_S, no_plan=True),
    _blind("images are stamped 5 s ahead", 1.5, no_plan=True),
    _blind("images are frozen", 1.0, needs_motion=True, lasts_s=(4.0, 8.0), robots=(BASE,), alone_from=_HIDES_MOTION),
    _blind("images are larger than their data", _IMAGE_AGE_S, no_plan=True),
    Fault("depth is in the wrong unit", 5.0, no_plan=True, alone_from=("depth is empty",)),
    Fault("depth is empty", 5.0),
    _blind("calibration is NaN", SLACK_S, no_plan=True),
    _blind("transforms stop", _POSE_AGE_S),
    _blind("transforms are NaN", _POSE_AGE_S),
    _blind("transforms are stamped 5 s ahead", _POSE_AGE_S),
    _blind("the clock stops", _CLOCK_S, stands_s=_CLOCK_S + 2 * _GRACE_S + SLACK_S, lasts_s=(3.0, 6.0)),
    _blind("the clock is 3 s ahead", SLACK_S),
    Fault("odometry stops", 5.0),
    Fault("odometry is NaN", 5.0),
    Fault("the opening stops", 5.0, no_goal_s=2.0 + SLACK_S, robots=(ARM,)),
)
"""Injected by the relay between the simulator and the planner."""

ONE_SHOT = (0.0, 0.0)
MESSAGE_FAULTS = (
    Fault("a malformed outcome", 5.0, ONE_SHOT),
    Fault("a malformed heartbeat", 5.0, ONE_SHOT),
    Fault("an instruction of 200 kB", 5.0, ONE_SHOT),
    Fault("the clock jumps back 5 s", 8.0, ONE_SHOT),
    Fault("the world is reset", 12.0, ONE_SHOT),  # it may lose a goal, which counts as blocked after stuck_s, 8 s
    Fault("the task is canceled", 5.0, ONE_SHOT),
    Fault("the emergency stop", 5.0, (1.0, 3.0), no_goal_s=0.1 + SLACK_S, stands_s=0.1 + 2 * SLACK_S),
    Fault("the planner is deactivated", 5.0, (0.5, 2.0), no_goal_s=0.1 + SLACK_S, stands_s=0.1 + 2 * SLACK_S),
)
"""Sent by the runner."""

PROCESS_FAULTS = (
    Fault("kill -9 of the planner", 20.0, (1.0, 3.0), no_goal_s=SLACK_S, stands_s=0.8 + SLACK_S),
    Fault("the planner hangs", 5.0, (1.0, 4.0), no_goal_s=SLACK_S, stands_s=0.8 + SLACK_S),
    Fault("kill -9 of the watchdog", 10.0, (0.5, 2.0)),
    Fault("a second planner", 5.0, (4.0, 6.0)),
)
"""Done to the processes by the runner."""

FAULTS = (*SENSOR_FAULTS, *MESSAGE_FAULTS, *PROCESS_FAULTS)


def faults_of(world: str) -> tuple[Fault, ...]:
    """The faults that the robot of a world can have.

    An arm's goal is several motions, each a goal on its topic: they may go on as long as the goal may.
    """
    found = tuple(fault for fault in FAULTS if world in fault.robots)
    if world == BASE:
        return found
    return tuple(replace(each, no_goal_s=each.stands_s) if each in SENSOR_FAULTS else each for each in found)
