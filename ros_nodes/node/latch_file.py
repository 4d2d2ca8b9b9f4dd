"""The file in which the watchdog keeps the emergency stop over its own restart, and over one of the computer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_LATCHED = "latched\n"


def latch_path(namespace: str) -> Path:
    """The file of a watchdog: one for each ROS domain and namespace, under `ROS_HOME`, which is `~/.ros` by default."""
    home = Path(os.environ.get("ROS_HOME") or os.path.expanduser("~/.ros"))  # noqa: PTH111 - Path raises without a home
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    robot = namespace.strip("/").replace("/", ".")
    return home / "si_embodied" / ".".join(filter(None, ("emergency_stop", f"domain_{domain}", robot)))


class LatchFile:
    """While the file exists, the stop is latched."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is read or written yet."""
        self.path = path

    def reason(self) -> str:
        """Why the stop is latched at the start; empty if it is not. A file that cannot be read may be a stop."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except (OSError, UnicodeDecodeError) as error:
            return f"it may have been set before, {str(self.path)!r} cannot be read: {error}"
        if text != _LATCHED:
            return f"it may have been set before, {str(self.path)!r} is damaged: it says {text[:40]!r}"
        return f"it was set before this watchdog started and never released ({str(self.path)!r})"

    def prepare(self) -> None:
        """Create the directory.

        Raises:
            OSError: nothing can be written there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write to {str(self.path.parent)!r}")

    def write(self, *, latched: bool) -> None:
        """Keep the stop, or delete the file: at any time it is there as a whole or not at all.

        Raises:
            OSError: the disk is full, or nothing can be written there.
        """
        if not latched:
            self.path.unlink(missing_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f"{self.path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_LATCHED)
                file.flush()
                os.fsync(handle)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
