"""The chat-completions format of OpenAI-compatible servers: building requests and parsing replies."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import BackendError, extra

with extra("serve"):
    from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.backends.config import AnswerFormat, ServerOptions
    from si_embodied.backends.conventions import Question


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A server's answer."""

    text: str
    prompt_tokens: int
    completion_tokens: int


def chat_request(model: str, asked: Question, options: ServerOptions) -> bytes:
    """The body of a request: the system text, and the user's text and images (data URLs) in reading order."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else _image(part, options) for part in asked.content
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": asked.system}] if asked.system else []
    body = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": options.max_tokens,
        "stream": False,
        **_schema(asked, options.answer_format),
    }
    return json.dumps(body).encode()


def chat_answer(reply: bytes, where: str, options: ServerOptions) -> ChatAnswer:
    """The answer in a reply's body; `where` is the URL, for error messages.

    Raises:
        BackendError: the reply has no answer, or a truncated one.
    """
    body = reply_json(reply, where)
    try:
        choice = body["choices"][0]
        text, ended = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        text = ended = None
    if not isinstance(text, str):
        raise BackendError(
            f"{where}: no text in choices[0].message.content of the reply: {str(body)[:200]}; "
            "is it an OpenAI-compatible chat server?"
        )
    if ended == "length":
        raise BackendError(f"the answer was cut off at max_tokens={options.max_tokens}; raise it: {text[:80]!r}")
    usage = body.get("usage")
    return ChatAnswer(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


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
    return number if isinstance(number, int) else 0
