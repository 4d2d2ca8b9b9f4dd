"""Reading OpenAI's requests: any body is a conversation or an error in OpenAI's form."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
from PIL import Image

from si_embodied.errors import MessageError, RequestRefused
from si_embodied.serving import data_urls
from si_embodied.serving.chat_format import ChatRequest, Malformed, parse_request
from si_embodied.stops import Stops

TEXT = st.text("abc", max_size=12)


@given(st.lists(TEXT), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4))
def test_a_text_ends_before_its_first_stop_string_however_it_is_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    ends = [text.find(stop) for stop in stops if stop in text]
    scanner, sent = Stops(stops), ""
    for piece in pieces:
        sent += scanner.feed(piece)
        assert text.startswith(sent)
        if scanner.found:
            break
    if not scanner.found:
        sent += scanner.feed("", last=True)
    assert scanner.found == bool(ends)
    # A shorter stop string may end the text sooner than one that begins earlier but is not complete yet.
    assert sent in {text[:end] for end in ends} if ends else sent == text


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}).encode()


def test_null_and_empty_fields_are_left_out() -> None:
    empty = dict.fromkeys(("max_tokens", "stop", "tools", "logprobs", "response_format", "functions"))
    assert parse_request(body(**empty, tool_choice=[])) == parse_request(body())


@pytest.mark.parametrize("image", [Image.new("L", (3, 2)), Image.new("RGBA", (3, 2)), Image.new("P", (3, 2))])
def test_every_colour_mode_becomes_rgb(image: Any) -> None:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    (turn,) = parse_request(body(messages=[{"role": "user", "content": content}])).conversation().turns
    assert turn.content[0].shape == (2, 3, 3)  # type: ignore[union-attr]


def test_the_pixels_of_all_images_are_limited_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_urls, "MOST_PIXELS", 25)
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    two, three = ([{"role": "user", "content": [image] * count}] for count in (2, 3))
    assert len(parse_request(body(messages=two)).conversation().turns[0].content) == 2
    with pytest.raises(Malformed, match="at most 25 pixels"):
        parse_request(body(messages=three)).conversation()


def test_the_images_of_waiting_requests_are_bounded_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_urls, "MOST_HELD_PIXELS", 25)
    held, image = data_urls.HeldPixels(), np.zeros((3, 4, 3), np.uint8)
    with held.of([image]):
        with held.of([image]), pytest.raises(RequestRefused, match="24 pixels already; retry"), held.of([image]):
            pass
        with held.of([image]):
            pass


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "multipleOf": 12345677}, "12345677"),
        ({"items": [{"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}]}, "988027"),  # 997 * 991, both prime
        ({"multipleOf": -1234.5677}, "12345677"),
        ({"multipleOf": 1e300}, "multipleOf"),
        ({"enum": ["x" * 60_000]}, "at most 50000 characters"),
    ],
)
def test_a_schema_that_would_keep_robots_waiting_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        parse_request(body(response_format={"type": "json_object", "schema": schema})).conversation()


def test_ordinary_multiples_are_accepted() -> None:
    properties = {"a": {"multipleOf": 0.01}, "b": {"multipleOf": 90}, "c": {"multipleOf": 15}, "d": {"multipleOf": 0}}
    assert parse_request(body(response_format={"type": "json_object", "schema": properties})).conversation().schema


def test_an_image_cannot_be_a_file_or_an_address() -> None:
    for url in ("file:///etc/passwd", "http://127.0.0.1/x.png", "/etc/passwd", "", "data:image/png,abc"):
        content = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(Malformed, match="data URL"):
            parse_request(body(messages=[{"role": "user", "content": content}])).conversation()


PNG = io.BytesIO()
Image.new("RGB", (5, 4), (251, 255, 190)).save(PNG, "PNG")
BASE64 = base64.b64encode(PNG.getvalue()).decode()


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + "\r\n".join(BASE64[start : start + 20] for start in range(0, len(BASE64), 20)),
        "data:image/png;base64, \t" + BASE64.rstrip("=") + " ",
        "data:image/png;base64," + BASE64.translate(str.maketrans("+/", "-_")),
        "data:image/png;base64," + BASE64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "DATA:image/png; Base64," + BASE64,
    ],
)
def test_base64_is_read_as_in_browsers_and_of_the_url_safe_kind(url: str) -> None:
    assert BASE64.endswith("=")
    assert {"+", "/"} & set(BASE64)
    assert data_urls.DataUrls().read(url)[0, 0].tolist() == [251, 255, 190]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("A", "not base64: 1 characters, one too many"),
        ("AB=CD", "contains b'='"),
        ("AB?D", "contains b'[?]'"),
        ("AAAAAAAA", r"not a PNG or JPEG image: 6 bytes that begin with b'\\x00"),
        ("", "not a PNG or JPEG image: 0 bytes"),
    ],
)
def test_what_is_wrong_with_an_image_is_said_without_addresses_in_memory(data: str, words: str) -> None:
    with pytest.raises(MessageError, match=words) as raised:
        data_urls.DataUrls().read(f"data:image/png;base64,{data}")
    assert " at 0x" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": [3]}}},
            "response_format.json_schema.name",
        ),
        ({"response_format": {"type": "json_object", "schema": 3}}, "response_format.schema"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_an_error_names_the_path_of_its_field(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(Malformed, match=f"^{param}: ") as raised:
        parse_request(body(**wrong))
    assert raised.value.param == param


def test_an_assistants_turn_may_come_back_as_it_was_sent() -> None:
    """With the thoughts of a model that thinks, which it does not read again."""
    said = {"role": "assistant", "content": "y", "refusal": None, "reasoning_content": "thought"}
    messages = [{"role": "user", "content": "x"}, said, {"role": "user", "content": "z"}]
    turns = parse_request(body(messages=messages)).conversation().turns
    assert [turn.content for turn in turns] == [("x",), ("y",), ("z",)]


NAMES = st.sampled_from([*ChatRequest.model_fields, "tools", "type", "text", "role", "content", "url", "image_url"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["user", "text", "image_url"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.binary() | st.dictionaries(NAMES, VALUES).map(lambda plain: body(**plain)))
def test_any_body_is_a_conversation_or_malformed(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert parse_request(data).conversation().turns
