"""A model on an OpenAI-compatible server: vLLM, SGLang, LMDeploy, llama.cpp, `transformers serve`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import os
import re
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from si_embodied.backends.background import Background
from si_embodied.backends.base import BackendInfo
from si_embodied.backends.breaker import CircuitBreaker
from si_embodied.backends.chat import chat_answer, chat_request, model_names, only_json_object
from si_embodied.backends.config import ServerOptions
from si_embodied.backends.connection import API_KEY_VARIABLE, base_url, http_client
from si_embodied.backends.conventions import question
from si_embodied.backends.logprobs import without_logprobs
from si_embodied.backends.retries import Again, Retries, retry_after_s
from si_embodied.certainty import certainty_of
from si_embodied.errors import BackendError, DeadlineExceeded, PromptTooLong, extra
from si_embodied.thinking import asked_to_think
from si_embodied.types import Completion

with extra("serve"):
    import httpx

if TYPE_CHECKING:
    from si_embodied.types import Prompt

T = TypeVar("T")

FAIR_DEADLINE_S = 1.0
"""A server that misses a shorter deadline is not known to have failed."""

_CONTEXT = re.compile(rb"context[ _-]?(length|size|window)|exceed_context|max_model_len|session_len", re.IGNORECASE)
"""How servers say that a prompt is longer than the model's context: OpenAI and vLLM, llama.cpp, SGLang, LMDeploy."""

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_MEANINGS = {
    401: f"it rejected the API key; set {API_KEY_VARIABLE} to the key that the server was started with",
    403: f"it rejected the API key; set {API_KEY_VARIABLE} to the key that the server was started with",
    404: "no such model or address; use a name that the server's /v1/models lists",
    413: "the request is too large; send smaller images, or raise the server's limit",
}


class _Unavailable(BackendError):
    """Every attempt failed. The circuit breaker counts these."""


class _OutOfRetries(DeadlineExceeded):
    """An attempt failed, and the deadline passes before the next one. The circuit breaker counts these too."""


class _Refused(BackendError):
    """The server rejected the request; asking the same again would not help."""

    def __init__(self, message: str, status: int, reply: bytes) -> None:
        super().__init__(message)
        self.status, self.reply = status, reply


