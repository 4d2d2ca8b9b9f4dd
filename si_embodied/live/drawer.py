"""Draws moments in a thread of its own, so that no robot waits for a picture."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from si_embodied.live.board import Screen
    from si_embodied.live.moment import Moment

_LOG = logging.getLogger(__name__)


class Drawer:
    """Shows moments on a screen; while one is drawn, only the latest of those that come waits."""

    def __init__(self, screen: Screen) -> None:
        """Start no thread yet."""
        self._screen, self._lock = screen, threading.Lock()
        self._next: Moment | None = None
        self._thread: threading.Thread | None = None  # None while there is nothing to draw

    def show(self, moment: Moment) -> None:
        """Have a moment drawn; returns at once. Any thread may call it."""
        with self._lock:
            self._next = moment
            if self._thread is None:
                self._thread = threading.Thread(target=self._draw, name="live-drawer", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until everything is drawn."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _draw(self) -> None:
        from si_embodied.live.drawing import frame_of  # loads Pillow, once somebody looks

        while True:
            with self._lock:
                moment, self._next = self._next, None
                if moment is None:
                    self._thread = None
                    return
            try:
                self._screen.show(frame_of(moment))
            except Exception as error:  # noqa: BLE001 - whatever cannot be shown, the robot goes on
                _LOG.warning("a moment cannot be shown: %s: %s", type(error).__name__, error)
