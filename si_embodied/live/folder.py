"""Frames through a run's folder, so that any process of a run can be watched, from any other, at any time.

While a page is open, its server keeps touching the file `live/open`. The processes that play episodes look at its age,
and write what they do to files of their own beside it, which are replaced atomically.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.live.board import News
from si_embodied.live.records import RecordsTail
from si_embodied.runs import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.live.frame import Frame

OPEN_S = 5.0
"""How long after its last touch a page counts as open."""
LOST_S = 600.0
"""A frame this old is of a process that was killed, or of a plan that takes longer than anybody watches."""
MOST_WORKERS = 8
"""A page shows the frames of so many processes, the most recent."""
_LIVE, _OPEN = "live", "open"


class FolderScreen:
    """Shows the episodes of this process to whoever watches the run's folder."""

    def __init__(self, run: Path) -> None:
        """Prepare a file in `run`; nothing is written before a page is open."""
        self._open = run / _LIVE / _OPEN
        self._file = run / _LIVE / f"{socket.gethostname()}-{os.getpid()}.json"

    def wanted(self) -> bool:
        """Whether a page is open."""
        try:
            return time.time() - self._open.stat().st_mtime < OPEN_S
        except OSError:
            return False

    def show(self, frame: Frame) -> None:
        """Replace this process's frame.

        Raises:
            RecordError: it cannot be written.
        """
        write_text(self._file, frame.to_json())

    def close(self) -> None:
        """Remove this process's frame."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


class FolderSource:
    """The frames and the records of a run, which may go on in other processes."""

    def __init__(self, run: Path) -> None:
        """Watch a run's folder; it need not exist yet."""
        self.run = run
        self._records, self._lock = RecordsTail(run), threading.Lock()
        self._acting, self._changes = -1, 0  # processes that show episodes, and how often their number has changed

    def news(self, seen: Mapping[str, int]) -> list[News]:
        """What is newer than the versions seen; and asking tells the run that a page is open."""
        self._touch()
        found = self._frames(seen)
        with self._lock:
            version = self._records.read()
            if version > seen.get("runs", 0):
                found.append(News("runs", "runs", version, self._records.to_json()))
            acting = len(list((self.run / _LIVE).glob("*.json")))  # a process takes its file away when it ends
            self._changes += acting != self._acting
            self._acting = acting
            if self._changes > seen.get("state", 0):
                found.append(News("state", "state", self._changes, json.dumps({"acting": acting})))
        return found

    def pages(self, count: int) -> None:
        """So many pages are open now; without any, the run shows no frames."""
        if count == 0:
            with contextlib.suppress(OSError):
                (self.run / _LIVE / _OPEN).unlink(missing_ok=True)

    def _touch(self) -> None:
        with contextlib.suppress(OSError):  # a run on a read-only disk can be read, but shows no frames
            (self.run / _LIVE).mkdir(parents=True, exist_ok=True)
            (self.run / _LIVE / _OPEN).touch()

    def _frames(self, seen: Mapping[str, int]) -> list[News]:
        """The frames that are newer than the versions seen."""
        found = []
        for file in (self.run / _LIVE).glob("*.json"):
            with contextlib.suppress(OSError):  # replaced or removed meanwhile
                found.append((file.stat().st_mtime_ns, file))
        news = []
        for version, file in sorted(found, reverse=True)[:MOST_WORKERS]:
            key = f"frame {file.stem}"
            if version <= seen.get(key, 0) or time.time() - version / 1e9 > LOST_S:
                continue
            with contextlib.suppress(OSError):
                text = file.read_text(encoding="utf-8")
                news.append(News("frame", key, version, f'{{"worker":{json.dumps(file.stem)},"frame":{text}}}'))
        return news
