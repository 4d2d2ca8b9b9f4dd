"""Token probabilities in the chat-completions format: asking a server for them, and reading what it sends."""

from __future__ import annotations

import json
import math
from typing import Any

from si_embodied.certainty import Token

LOGPROBS = {"logprobs": True, "top_logprobs": 1}
"""Fields of a request. llama.cpp sends nothing for 0 `top_logprobs`, and 20 alternatives of each token by default."""


def without_logprobs(request: bytes) -> bytes:
    """The body of a request without the fields that ask for probabilities."""
    return json.dumps({key: value for key, value in json.loads(request).items() if key not in LOGPROBS}).encode()


def tokens_of(choice: Any) -> tuple[Token, ...]:
    """The tokens of an entry of a reply's `choices`; empty if the server sent none, or not in OpenAI's form."""
    try:
        return tuple(_token(entry) for entry in choice["logprobs"]["content"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _token(entry: Any) -> Token:
    data, logprob = entry.get("bytes"), float(entry["logprob"])
    if math.isnan(logprob):
        raise ValueError("not a logarithm: NaN")
    text = bytes(data) if isinstance(data, list) else str(entry["token"]).encode("utf-8", "surrogatepass")
    return Token(text, math.exp(min(logprob, 0.0)))