class ServerBackend:
    """Greedy completions from a model server. Thread-safe; the server does the batching."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        options: ServerOptions | None = None,
        thinking_tokens: int = 0,
        retries: Retries | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Set up the client without connecting; `check` tests the connection.

        Args:
            url: "http://host:8000", with or without "/v1".
            model: the name under which the server serves the model.
            api_key: sent as a bearer token. Defaults to the environment variable SI_EMBODIED_SERVER_KEY.
            options: the request format and limits.
            thinking_tokens: above 0, ask the model to think first, and allow it so many more tokens.
            retries: how often to retry, and with what delays.
            breaker: decides when to stop sending requests to a failing server.

        Raises:
            ConfigError: not a valid URL, or one with a password; an API key that HTTP cannot carry; or a proxy or
                certificate file in the environment that cannot be used.
        """
        parsed = base_url(url)
        self._url = str(parsed).rstrip("/")
        self._options, self._thinking_tokens = options or ServerOptions(), thinking_tokens
        self._retries, self._breaker = retries or Retries(), breaker or CircuitBreaker()
        key = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
        self._client = http_client(parsed, key, self._options.connect_timeout_s)
        self._background = Background("server-backend")
        self._logprobs = True  # until the server refuses to send them
        self.info = BackendInfo(model=model, kernel="server", dtype="server")

    def apart(self) -> ServerBackend:
        """The same server over the same connections, with a circuit breaker of its own.

        The failures of its requests do not stop this backend's, and no probe of one keeps the other waiting. `cancel`
        and `close` act on both.
        """
        other = copy.copy(self)
        other._breaker = CircuitBreaker()
        return other

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete the prompt, with points in 0..1000. Latency stages: "encode" (the images) and "request".

        A deadline of less than `FAIR_DEADLINE_S` that passes without an answer does not count as the server's failure.

        Raises:
            DeadlineExceeded: the deadline passed, retries included.
            BackendError: the server is unreachable, failed, rejected the request or sent a malformed reply; or the
                circuit breaker is open; or `cancel` was called.
        """
        started = time.monotonic()
        if not deadline_s > 0:
            raise DeadlineExceeded(f"no time left to answer: deadline_s is {deadline_s}")
        asked = question(asked_to_think(prompt) if self._thinking_tokens else prompt, self._options.family)
        body = chat_request(
            self.info.model, asked, self._options, logprobs=self._logprobs, thinking_tokens=self._thinking_tokens
        )
        encoded_s = time.monotonic() - started
        self._breaker.enter()
        try:
            reply = self._within(self._ask(body, started + deadline_s), deadline_s - encoded_s)
        except (_Unavailable, DeadlineExceeded) as error:
            if isinstance(error, _Unavailable | _OutOfRetries) or deadline_s - encoded_s >= FAIR_DEADLINE_S:
                self._breaker.failed(str(error))
            else:
                self._breaker.abandoned()
            raise
        except BaseException as error:
            self._breaker.abandoned()
            if isinstance(error, _Refused) and _CONTEXT.search(error.reply):
                raise PromptTooLong(f"{error}; show fewer or smaller images, or serve a longer context") from error
            raise
        self._breaker.succeeded()
        answer = chat_answer(reply, self._url, self._options)
        return Completion(
            asked.answer(answer.text),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            thought=answer.thought,
            latency_s={"encode": encoded_s, "request": time.monotonic() - started - encoded_s},
            certainty=certainty_of(answer.tokens, only_json_object(answer.text)),
        )

    def check(self, *, deadline_s: float = 3.0) -> tuple[str, ...]:
        """Check that the server is ready and serves the model.

        Returns:
            The names the server lists; empty if it cannot list them.

        Raises:
            DeadlineExceeded: the server did not answer in time.
            BackendError: the server is unreachable, not ready, or does not serve the model.
        """
        names = self.list_models(deadline_s=deadline_s)
        if names and self.info.model not in names:
            raise BackendError(
                f"{self._url} does not serve {self.info.model!r}, only: {', '.join(names)}; "
                "use one of those names, or start the server with this model"
            )
        return names

    def list_models(self, *, deadline_s: float) -> tuple[str, ...]:
        """The names that a ready server lists; raises like `check`."""
        return self._within(self._probe(), deadline_s)

    def cancel(self) -> None:
        """Abort the request in progress, from any thread. The closed connection tells the server."""
        self._background.cancel()

    def close(self) -> None:
        """Close the connections. Do not call `generate` afterwards."""
        self._background.close(last=self._client.aclose())

    def _within(self, work: Coroutine[Any, Any, T], left_s: float) -> T:
        try:
            return self._background.call(work, timeout_s=max(left_s, 0.0))
        except concurrent.futures.CancelledError:
            raise BackendError(f"the request to {self._url} was canceled") from None
        except BackendError:
            raise
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._url} did not answer within the remaining {left_s:.2f} s; use a longer deadline_s, a smaller "
                "model or smaller images"
            ) from None

    async def _ask(self, body: bytes, deadline: float) -> bytes:
        """Send the request, retrying transient failures; the reply's body.

        A server that refuses to send probabilities is asked without them, from then on.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._exchange("POST", "/v1/chat/completions", body)
            except _Refused as refused:
                less = without_logprobs(body)
                if less == body or b"logprobs" not in refused.reply:
                    raise
                self._logprobs, body = False, less
                continue
            except Again as failure:
                wait_s, left_s = self._retries.wait_s(attempt, failure.after_s), deadline - time.monotonic()
                if wait_s is None:
                    raise _Unavailable(f"{failure} (asked {attempt} times)") from failure
                if wait_s >= left_s:
                    raise _OutOfRetries(
                        f"{failure}; the next retry is due in {wait_s:.1f} s, but only {max(left_s, 0.0):.1f} s remain"
                    ) from failure
            await asyncio.sleep(wait_s)

    async def _probe(self) -> tuple[str, ...]:
        """The models that a ready server lists; empty if it is healthy but cannot list them."""
        healthy = False
        try:
            try:
                await self._exchange("GET", "/health")
                healthy = True
            except _Refused as error:
                if error.status != 404:  # not every server has /health
                    raise
            return model_names(await self._exchange("GET", "/v1/models"), f"{self._url}/v1/models")
        except Again as failure:
            if healthy:  # `transformers serve` cannot list models before the first download from the hub
                return ()
            raise BackendError(f"not ready: {failure}") from failure

    async def _exchange(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send one request; the body of a successful reply.

        Raises:
            Again: a transient failure.
            BackendError: a permanent failure.
        """
        where = f"{self._url}{path}"
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._client.stream(method, where, content=body, headers=headers) as reply:
                data = await self._limited(reply, where)
        except httpx.ConnectError as error:
            raise Again(f"cannot connect to {where} ({error}); is the server running, and at this address?") from error
        except httpx.TimeoutException as error:
            limit_s = self._options.connect_timeout_s
            raise Again(f"{where} accepted no connection or data for {limit_s} s; is the host right?") from error
        except httpx.TransportError as error:
            why = f"{type(error).__name__}: {error!s:.200}"
            raise Again(f"{where} closed the connection ({why}); see its log") from error
        if reply.is_success:
            return data
        text = " ".join(data[:300].decode("utf-8", "replace").split())
        message = f"{where} answered {reply.status_code}: {_MEANINGS.get(reply.status_code, repr(text))}"
        if reply.status_code in _TRANSIENT:
            raise Again(message, after_s=retry_after_s(reply.headers.get("Retry-After")))
        raise _Refused(message, reply.status_code, data)

    async def _limited(self, reply: httpx.Response, where: str) -> bytes:
        limit = self._options.max_answer_bytes
        data = bytearray()
        async for chunk in reply.aiter_raw():
            data += chunk
            if len(data) > limit:
                raise BackendError(
                    f"{where} sent more than {limit} bytes, which is too long for a plan. Is this a chat server? "
                    "If it is, raise max_answer_bytes"
                )
        return bytes(data)


def served_models(url: str, *, deadline_s: float = 3.0) -> tuple[str, ...]:
    """The models that a server lists; empty if it is ready but cannot list them.

    Raises:
        BackendError: the server is unreachable or not ready; `DeadlineExceeded` if it did not answer in time.
    """
    backend = ServerBackend(url, "")
    try:
        return backend.list_models(deadline_s=deadline_s)
    finally:
        backend.close()
