"""The robot's side of a planning server: needs numpy, msgpack and websockets, and no model."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import os
import socket
import threading
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from si_embodied.backends.background import Background
from si_embodied.backends.base import BackendInfo
from si_embodied.backends.proxies import environment_advice
from si_embodied.config import PlannerConfig
from si_embodied.errors import (
    BackendError,
    ConfigError,
    DeadlineExceeded,
    MessageError,
    ObservationError,
    RequestRefused,
    extra,
)
from si_embodied.guard import Guard
from si_embodied.planner import unforeseen
from si_embodied.prompts import load_prompt, prompt_versions
from si_embodied.serving.access import API_KEY_VARIABLE, check_sendable, is_loopback, key_in_environment
from si_embodied.serving.messages import PLAN_PATH, REASONS, PlanRequest, pack_request, unpack_reply
from si_embodied.serving.options import MOST_BYTES
from si_embodied.types import Code, Execute, Hold, Refusal, never_asked, refused

with extra("remote"):
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, WebSocketException

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.memory import Memory
    from si_embodied.types import Decision, Observation, Task

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 0.5
_MESSAGE_TOO_BIG = 1009
"""Close code of RFC 6455, 7.4.1."""


class RemotePlanner:
    """A planner with the interface of `Planner` that asks a planning server (`si-embodied serve`).

    Network and server failures become a `Hold`, so a control loop sees no exception. The robot's own guard checks every
    goal that comes back. A broken connection is re-established. One plan at a time.
    """

    def __init__(
        self,
        url: str,
        embodiment: Embodiment,
        config: PlannerConfig | None = None,
        *,
        robot: str | None = None,
        api_key: str | None = None,
        compressed: bool = False,
        patience_s: float = 2.0,
    ) -> None:
        """Prepare the client; it connects on the first plan.

        Args:
            url: the server, "ws://workstation:8421"; "wss" for a server with a certificate.
            embodiment: the robot; determines its skills and bounds.
            config: deadline, grounding and bounds. The prompts come from the server, which knows its model.
            robot: a unique name for this robot; by default the host name and process id.
            api_key: the server's key; by default the environment variable SI_EMBODIED_API_KEY, if set.
            compressed: send JPEG images and depth in whole millimetres, for wireless networks; needs Pillow.
            patience_s: how long one plan keeps retrying an unreachable server, while its image is not too old.

        Raises:
            ConfigError: not a valid URL, or a key that no header can carry.
        """
        self.embodiment = embodiment
        self.config = config or PlannerConfig()
        self.guard = Guard(embodiment, self.config.guard)
        self.info = BackendInfo(url, "none", "none")
        self._url, host = _plan_url(url)
        self._robot = robot or f"{socket.gethostname()}-{os.getpid()}"[:100]
        key = key_in_environment() if api_key is None else api_key
        if key:
            check_sendable(key)  # a header that cannot be sent would be quoted, with the key, in the hold's message
        self._settings: dict[str, Any] = {
            "additional_headers": {"Authorization": f"Bearer {key}"} if key else {},
            "compression": None,  # deflate does not shrink images
            "max_size": MOST_BYTES,
            "open_timeout": None,  # covered by the deadline
            "proxy": None if is_loopback(host) else True,
        }
        self._compressed, self._patience_s = compressed, patience_s
        self._lock = threading.Lock()
        self._number = 0  # of the last request
        self._sends_views = True  # until an answer names a prompt that shows no remembered views
        self._background = Background("remote-planner")
        self._socket: ClientConnection | None = None

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """Make one decision; see `Planner.plan`. The record's latency has "network" as an additional part.

        A `Hold` has `BACKEND_FAILED` if the server fails, `DEADLINE_EXCEEDED` if it is late, else the guard's own code.
        """
        started = time.monotonic()
        try:
            return self._plan(task, observation, memory, now_s, started)
        except RequestRefused as error:
            code = Code.DEADLINE_EXCEEDED if error.reason == "late" else Code.BACKEND_FAILED
            return self._hold(code, f"{self._url} refused ({error.reason}): {error}", observation, started)
        except (MessageError, ObservationError, BackendError) as error:
            return self._hold(Code.BACKEND_FAILED, f"{self._url}: {error}", observation, started)
        except concurrent.futures.CancelledError:
            return self._hold(Code.BACKEND_FAILED, "canceled while the server was planning", observation, started)
        except (WebSocketException, OSError) as error:
            if isinstance(error, TimeoutError):
                late = f"{self._url} did not answer within {self.config.deadline_s} s"
                return self._hold(Code.DEADLINE_EXCEEDED, late, observation, started)
            return self._hold(Code.BACKEND_FAILED, self._why(error), observation, started)
        except BaseException as error:  # noqa: BLE001 - the last resort: nothing may end the control loop
            refusal = unforeseen(error)
            return self._hold(refusal.code, f"{self._url}: {refusal.message}", observation, started)

    def _plan(
        self, task: Task, observation: Observation, memory: Memory, now_s: float | None, started: float
    ) -> Decision:  # fmt: skip
        now_s = observation.stamp_s if now_s is None else now_s
        refusal = self.guard.check_task(task) or self.guard.check_observation(observation, now_s)
        if refusal is not None:
            return self._hold(refusal.code, refusal.message, observation, started)
        request = PlanRequest(
            self._robot,
            self.embodiment,
            self.config,
            task,
            observation,
            memory if self._sends_views else memory.without_views(),
            now_s=now_s,
            deadline_s=self.config.deadline_s,
        )
        with self._lock:
            self._number += 1
            # A later request would have an image that the guard refuses; the next plan has a new one.
            patience_s = min(self._patience_s, self.config.guard.max_observation_age_s - (now_s - observation.stamp_s))
            exchange = self._exchange(request, started, patience_s)
            decision = self._background.call(exchange, timeout_s=self.config.deadline_s)
        elapsed_s = time.monotonic() - started
        if decision.record.observation_stamp_s != observation.stamp_s:
            words = f"{self._url} answered for an image of {decision.record.observation_stamp_s} s, not this one"
            return self._hold(Code.BACKEND_FAILED, words, observation, started)
        decision = self._checked(decision, observation, memory, elapsed_s)
        if elapsed_s > self.config.deadline_s:
            late = f"{self._url} answered after {elapsed_s:.2f} s, later than {self.config.deadline_s} s"
            return refused(decision, Refusal(Code.DEADLINE_EXCEEDED, late))
        return decision

    def cancel(self) -> None:
        """Abort the plan in progress, if any."""
        self._background.cancel()

    def check(self, *, deadline_s: float = 5.0) -> None:
        """Connect now, to find a wrong address or key before the first plan.

        Raises:
            DeadlineExceeded: the server did not answer in time.
            BackendError: the server is unreachable or rejects this robot.
        """
        try:
            with self._lock:
                self._background.call(self._connected(), timeout_s=deadline_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._url} did not answer within {deadline_s} s; is it busy, or not a planning server?"
            ) from None
        except (WebSocketException, OSError) as error:
            raise BackendError(self._why(error)) from error

    def close(self) -> None:
        """Disconnect; the planner cannot be used afterwards."""
        self._background.close(last=self._leave())

    async def _exchange(self, request: PlanRequest, started: float, patience_s: float) -> Decision:
        """Send the request and return the decision, reconnecting until `patience_s` has passed."""
        wait_s = _FIRST_WAIT_S
        try:
            while True:
                elapsed_s = time.monotonic() - started
                try:
                    connection = await self._connected()
                    await connection.send(self._packed(request, time.monotonic() - started))
                    reply = await connection.recv(decode=False)
                except (WebSocketException, OSError) as error:
                    self._drop()
                    if elapsed_s + wait_s > patience_s or not _may_pass(error):
                        raise
                else:
                    return unpack_reply(bytes(reply), number=self._number)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        except RequestRefused:
            raise
        except BaseException:
            self._drop()  # a late reply must not be taken for the next request's
            raise

    async def _connected(self) -> ClientConnection:
        if self._socket is None:
            try:
                self._socket = await connect(self._url, **self._settings)
            except InvalidProxy as error:  # its text repeats the proxy's address, with its password
                raise BackendError(environment_advice(self._url, ValueError(error.msg))) from None
            except (ImportError, ValueError) as error:  # a SOCKS proxy needs a further package
                raise BackendError(environment_advice(self._url, error)) from error
        return self._socket

    def _packed(self, request: PlanRequest, elapsed_s: float) -> bytes:
        """The message with its times updated: the image is older now, and less of the deadline is left."""
        now = dataclasses.replace(
            request, now_s=request.now_s + elapsed_s, deadline_s=max(0.0, request.deadline_s - elapsed_s)
        )
        return pack_request(now, number=self._number, compressed=self._compressed)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    async def _leave(self) -> None:
        if self._socket is not None:
            self._socket.transport.close()

    def _why(self, error: Exception) -> str:
        if isinstance(error, InvalidStatus):
            status, said = error.response.status_code, (error.response.body or b"")[:300].decode("utf-8", "replace")
            if status not in REASONS.values():
                return (
                    f"{self._url} answered with status {status}, as no planning server does: give the address that "
                    "`si-embodied serve` prints"
                )
            return f"{self._url} rejected this robot ({status}): {said or 'is it a planning server?'}"
        if isinstance(error, ConnectionClosed) and _close_code(error) == _MESSAGE_TOO_BIG:
            return f"{self._url}: the message is too big; use compressed=True, or serve with a higher --max-megabytes"
        if isinstance(error, ConnectionClosed):
            return f"{self._url} closed the connection ({error}); see the server's log"
        return f"cannot reach {self._url} ({error}); is `si-embodied serve` running there?"

    def _checked(self, decision: Decision, observation: Observation, memory: Memory, elapsed_s: float) -> Decision:
        """The decision with latencies as measured here, or a `Hold` if the robot's own guard rejects a goal."""
        took = decision.record.latency_s
        latency_s = {**took, "network": max(0.0, elapsed_s - took.get("total", 0.0)), "total": elapsed_s}
        version = decision.record.prompt_version
        self._sends_views = version not in prompt_versions() or "keyframes" in load_prompt(version).shown
        record = dataclasses.replace(decision.record, latency_s=latency_s)
        if isinstance(decision, Execute):
            for index, goal in enumerate(decision.goals):
                refusal = self.guard.check_goal(goal, observation, memory, decision.goals[:index])
                if refusal is not None:
                    return refused(dataclasses.replace(decision, record=record), refusal)
        return dataclasses.replace(decision, record=record)

    def _hold(self, code: Code, message: str, observation: Observation, started: float) -> Hold:
        elapsed_s = time.monotonic() - started
        return never_asked(Refusal(code, message), self.info, "none", observation.stamp_s, elapsed_s)


def _may_pass(error: Exception) -> bool:
    """Whether a retry may help: the server is (re)starting, or an idle connection has dropped."""
    if isinstance(error, InvalidStatus):
        return bool(error.response.status_code >= 500)
    return not (isinstance(error, ConnectionClosed) and _close_code(error) == _MESSAGE_TOO_BIG)


def _close_code(error: ConnectionClosed) -> int | None:
    """The close code sent by the other side, if any."""
    return None if error.rcvd is None else error.rcvd.code


def _plan_url(url: str) -> tuple[str, str]:
    """The URL of the planning websocket, and its host."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise ConfigError(
            f"expected a planning server's URL such as ws://127.0.0.1:8421, got {url!r}: {error}"
        ) from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(f"expected a planning server's URL such as ws://127.0.0.1:8421, got: {url!r}")
    if parts.username is not None:
        raise ConfigError(f"a password in a URL ends up in logs; set {API_KEY_VARIABLE} instead")
    path = parts.path.rstrip("/") or PLAN_PATH
    return urllib.parse.urlunsplit((scheme, parts.netloc, path, "", "")), parts.hostname
