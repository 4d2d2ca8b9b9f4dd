"""A Jetson: release, power mode, clocks, memory, temperatures and throttling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from si_embodied.deployment.gpu import memory_finding
from si_embodied.deployment.machine import Machine
from si_embodied.findings import Finding

_CLOCKS = re.compile(r"^(GPU|EMC) MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)(?: FreqOverride=(\d))?", re.MULTILINE)
_HOT_C = 85.0
"""Below this, no Orin or Thor slows down; the trip points of a board are read where it has them."""


@dataclass(frozen=True, slots=True)
class PowerMode:
    """What `nvpmodel -q` says."""

    name: str  # "MAXN", "MODE_30W"
    number: int | None


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock of `jetson_clocks --show`."""

    ratio: float  # of the highest frequency, now
    locked: bool


def parse_power_mode(text: str) -> PowerMode | None:
    """Read `nvpmodel -q`: "NV Power Mode: MAXN", and the mode's number on a line of its own."""
    name = re.search(r"^NV Power Mode:\s*(\S+)", text, re.MULTILINE)
    if name is None:
        return None
    number = re.search(r"^(\d+)\s*$", text, re.MULTILINE)
    return PowerMode(name[1], None if number is None else int(number[1]))


def parse_clocks(text: str) -> dict[str, Clock]:
    """The clocks of GPU and memory (EMC) in `jetson_clocks --show`.

    The memory's is locked by an override, which leaves its lowest frequency as it was.
    """
    return {
        name: Clock(int(now) / int(high), locked=low == high or override == "1")
        for name, low, high, now, override in _CLOCKS.findall(text)
        if int(high)
    }


def parse_temperatures(text: str) -> dict[str, float]:
    """Temperatures in °C by sensor, of the last line of tegrastats that has any."""
    for line in reversed(text.splitlines()):
        found = re.findall(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b", line)
        if found:
            # PMIC is a constant, and a sensor that is switched off reports -256.
            return {name: float(value) for name, value in found if name != "PMIC" and float(value) > -100}
    return {}


def is_jetson(machine: Machine) -> bool:
    """Whether this is one: the device tree says so, or the release file of its Linux is there."""
    model = machine.text("proc/device-tree/model") or ""
    return "jetson" in model.lower() or machine.text("etc/nv_tegra_release") is not None


def check_jetson(machine: Machine) -> Iterator[Finding]:
    """Judge a Jetson."""
    model = machine.text("proc/device-tree/model") or "a Jetson of an unknown model"
    release = (machine.text("etc/nv_tegra_release") or "").partition(", GCID")[0].lstrip("# ")
    yield Finding("board", "fine" if release else "unknown", f"{model}, {release or 'release unknown'}")
    yield _power_mode(machine)
    yield _clocks(machine)
    yield _memory(machine)
    yield check_temperature(machine)
    yield _over_current(machine)


def _power_mode(machine: Machine) -> Finding:
    mode = parse_power_mode(machine.output("nvpmodel", "-q") or "")
    if mode is None:
        return Finding("power mode", "unknown", "nvpmodel -q tells nothing", "sudo nvpmodel -q")
    says = mode.name if mode.number is None else f"{mode.name} (mode {mode.number})"
    if mode.name.startswith("MAXN"):
        return Finding("power mode", "fine", says)
    fix = (
        "sudo nvpmodel -m with the number of MAXN (sudo nvpmodel -p --verbose lists them), if supply and cooling allow"
    )
    return Finding("power mode", "off", f"{says}: a limited mode", fix)


def _clocks(machine: Machine) -> Finding:
    clocks = parse_clocks(machine.output("jetson_clocks", "--show") or "")
    if not clocks:
        return Finding("clocks", "unknown", "jetson_clocks --show tells nothing", "run this as root: it needs that")
    says = ", ".join(f"{name} at {clock.ratio:.0%} of its maximum" for name, clock in clocks.items())
    if free := [name for name, clock in clocks.items() if not clock.locked]:
        fix = "sudo jetson_clocks, after each start (a systemd unit), if latency must not vary"
        return Finding("clocks", "off", f"{says}; not locked: {', '.join(free)}", fix)
    return Finding("clocks", "fine", f"{says}, locked")


def _memory(machine: Machine) -> Finding:
    from si_embodied.models.footprint import free_ram_bytes

    free = free_ram_bytes(machine.root / "proc/meminfo", machine.root / "sys/fs/cgroup")
    total = re.search(r"^MemTotal:\s+(\d+) kB", machine.text("proc/meminfo") or "", re.MULTILINE)
    if free is None or total is None:
        return Finding("memory", "unknown", "/proc/meminfo tells nothing", "free -h")
    return memory_finding("memory, shared by CPU and GPU", free, int(total[1]) * 1024)


def check_temperature(machine: Machine) -> Finding:
    """Judge the zone that is nearest to slowing the machine down; of any computer, not of a Jetson alone."""
    zone = hottest_zone(machine)
    if zone is None:
        fix = "look at what the board offers (sensors, tegrastats)"
        return Finding("temperature", "unknown", "neither /sys/class/thermal nor tegrastats tells it", fix)
    name, degrees, limit = zone
    says = f"{name} {degrees:.0f} °C, slows down from {limit:.0f} °C"
    if degrees >= limit:
        return Finding("temperature", "off", says, "cool it: fan (sudo jetson_clocks --fan), dust, air flow")
    return Finding("temperature", "fine", says)


def hottest_zone(machine: Machine) -> tuple[str, float, float] | None:
    """The zone nearest to its passive trip point, its temperature and that point in °C; None if unknown."""
    zones = []
    for path, kind in machine.texts("sys/class/thermal/thermal_zone*/type").items():
        folder = path.rpartition("/")[0]
        now = _celsius(machine.text(f"{folder}/temp"))
        if now is not None:
            zones.append((kind, now, _passive_trip(machine, folder)))
    if not zones:
        printed = machine.output("tegrastats", "--interval", "200", timeout_s=1.5) or ""
        zones = [(name, degrees, _HOT_C) for name, degrees in parse_temperatures(printed).items()]
    return min(zones, key=lambda zone: zone[2] - zone[1], default=None)


def _passive_trip(machine: Machine, folder: str) -> float:
    """Where a zone begins to slow the machine down, °C."""
    passive = [path for path, kind in machine.texts(f"{folder}/trip_point_*_type").items() if kind == "passive"]
    limits = [_celsius(machine.text(path.replace("_type", "_temp"))) for path in passive]
    return min((limit for limit in limits if limit is not None and limit > 0), default=_HOT_C)


def _celsius(millidegrees: str | None) -> float | None:
    try:
        return int(millidegrees or "") / 1000
    except ValueError:
        return None


def _over_current(machine: Machine) -> Finding:
    counts = {
        path.rpartition("/")[2]: int(text)
        for path, text in machine.texts("sys/class/hwmon/hwmon*/oc*_event_cnt").items()
        if text.isdecimal()
    }
    if not counts:
        return Finding("over-current", "unknown", "this board has no counters of it in /sys/class/hwmon")
    happened = {name: count for name, count in counts.items() if count}
    if happened:
        says = "throttled since the start: " + ", ".join(f"{name} {count}" for name, count in happened.items())
        return Finding("over-current", "off", says, "use a stronger supply, or a lower power mode")
    return Finding("over-current", "fine", "none since the start")
