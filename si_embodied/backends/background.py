"""A thread that does input and output, so that a caller's deadline holds whatever the other side does.

A socket's own timeouts count from one read or write to the next: a peer that sends a byte a second never runs into
them. What runs here is cancelled as a whole when its time is up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """An event loop in a thread of its own, for a client that is called from threads that know no event loop."""

    def __init__(self, name: str) -> None:
        """Start the thread, named for those who look at a running process."""
        self._loop = asyncio.new_event_loop()
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._closed = False
        self._lock = threading.Lock()  # of the two above
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        """What `work` returns or raises; it is cancelled when its time is up, and when the caller is interrupted.

        Raises:
            TimeoutError: not done after `timeout_s` seconds.
            concurrent.futures.CancelledError: `cancel` was called from another thread.
            RuntimeError: after `close`.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise RuntimeError("this client is closed; make a new one")
            future = asyncio.run_coroutine_threadsafe(_within(work, timeout_s), self._loop)
            self._running.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._running.discard(future)
            future.cancel()  # for Ctrl-C in `result`; nothing where it is done

    def cancel(self) -> None:
        """Cancel what is under way; callable from any thread."""
        with self._lock:
            running = list(self._running)
        for future in running:
            future.cancel()

    def close(self, *, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Cancel what is under way, run `last`, and end the thread; nothing when it was closed already."""
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
    """Not `asyncio.wait_for`: what the work raises is not mistaken for lateness, nor its tidying up waited for."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if task.done():
            return task.result()
    finally:
        task.cancel()  # nothing where it is done
    raise TimeoutError(f"not done after {timeout_s:.3f} s")
