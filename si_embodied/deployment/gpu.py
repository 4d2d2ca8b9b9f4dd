"""An NVIDIA card: driver, free memory, power limit and throttling, from nvidia-smi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from si_embodied.deployment.machine import Machine
from si_embodied.findings import Finding

QUERY = (
    "name", "driver_version", "memory.total", "memory.free", "clocks.sm", "clocks.max.sm", "power.limit",
    "power.default_limit", "temperature.gpu", "clocks_throttle_reasons.active",
)  # fmt: skip
HARMFUL_REASONS = {
    0x4: "the power cap", 0x8: "the hardware's slow-down", 0x20: "the driver's thermal limit",
    0x40: "the hardware's thermal limit", 0x80: "the external power brake",
}  # fmt: skip
"""Bits of nvmlClocksThrottleReasons (NVML API reference); the others are idling, locked clocks and synchronisation."""
_SLOW_FOR_HEAT = 0x8 | 0x20 | 0x40
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card as nvidia-smi describes it; None where it says "[N/A]" or "[Not Supported]"."""

    name: str
    driver: str
    total_bytes: int | None
    free_bytes: int | None
    clock_mhz: float | None
    most_clock_mhz: float | None
    power_limit_w: float | None
    default_limit_w: float | None
    temperature_c: float | None
    reasons: int | None  # bits of nvmlClocksThrottleReasons


def parse_gpus(text: str) -> list[Gpu]:
    """Read `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` with the fields of `QUERY`; skip other lines."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [_gpu(row) for row in rows if len(row) == len(QUERY)]


def _gpu(row: Sequence[str]) -> Gpu:
    total, free, clock, most, limit, default, temperature = (_number(cell) for cell in row[2:9])
    return Gpu(
        name=row[0],
        driver=row[1],
        total_bytes=None if total is None else int(total) * _MIB,
        free_bytes=None if free is None else int(free) * _MIB,
        clock_mhz=clock,
        most_clock_mhz=most,
        power_limit_w=limit,
        default_limit_w=default,
        temperature_c=temperature,
        reasons=_bits(row[9]),
    )


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bits(cell: str) -> int | None:
    try:
        return int(cell, 16)
    except ValueError:
        return None


def check_gpus(machine: Machine) -> Iterator[Finding]:
    """Judge the cards; a Jetson's GPU is judged in `jetson`, because its nvidia-smi knows little."""
    output = machine.output("nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits")
    gpus = parse_gpus(output or "")
    if not gpus:
        yield _no_gpu(machine)
        return
    for index, gpu in enumerate(gpus):
        name = f"GPU {index}"
        yield Finding(name, "fine", f"{gpu.name}, driver {gpu.driver}")
        yield _memory(f"{name} memory", gpu)
        yield _throttling(f"{name} throttling", gpu)
        yield _power(f"{name} power", gpu)


def _no_gpu(machine: Machine) -> Finding:
    if machine.text("proc/driver/nvidia/version") is not None or machine.has("nvidia-smi"):
        fix = "run nvidia-smi and read its error; after an update of the driver, restart the machine"
        return Finding("GPU", "off", "an NVIDIA driver is installed, but nvidia-smi lists no card", fix)
    return Finding("GPU", "note", "no NVIDIA driver; models run on the CPU, or on another machine")


def _memory(what: str, gpu: Gpu) -> Finding:
    if gpu.free_bytes is None or gpu.total_bytes is None:
        return Finding(
            what, "unknown", "nvidia-smi does not tell it", "look with nvidia-smi, or tegrastats on a Jetson"
        )
    return memory_finding(what, gpu.free_bytes, gpu.total_bytes)


def memory_finding(what: str, free: int, total: int) -> Finding:
    """Judge free memory by the released checkpoints that fit into it, by our own calculation."""
    from si_embodied.models.footprint import WEIGHTS
    from si_embodied.models.registry import RELEASES

    says = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    for weights in WEIGHTS:
        fitting = [each for each in RELEASES if each.architecture.memory_bytes(weights) <= free]
        if fitting:
            largest = max(fitting, key=lambda each: each.architecture.parameters)
            return Finding(what, "fine", f"{says}; room for {largest.short_name} with --weights {weights}")
    fix = "end what else uses it (nvidia-smi lists processes), or plan on another machine (si-embodied serve)"
    return Finding(what, "off", f"{says}; no released checkpoint fits, only si-nano", fix)


def _throttling(what: str, gpu: Gpu) -> Finding:
    if gpu.reasons is None:
        return Finding(what, "unknown", "nvidia-smi does not tell it", "look with nvidia-smi -q -d PERFORMANCE")
    temperature = "" if gpu.temperature_c is None else f" at {gpu.temperature_c:.0f} °C"
    found = [words for bit, words in HARMFUL_REASONS.items() if gpu.reasons & bit]
    if not found:
        return Finding(what, "fine", f"none{temperature}")
    hot = bool(gpu.reasons & _SLOW_FOR_HEAT)
    fix = "cool it: fan, dust, air flow" if hot else "raise the limit with nvidia-smi -pl, or use a stronger supply"
    return Finding(what, "off", f"slowed down by {', '.join(found)}{temperature}", fix)


def _power(what: str, gpu: Gpu) -> Finding:
    if gpu.power_limit_w is None or gpu.default_limit_w is None:
        return Finding(what, "note", "nvidia-smi does not tell the power limit")
    says = f"limit {gpu.power_limit_w:.0f} W, default {gpu.default_limit_w:.0f} W"
    if gpu.most_clock_mhz is not None and gpu.clock_mhz is not None:
        says += f"; clock {gpu.clock_mhz:.0f} of {gpu.most_clock_mhz:.0f} MHz now"
    if gpu.power_limit_w < gpu.default_limit_w:
        return Finding(what, "off", says, f"nvidia-smi -pl {gpu.default_limit_w:.0f}, if the supply allows it")
    return Finding(what, "fine", says)
