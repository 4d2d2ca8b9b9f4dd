"""Reads this machine: files, and what programs print. Tests give a directory and texts instead."""

from __future__ import annotations

import shutil
import subprocess  # nosec B404 - runs nvidia-smi, chronyc and the like, without a shell
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the checks look."""

    root: Path = Path("/")

    def text(self, path: str) -> str | None:
        """The contents of a file such as "proc/meminfo"; None if it is missing or cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").replace("\0", "").strip()
        except OSError:
            return None

    def texts(self, pattern: str) -> dict[str, str]:
        """The readable files that match a pattern, by path relative to the root."""
        paths = sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))
        return {path: text for path in paths if (text := self.text(path)) is not None}

    def has(self, program: str) -> bool:
        """Whether a program is installed."""
        return shutil.which(program) is not None

    def output(self, program: str, *arguments: str, timeout_s: float = _TIMEOUT_S) -> str | None:
        """What a program prints; None if it is missing, fails or hangs.

        Of one that never ends, such as tegrastats, what it has printed until the time-out.
        """
        found = shutil.which(program)
        if found is None:
            return None
        try:
            command = (found, *arguments)
            done = subprocess.run(  # nosec B603
                command, capture_output=True, check=True, timeout=timeout_s, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as late:
            return _decoded(late.stdout) or None
        except (OSError, subprocess.CalledProcessError):
            return None
        return _decoded(done.stdout)


def _decoded(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", errors="replace").strip()
