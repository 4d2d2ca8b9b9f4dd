"""A background event loop for network I/O, so that a caller's deadline holds whatever the peer does.

Socket timeouts apply to each read or write: a peer that sends one byte per second never triggers them. A coroutine run
here is cancelled as a whole when its time is up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """An event loop in its own thread, for clients with a synchronous interface."""

    def __init__(self, name: str) -> None:
        """Start the thread; `name` shows up in debuggers and process monitors."""
        self._loop = asyncio.new_event_loop()
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._closed = False
        self._lock = threading.Lock()  # guards _running and _closed
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        """Run `work` and return its result; cancel it on timeout or if the caller is interrupted.

        Raises:
            TimeoutError: `work` did not finish within `timeout_s` seconds.
            concurrent.futures.CancelledError: `cancel` was called from another thread.
            RuntimeError: called after `close`.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise RuntimeError("this client is closed; create a new one")
            future = asyncio.run_coroutine_threadsafe(_within(work, timeout_s), self._loop)
            self._running.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._running.discard(future)
            future.cancel()  # after Ctrl-C in `result`; no effect on a finished future

    def cancel(self) -> None:
        """Cancel the running calls; callable from any thread."""
        with self._lock:
            running = list(self._running)
        for future in running:
            future.cancel()

    def close(self, *, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Cancel the running calls, run `last`, and stop the thread. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                if last is not None:
                    last.close()
                return
            self._closed = True
        self.cancel()
        if last is not None:
            asyncio.run_coroutine_threadsafe(last, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())


async def _within(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Await `work` for at most `timeout_s`.

    Unlike `asyncio.wait_for`, it passes on a `TimeoutError` that the work itself raises, and does not wait for the
    cleanup of a cancelled coroutine.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if task.done():
            return task.result()
    finally:
        task.cancel()  # no effect on a finished task
    raise TimeoutError(f"did not finish within {timeout_s:.3f} s")
