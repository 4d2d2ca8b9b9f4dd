"""The chat-completions format of OpenAI-compatible servers: building requests and parsing replies.

Servers disagree about where the answer is and what surrounds it: reasoning before it or in a field of its own, a list
of parts, a byte order mark, special tokens that were not stripped, code fences and prose. All of that is removed here,
so that the plan parser can stay strict.
"""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.backends.logprobs import LOGPROBS, tokens_of
from si_embodied.backends.reasoning import BLANK, THOUGHT, message_text, split_reasoning
from si_embodied.errors import AnswerCutOff, BackendError, extra

with extra("serve"):
    from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.backends.config import AnswerFormat, ServerOptions
    from si_embodied.backends.conventions import Question
    from si_embodied.certainty import Token


_INCOMPLETE = {
    "content_filter": "the server's content filter stopped the answer (finish_reason content_filter): rephrase the "
    "instruction, or turn the filter off",
    "safety": "the server's safety filter stopped the answer (finish_reason SAFETY): rephrase the instruction, or turn "
    "the filter off",
    "abort": "the server aborted the answer (finish_reason abort); see its log",
    "error": "the server failed while it wrote the answer (finish_reason error); see its log",
}
"""Values of `finish_reason` for an answer that is not whole; "length" names the limit and is handled apart."""
_TRUNCATED = ("length", "max_tokens", "model_length")

_BRACES = re.compile(r"[{}]")
_MAX_TOKEN_COUNT = 1 << 31


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A server's answer."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    thought: str = ""
    tokens: tuple[Token, ...] = ()  # with special ones and reasoning, as the server sent them; empty if it did not


def chat_request(
    model: str, asked: Question, options: ServerOptions, *, logprobs: bool, thinking_tokens: int = 0
) -> bytes:
    """The body of a request: the system text, and the user's text and images (data URLs) in reading order.

    `logprobs` asks for the probabilities of the answer's tokens, and `thinking_tokens` may precede the answer.
    """
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else _image(part, options) for part in asked.content
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": asked.system}] if asked.system else []
    body = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": options.max_tokens + thinking_tokens,
        "stream": False,
        **_schema(asked, options.answer_format),
        **(LOGPROBS if logprobs else {}),
    }
    return json.dumps(body).encode()


def chat_answer(reply: bytes, where: str, options: ServerOptions) -> ChatAnswer:
    """The answer in a reply's body, without reasoning and special tokens; `where` is the URL, for error messages.

    Raises:
        BackendError: the reply reports an error or a refusal, or has no answer, or one that is not whole.
    """
    body = reply_json(reply, where)
    try:
        choice = body["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        ended = ended.lower() if isinstance(ended, str) else None
        (text, reasoning), tokens = message_text(message), tokens_of(choice)
        refusal = message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        text, reasoning, tokens, ended, refusal = None, "", (), None, None
    if ended in _TRUNCATED:
        raise AnswerCutOff(
            f"the answer was cut off at max_tokens={options.max_tokens}; raise it (or thinking_tokens, if the model "
            f"thinks): {(text or '')[:80]!r}"
        )
    if ended in _INCOMPLETE:
        raise BackendError(f"{where}: {_INCOMPLETE[ended]}: {(text or '')[:80]!r}")
    if text is None or (isinstance(refusal, str) and refusal.strip(BLANK)):
        raise _no_answer(body, refusal, reply, where)
    usage = body.get("usage")
    prompt_tokens, completion_tokens = (_count(usage, f"{part}_tokens") for part in ("prompt", "completion"))
    thought, answer = split_reasoning(text)
    return ChatAnswer(answer, prompt_tokens, completion_tokens, reasoning or thought, tokens)


def only_json_object(text: str) -> str:
    """The one JSON object in a text, without the prose and code fences around it; else the text unchanged.

    Objects inside other braces do not count. With two objects, or an incomplete one, there is no telling which is
    meant, and what stands in unfinished thinking is a draft.
    """
    found, start = "", text.find("{")
    if THOUGHT.search(text, 0, max(start, 0)):
        return text
    while start >= 0:
        end = _object_end(text, start)
        if end is not None and found:
            return text
        if end is not None:
            found = text[start:end]
        elif (end := _closing_brace(text, start)) is None:
            return text
        start = text.find("{", end)
    return found or text


def _object_end(text: str, start: int) -> int | None:
    """The end of the JSON object that starts at an opening brace, None if it is not JSON."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _closing_brace(text: str, start: int) -> int | None:
    """The position after the brace that closes the one at `start`, None if it stays open."""
    depth = 0
    for brace in _BRACES.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    return None


def model_names(reply: bytes, where: str) -> tuple[str, ...]:
    """The model names in a reply of /v1/models.

    Raises:
        BackendError: the reply is not a list of models.
    """
    body = reply_json(reply, where)
    try:
        return tuple(str(model["id"]) for model in body["data"])
    except (KeyError, TypeError):
        raise BackendError(f"{where}: the reply is not a list of models: {str(body)[:120]}") from None


def reply_json(reply: bytes, where: str) -> Any:
    """A reply's body as JSON.

    Raises:
        BackendError: the body is not JSON.
    """
    try:
        return json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise BackendError(f"{where}: the reply is not JSON ({error}): {reply[:80]!r}") from error


def _no_answer(body: Any, refusal: object, reply: bytes, where: str) -> BackendError:
    """The error for a reply without an answer."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(body, dict) and body.get("object") == "error":
        error = body
    if error is not None:
        said = error.get("message") if isinstance(error, dict) else error
        return BackendError(f"{where} reported an error: {said if isinstance(said, str) else reply!r:.300}")
    if isinstance(refusal, str):
        return BackendError(f"{where}: the model refused to answer: {refusal[:200]!r}; rephrase the instruction")
    return BackendError(
        f"{where}: no text in choices[0].message.content of the reply: {reply[:200]!r}; "
        "is it an OpenAI-compatible chat server?"
    )


def _image(image: NDArray[np.uint8], options: ServerOptions) -> dict[str, Any]:
    stream = io.BytesIO()
    if options.image_format == "png":
        Image.fromarray(image).save(stream, "PNG", compress_level=1)
    else:
        Image.fromarray(image).save(stream, "JPEG", quality=options.jpeg_quality)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/{options.image_format};base64,{data}"}}


def _schema(asked: Question, answer_format: AnswerFormat) -> dict[str, Any]:
    """The request fields that tell the server the answer's schema."""
    if answer_format == "json_schema":
        named = {"name": "answer", "schema": asked.schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if answer_format == "json_object":
        return {"response_format": {"type": "json_object", "schema": asked.schema}}
    return {"guided_json": asked.schema} if answer_format == "guided_json" else {}


def _count(usage: Any, key: str) -> int:
    number = usage.get(key) if isinstance(usage, dict) else None
    return number if type(number) is int and 0 <= number < _MAX_TOKEN_COUNT else 0
