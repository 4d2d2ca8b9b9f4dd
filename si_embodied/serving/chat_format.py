"""The requests of OpenAI's chat completions, as a server reads them; `chat_replies` has the replies.

https://platform.openai.com/docs/api-reference/chat. What this server does not do is refused by name, never ignored;
`backends.chat` is the client's side of the same format.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import secrets
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from si_embodied.conversation import Conversation, Turn
from si_embodied.errors import MessageError, RequestRefused, shown
from si_embodied.serving.data_urls import DataUrls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.conversation import Role

DEFAULT_TOKENS = 1024
MOST_SCHEMA_CHARACTERS = 50_000
"""A schema of this length takes the grammar up to 0.15 s."""
MOST_MULTIPLE = 100_000
"""The grammar has a state for each remainder, and builds them all without a pause: 0.2 s for 100,000, minutes for
millions."""


_VARIANT = re.compile(r"^(response_format|messages\.\d+\.content\.\d+)\.\w+")
"""Where pydantic puts the `type` of a field into its path."""


class Malformed(RequestRefused):
    """A request that does not fit the format."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """`param` is the path of the field."""
        super().__init__("malformed", message)
        self.param = param


class _Fields(BaseModel):
    """Fields of a request. Null and an empty list mean the same as leaving the field out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: each for key, each in value.items() if each is not None and each != []}


class _Text(_Fields):
    type: Literal["text"]
    text: str


class _Url(_Fields):
    url: str
    detail: str = "auto"  # every image is read in full


class _Picture(_Fields):
    type: Literal["image_url"]
    image_url: _Url


def _as_parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Part: TypeAlias = Annotated[_Text | _Picture, Field(discriminator="type")]


class _Message(_Fields):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[_Part], BeforeValidator(_as_parts)] = []
    # Notes for the caller, which the model does not read: a name, and what an earlier answer's thoughts were.
    name: str = ""
    reasoning_content: str = ""


class _AnyText(_Fields):
    type: Literal["text"]


class _AnyObject(_Fields):
    type: Literal["json_object"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {"type": "object"}  # an extension of llama.cpp


class _Named(_Fields):
    name: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool = False
    description: str = ""


class _OfSchema(_Fields):
    type: Literal["json_schema"]
    json_schema: _Named


class _StreamOptions(_Fields):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(_Fields):
    """The body of a request."""

    model: str
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] = DEFAULT_TOKENS
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 0.0
    seed: int | None = None
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=4), BeforeValidator(_as_list)
    ] = []
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    response_format: Annotated[_AnyText | _AnyObject | _OfSchema, Field(discriminator="type")] = _AnyText(type="text")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0  # below 1 only for greedy decoding, which it does not change
    # Accepted only with the value that changes nothing.
    n: Literal[1] = 1
    logprobs: Literal[False] = False
    top_logprobs: Literal[0] = 0
    presence_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0
    # Notes of the caller, which change no answer.
    user: str = ""
    safety_identifier: str = ""
    prompt_cache_key: str = ""
    service_tier: str = ""
    metadata: dict[str, Any] = {}
    store: bool = False

    def conversation(self) -> Conversation:
        """The conversation to continue.

        Raises:
            Malformed: the turns are not in an order that the model knows, an image cannot be read, or the schema is no
                JSON schema.
        """
        if self.temperature > 0 and self.top_p < 1:
            raise Malformed("this server samples from all tokens; leave top_p out, or set temperature to 0", "top_p")
        schema, lenient = self._schema()
        return Conversation(
            self._turns(),
            schema,
            lenient=lenient,
            temperature=self.temperature,
            seed=secrets.randbits(63) if self.seed is None else self.seed % (1 << 64),
            max_tokens=self.max_completion_tokens or self.max_tokens,
        )

    def _turns(self) -> tuple[Turn, ...]:
        images = DataUrls()
        turns = [
            Turn(_role(message.role), tuple(
                part.text if isinstance(part, _Text) else _image(images, part.image_url.url, f"{where}.{i}")
                for i, part in enumerate(message.content)
            ))
            for where, message in ((f"messages.{number}.content", each) for number, each in enumerate(self.messages))
        ]  # fmt: skip
        said = list(itertools.dropwhile(lambda turn: turn.role == "system", turns))
        rules = [part for turn in turns[: len(turns) - len(said)] for part in turn.content]
        if not all(isinstance(part, str) for part in rules) or any(turn.role == "system" for turn in said):
            raise Malformed("expected system messages to come first, and without images", "messages")
        if not said or said[0].role != "user":
            raise Malformed("expected a user message after the system messages", "messages")
        return (Turn("system", ("\n".join(map(str, rules)),)), *said) if rules else tuple(said)

    def _schema(self) -> tuple[Mapping[str, object] | None, bool]:
        """The schema of the answer, and whether keywords that cannot be followed are left out."""
        wanted = self.response_format
        if isinstance(wanted, _AnyText):
            return None, False
        strict = isinstance(wanted, _OfSchema) and wanted.json_schema.strict
        schema = wanted.json_schema.schema_ if isinstance(wanted, _OfSchema) else wanted.schema_
        _check_schema(schema)
        return schema, not strict


def parse_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        Malformed: it is not JSON, or a field is missing, unknown or out of range.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        param = _VARIANT.sub(r"\1", ".".join(map(str, first["loc"]))) or None
        if first["type"] == "extra_forbidden":
            raise Malformed(f"this server does not know {param}; leave it out", param) from None
        given = "" if first["type"] in ("missing", "json_invalid") else f", got: {shown(first['input'])}"
        raise Malformed(f"{param or 'the body'}: {first['msg']}{given}", param) from None


def _image(images: DataUrls, url: str, where: str) -> NDArray[np.uint8]:
    try:
        return images.read(url)
    except MessageError as error:
        raise Malformed(str(error), where) from None


def _role(name: Literal["system", "developer", "user", "assistant"]) -> Role:
    return "system" if name == "developer" else name


def _check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that would keep robots waiting while the grammar is built.

    Raises:
        Malformed: it is too long, has too large numbers in `multipleOf`, or says `text` for `string`.
    """
    if schema.get("type") == "text":  # our own notation for plain text in a prompt's schema
        raise Malformed("'text' is not a type of JSON schema; expected 'string'", "response_format")
    length, multiple = len(json.dumps(schema)), math.lcm(*_multiples(schema))
    if length > MOST_SCHEMA_CHARACTERS:
        words = f"expected a schema of at most {MOST_SCHEMA_CHARACTERS} characters, got: {length}"
        raise Malformed(words, "response_format")
    if multiple > MOST_MULTIPLE:
        words = f"expected a least common multiple of all multipleOf of at most {MOST_MULTIPLE}, got: {shown(multiple)}"
        raise Malformed(f"{words}; leave them out", "response_format")


def _multiples(schema: object) -> Iterator[int]:
    """The numbers in `multipleOf` anywhere in a schema, without their decimal points."""
    if isinstance(schema, dict):
        number = schema.get("multipleOf")
        if isinstance(number, int | float) and math.isfinite(number) and number != 0:
            _, digits, exponent = Decimal(str(number)).normalize().as_tuple()
            yield int(Decimal((0, digits, max(0, int(exponent)))))
        for each in schema.values():
            yield from _multiples(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _multiples(each)
