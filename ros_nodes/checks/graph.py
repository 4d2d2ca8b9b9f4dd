"""Judges who listens and who speaks: planner, watchdog, emergency stop, and who drives the robot. Needs no ROS."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from si_embodied.findings import Finding
from si_embodied.ros_nodes.node.planner_watch import NOBODY, STALE_S

PLANNER, WATCHDOG = "planner", "watchdog"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard within some seconds, and who is on the graph."""

    seconds: float
    planner_answers: bool  # its parameters could be read
    active_planner: Sequence[str]  # every message
    watchdogs: int  # publishers of active_planner
    stop_latched: bool | None  # the last message; None without one
    stop_listeners: Collection[str]  # nodes that subscribe to emergency_stop
    stop_drivers: Collection[str]  # nodes that publish it, planners aside
    pressed: bool | None  # whether the stop was latched while the pilot pressed it; None if nobody was asked to
    odometry: int  # messages
    drivers: Collection[str]  # nodes that take the goals of base or arm
    goal_name: str  # of the topic or action they take


def check_graph(heard: Heard) -> Iterator[Finding]:
    """Judge everything that needs no image."""
    yield _planner(heard)
    yield _watchdog(heard)
    yield _stop_heard(heard)
    yield _stop_driver(heard)
    yield _drivers(heard)
    yield _odometry(heard)


def _planner(heard: Heard) -> Finding:
    if heard.planner_answers:
        return Finding("planner", "fine", "runs; its own parameters are checked")
    fix = "start it (ros2 launch si_embodied planner.launch.py, or systemctl start si-embodied-planner)"
    return Finding("planner", "off", "does not answer: the parameter file is checked instead", fix)


def _watchdog(heard: Heard) -> Finding:
    what, fix = "watchdog", "start it: both launch files, `si-embodied ros up` and si-embodied-watchdog.service do"
    if not heard.watchdogs:
        return Finding(what, "off", "there is none: nobody stops the robot if the planner dies", fix)
    if heard.watchdogs > 1:
        return Finding(what, "off", f"{heard.watchdogs} publish active_planner", "run one watchdog")
    if len(heard.active_planner) < max(2, int(heard.seconds / STALE_S)):
        return Finding(what, "off", f"said {len(heard.active_planner)} words in {heard.seconds:.0f} s: it hangs", fix)
    named = heard.active_planner[-1]
    if named in ("", NOBODY):
        fix = "activate the planner (autostart:=true, or ros2 lifecycle set /planner activate)"
        return Finding(what, "off", "alive, but it names no planner that may act", fix)
    return Finding(
        what, "fine", f"alive, {len(heard.active_planner)} words in {heard.seconds:.0f} s; planner {named} may act"
    )


def _stop_heard(heard: Heard) -> Finding:
    what = "emergency stop"
    deaf = [name for name in (PLANNER, WATCHDOG) if name not in heard.stop_listeners]
    if deaf:
        return Finding(
            what, "off", f"{' and '.join(deaf)} do not listen to it", "start them in one namespace and domain"
        )
    if heard.pressed is False:
        fix = "the button's driver must publish std_msgs/Bool true on emergency_stop in the planner's namespace"
        return Finding(what, "off", "was not heard while you pressed it", fix)
    if heard.pressed:
        left = "; it is still set, release it" if heard.stop_latched else ""
        return Finding(what, "fine", f"heard while you pressed it, and latched{left}")
    if heard.stop_latched:
        return Finding(what, "note", "is set: the robot will not move until it is released")
    says = "planner and watchdog listen to it; that it was pressed has not been seen"
    return Finding(what, "unknown", says, "press it during the check: --press-stop 20")


def _stop_driver(heard: Heard) -> Finding:
    if heard.stop_drivers:
        return Finding("emergency stop's button", "fine", f"published by {', '.join(sorted(heard.stop_drivers))}")
    says = "nothing publishes emergency_stop: only `ros2 topic pub` and the services stop the robot"
    return Finding("emergency stop's button", "note", f"{says}. The robot's own hardware stop must work without us")


def _drivers(heard: Heard) -> Finding:
    if heard.drivers:
        return Finding("driver", "fine", f"{', '.join(sorted(heard.drivers))} take {heard.goal_name}")
    return Finding("driver", "off", f"nobody takes {heard.goal_name}", "start Nav2, MoveIt or the robot's driver")


def _odometry(heard: Heard) -> Finding:
    if heard.odometry:
        return Finding("odometry", "fine", f"{heard.odometry / heard.seconds:.0f} Hz")
    says = "none on odom: a stop is repeated for 2 s instead of until the base stands, and each failed goal costs that"
    return Finding("odometry", "note", says)
