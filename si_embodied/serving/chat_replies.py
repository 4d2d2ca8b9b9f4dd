"""The replies of OpenAI's chat completions, as a server writes them: whole ones, streamed ones, errors."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from si_embodied.serving.chat_format import Malformed
from si_embodied.serving.messages import REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.conversation import Ending
    from si_embodied.errors import RequestRefused

_CODES = {
    "unauthorized": ("authentication_error", "invalid_api_key"),
    "unknown_model": ("invalid_request_error", "model_not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
}
"""OpenAI's type and code of an error, by the reason of a refusal."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Why an answer ended, and how many tokens it took."""

    ending: Ending
    prompt_tokens: int
    completion_tokens: int  # with those of the thoughts
    thought_tokens: int = 0

    def plain(self) -> dict[str, Any]:
        """The `usage` of a reply; that of a model that thinks has the tokens of its thoughts."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        plain = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        thoughts = {"completion_tokens_details": {"reasoning_tokens": self.thought_tokens}}
        return {**plain, **(thoughts if self.thought_tokens else {})}


@dataclass(frozen=True, slots=True)
class Reply:
    """Writes the replies to one request."""

    model: str  # the name that the request used
    number: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created_s: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, usage: Usage, thoughts: str = "") -> bytes:
        """The body of a reply that is not streamed."""
        message = {"role": "assistant", "content": text, "refusal": None}
        if usage.thought_tokens:  # where vLLM and DeepSeek's API put thoughts; OpenAI's form has no place for them
            message["reasoning_content"] = thoughts
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": usage.ending}
        return _json(self._fields("chat.completion") | {"choices": [choice], "usage": usage.plain()})

    def chunk(self, delta: Mapping[str, str], ending: Ending | None = None) -> bytes:
        """A server-sent event with a part of the message."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": ending}
        return event(self._fields("chat.completion.chunk") | {"choices": [choice]})

    def usage_chunk(self, usage: Usage) -> bytes:
        """The server-sent event with the tokens of the request."""
        return event(self._fields("chat.completion.chunk") | {"choices": [], "usage": usage.plain()})

    def _fields(self, kind: str) -> dict[str, Any]:
        return {"id": self.number, "object": kind, "created": self.created_s, "model": self.model}


DONE = b"data: [DONE]\n\n"
"""The last server-sent event."""


def event(plain: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + _json(plain) + b"\n\n"


def models(names: tuple[str, ...], created_s: int) -> list[dict[str, Any]]:
    """The entries of the list of models."""
    return [{"id": name, "object": "model", "created": created_s, "owned_by": "si-embodied"} for name in names]


def error(refused: RequestRefused) -> dict[str, Any]:
    """The body of an error."""
    status = REASONS[refused.reason]
    kind, code = _CODES.get(refused.reason, ("server_error" if status >= 500 else "invalid_request_error", None))
    param = refused.param if isinstance(refused, Malformed) else None
    return {"error": {"message": str(refused), "type": kind, "param": param, "code": code}}


def no_route(status: int, method: str, path: str) -> dict[str, Any]:
    """The body of an error for a path or a method that the server does not have."""
    what, code = ("method", "method_not_allowed") if status == 405 else ("path", "unknown_url")
    message = f"no such {what} here: {method} {path[:200]}; docs/serving.md lists what there is"
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _json(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode()
