"""Peak memory of this process, on the host and on a CUDA device."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SELF = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Memory:
    """A peak, in bytes."""

    host: int | None  # resident; None if the system does not report it
    gpu: int | None  # allocated by torch on the current device; None without torch on CUDA


def reset_peak(proc: Path = _SELF) -> None:
    """Forget earlier peaks, as far as the system allows it; otherwise `peak` is that of the whole process."""
    try:
        (proc / "clear_refs").write_text("5", encoding="ascii")  # man 5 proc: resets the peak resident set size
    except OSError:
        pass
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()


def peak(proc: Path = _SELF) -> Memory:
    """The peak since `reset_peak`."""
    cuda = _cuda()
    return Memory(_host(proc), None if cuda is None else int(cuda.max_memory_allocated()))


def synchronize() -> None:
    """Wait for what the CUDA device still has to do, so that a clock measures finished work."""
    if (cuda := _cuda()) is not None:
        cuda.synchronize()


def _host(proc: Path) -> int | None:
    """VmHWM, which starts anew with a program; `getrusage` would inherit the peak of the process that started it."""
    try:
        lines = (proc / "status").read_text(encoding="ascii").splitlines()
        return int(dict(line.split(":", 1) for line in lines)["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _cuda() -> Any:
    """`torch.cuda` if this process has used it; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return None if torch is None or not torch.cuda.is_initialized() else torch.cuda
