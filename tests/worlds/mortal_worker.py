"""A worker that says which process it works in, and dies of a task the first time."""

from __future__ import annotations

import os
import signal
from pathlib import Path


class Mortal:
    def do(self, task: str) -> int:
        """The process's id. A task is the path of a mark, or empty."""
        if task and not Path(task).exists():
            Path(task).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    def close(self) -> None:
        pass
