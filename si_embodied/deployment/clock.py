"""Time synchronisation: images, transforms and the planner's clock are compared across machines."""

from __future__ import annotations

import re

from si_embodied.deployment.machine import Machine
from si_embodied.findings import Finding

MOST_OFFSET_S = 0.01
"""A base that turns at 1 rad/s turns by 0.01 rad meanwhile: 3 cm at 3 m, half of what grounding tolerates."""
_FIX = "sudo apt install chrony, with one machine of the robot as the others' server (docs/deployment.md)"


def parse_chrony(text: str) -> tuple[float, str] | None:
    """The system clock's offset in seconds (ahead is positive) and the leap status of `chronyc tracking`."""
    offset = re.search(r"^System time\s*:\s*([\d.]+) seconds (slow|fast) of NTP time", text, re.MULTILINE)
    leap = re.search(r"^Leap status\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    if offset is None or leap is None:
        return None
    return (float(offset[1]) if offset[2] == "fast" else -float(offset[1])), leap[1]


def parse_timedatectl(text: str) -> bool | None:
    """Whether `timedatectl show` says that the clock is synchronised; None if it does not say."""
    found = re.search(r"^NTPSynchronized=(yes|no)$", text, re.MULTILINE)
    return None if found is None else found[1] == "yes"


def check_clock(machine: Machine) -> Finding:
    """Judge the system clock by chrony, otherwise by systemd."""
    tracking = parse_chrony(machine.output("chronyc", "-n", "tracking") or "")
    if tracking is not None:
        return judge_chrony(*tracking)
    synchronised = parse_timedatectl(machine.output("timedatectl", "show") or "")
    if synchronised is None:
        return Finding("clock", "unknown", "neither chronyc nor timedatectl tells whether it is synchronised", _FIX)
    if synchronised:
        return Finding("clock", "fine", "synchronised, by systemd; how well, it does not tell (chrony does)")
    return Finding("clock", "off", "not synchronised", _FIX)


def judge_chrony(offset_s: float, leap: str) -> Finding:
    """Judge what chrony says."""
    if leap == "Not synchronised":
        return Finding("clock", "off", "chrony is not synchronised to any source", "chronyc sources; check its network")
    says = f"{abs(offset_s) * 1000:.3f} ms {'ahead of' if offset_s > 0 else 'behind'} its source, by chrony"
    if abs(offset_s) > MOST_OFFSET_S:
        fix = "wait until chrony has slewed it, or sudo chronyc makestep while the robot's nodes are stopped"
        return Finding("clock", "off", says, fix)
    return Finding("clock", "fine", says)
