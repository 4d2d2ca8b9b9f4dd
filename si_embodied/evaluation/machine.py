"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess  # nosec B404 - runs nvidia-smi and nvpmodel, without a shell
from pathlib import Path

from si_embodied.evaluation.report import versions

_TIMEOUT_S = 5.0


def describe_machine(root: Path = Path("/")) -> dict[str, str]:
    """What a speed depends on, by name, packages included; what this system does not tell is left out."""
    return {**describe_computer(root), **versions()}


def describe_computer(root: Path = Path("/")) -> dict[str, str]:
    """Processor, memory, GPU and system, by name; what this system does not tell is left out."""
    found = {
        "board": _read(root / "proc/device-tree/model").rstrip("\0"),
        "power mode": _output("nvpmodel", "-q").replace("\n", " "),
        "processor": _field(root / "proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count() or ""),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),  # that libraries were told to use
        "memory": _memory(_field(root / "proc/meminfo", "MemTotal")),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
        "system": platform.platform(),
        "load": _load(_read(root / "proc/loadavg")),  # other programs cost time too
    }
    return {name: value for name, value in found.items() if value}


def _memory(text: str) -> str:
    """The kernel's "24683656 kB", which are of 1024 bytes, as "23.5 GiB"."""
    number = text.removesuffix(" kB")
    return f"{int(number) / 2**20:.1f} GiB" if number.isdecimal() else text


def _load(text: str) -> str:
    """The kernel's "5.65 5.52 3.86 5/126 4711" in words."""
    means = text.split()[:3]
    return f"{', '.join(means)} over 1, 5 and 15 minutes" if len(means) == 3 else text


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _field(file: Path, name: str) -> str:
    """The first value of that name in a file of `name: value` lines."""
    for line in _read(file).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _output(command: str, *arguments: str) -> str:
    """What a program prints; empty if it is missing or fails."""
    program = shutil.which(command)
    if program is None:
        return ""
    try:
        done = subprocess.run(  # nosec B603
            (program, *arguments), capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
