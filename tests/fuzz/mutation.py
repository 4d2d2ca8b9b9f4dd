"""Mutations that keep an input's form, so that a mutant gets past the first check of its reader."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
import struct
import zlib
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any, Literal, TypeAlias

import yaml

Form: TypeAlias = Literal[
    "text", "json", "lines", "yaml", "msgpack", "safetensors", "mcap", "sqlite", "http", "image"
]  # fmt: skip

BASE64 = "base64:"
"""Starts a string in JSON that stands for bytes."""
_DEEP = "@deep@"
"""Stands for a deeply nested list, which the encoders themselves would refuse."""
_BREAK = b"\r\n\r\n"

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 255, 256, 1000, 1001, 4096, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53,
    2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63), 10**400, 0.0, -0.0, 0.5, -0.4, 1e-9, 5e-324, 1e9, 1e12, 1e39,
    1e200, 1e308, -1e308, math.nan, math.inf, -math.inf, "", "0", "a", "true", "null", "nan", "head", "map", "\0",
    "\ud800", "\ufeff", "é", "\u202e", "\n", "$", "${x}", "$instruction", "../a", "/", "x" * 300, "x" * 5000, [],
    {}, [0], [0, 0], [[0]], {"": 0}, _DEEP,
)  # fmt: skip
_BYTES = (b"", b"\0", b"\xff", b"\x80", b"\0" * 8, b"\xff" * 8, b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xfe")
_PIECES = (
    "{", "}", "[", "]", '"', ",", ":", "```", "```json\n", "<think>", "</think>", "<box>", "<ref>", "<|im_end|>",
    "\ufeff", "\ud800", "NaN", "Infinity", "1e999", "-0.4", "1001", "9" * 5000, "null", "true", "\n", "\r\n", "\0",
    "$", "$$", "${a}", "# user\n", "&a ", "*a", "!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary x",
    "!!set {a}", "? [a]\n: b", "<<: *a", "0x" + "f" * 400, "[" * 400, "{" * 400, '{"a":' * 400, "active",
    "inactive", " ", "\t", "Bearer ", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
    "Origin: http://a\r\n", "Upgrade: websocket\r\n",
)  # fmt: skip


def mutated(data: bytes, form: Form, random: Random, *, longest: int = 1 << 16) -> bytes:
    """A mutant of `data`, which is of this form; any damage to it where it is not."""
    for _ in range(4):
        try:
            mutant = _BY_FORM[form](data, random) if random.random() < 0.85 else _bytes(data, random)
        except Exception:  # the input is not of this form, or the mutant cannot be written in it
            continue
        return mutant[:longest]
    return _text(data, random)[:longest]


# --- bytes and text -------------------------------------------------------------------------------------------------


def _bytes(data: bytes, random: Random) -> bytes:
    """Flip, overwrite, insert, remove or repeat a few bytes."""
    mutant = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at, length = random.randrange(len(mutant) + 1), random.choice((1, 2, 4, 8, 16))
        match random.randrange(6):
            case 0 if at < len(mutant):
                mutant[at] ^= 1 << random.randrange(8)
            case 1:
                value = random.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, random.getrandbits(32)))
                mutant[at : at + 8] = value.to_bytes(8, random.choice(("little", "big")))[: random.choice((1, 2, 4, 8))]
            case 2:
                mutant[at:at] = random.choice(_BYTES)
            case 3:
                del mutant[at : at + length]
            case 4:
                mutant[at:at] = mutant[at : at + length]
            case _:
                mutant[at : at + length] = random.randbytes(length)
    return bytes(mutant)


def _text(data: bytes, random: Random) -> bytes:
    """Insert or remove pieces that mean something to one of the readers."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice((*_PIECES, "")) + text[at + random.choice((0, 0, 1, 3)) :]
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


# --- trees ----------------------------------------------------------------------------------------------------------


def _tree(tree: Any, random: Random) -> Any:
    """A copy of nested lists and dicts with a few values replaced, removed, repeated, moved or wrapped."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        paths = list(islice(_paths(tree), 2000))  # YAML's aliases can make billions
        tree = _replaced(tree, random.choice(paths), random, [random.choice(paths) for _ in range(2)])
    return tree


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _paths(child, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _replaced(node: Any, path: tuple[Any, ...], random: Random, others: list[tuple[Any, ...]], root: Any = None) -> Any:
    root = node if root is None else root
    if not path:
        return _value(node, random, [_at(root, other) for other in others])
    copy, key = (dict(node) if isinstance(node, dict) else list(node)), path[0]
    if len(path) > 1:
        copy[key] = _replaced(node[key], path[1:], random, others, root)
        return copy
    match random.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, list):
            copy.insert(key, copy[key])
        case 2 if isinstance(copy, dict):
            copy[random.choice(("", "a", 0, None, 1.5, True, "view", "\ud800"))] = copy[key]
        case _:
            copy[key] = _replaced(node[key], (), random, others, root)
    return copy


def _value(value: Any, random: Random, others: list[Any]) -> Any:
    """A value in place of another one."""
    if isinstance(value, str) and random.random() < 0.6:
        return _string(value, random)
    if isinstance(value, bytes) and random.random() < 0.8:
        return _image(value, random)
    if isinstance(value, int | float) and random.random() < 0.5 and abs(value) < 1e300:
        near = (value + 1, value - 1, -value, value * 2, value / 2, float(value), str(value))
        return random.choice((*near, random.randrange(-1, 1002), random.uniform(-2.0, 2.0)))
    return random.choice((*_VALUES, *others, [value], {"a": value}, [value] * 3, b"\0"))


def _string(value: str, random: Random) -> str:
    """Text that stands for JSON or for bytes is mutated as what it stands for."""
    if value.startswith(BASE64):
        return BASE64 + base64.b64encode(_image(base64.b64decode(value[len(BASE64) :]), random)).decode("ascii")
    if value.startswith("{") and random.random() < 0.8:
        return _json(value.encode("utf-8", "surrogatepass"), random).decode("utf-8", "surrogatepass")
    return _text(value.encode("utf-8", "surrogatepass"), random).decode("utf-8", "surrogateescape")


def _nested(text: str, random: Random) -> str:
    depth = random.choice((30, 200, 600, 900, 960, 3000))
    return text.replace(f'"{_DEEP}"', random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "0" + "}" * depth)))


def _listed(value: object) -> str:
    return BASE64 + base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _json(data: bytes, random: Random) -> bytes:
    text = data.decode("utf-8", "surrogatepass")
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end <= start:
        start, end = 0, len(text)
    plain = json.dumps(_tree(json.loads(text[start:end]), random), skipkeys=True, default=_listed)
    return (text[:start] + _nested(plain, random) + text[end:]).encode("utf-8", "surrogatepass")


def _lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            lines[at:at] = [lines[at]]
        case 1:
            del lines[at]
        case _:
            lines[at] = _json(lines[at], random)
    return b"\n".join(lines)


def _yaml(data: bytes, random: Random) -> bytes:
    if random.random() < 0.4:
        return _text(data, random)
    return yaml.safe_dump(_tree(yaml.safe_load(data), random), allow_unicode=True).encode("utf-8", "surrogatepass")


def _msgpack(data: bytes, random: Random) -> bytes:
    import msgpack

    plain = msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
    packed: bytes = msgpack.packb(_tree(plain, random), unicode_errors="surrogatepass")
    depth = random.choice((30, 200, 500, 900, 1000, 1020, 2000))
    return packed.replace(msgpack.packb(_DEEP), b"\x91" * depth + b"\xc0")


# --- files and streams ----------------------------------------------------------------------------------------------


def _safetensors(data: bytes, random: Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = _json(data[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _mcap(data: bytes, random: Random) -> bytes:
    """Change the content of a few records, whose lengths stay right."""
    records, at = [], 8
    while at + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, at)
        records.append((opcode, data[at + 9 : at + 9 + length]))
        at += 9 + length
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(records))
        opcode, content = records[at]
        match random.randrange(6):
            case 0:
                records.insert(random.randrange(len(records) + 1), records[at])
            case 1:
                del records[at]
            case 2:
                records[at] = random.choice((2, 3, 4, 5, 6, 15, 255, opcode)), content
            case _:
                records[at] = opcode, _message(content, random)
    return data[:8] + b"".join(struct.pack("<BQ", opcode, len(content)) + content for opcode, content in records)


def _sqlite(data: bytes, random: Random) -> bytes:
    """Change a value of a row, in any table."""
    base = sqlite3.connect(":memory:")
    try:
        base.deserialize(data)  # from Python 3.11 on
        tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random.choice(tables)
        column = random.choice([row[1] for row in base.execute(f"PRAGMA table_info({table})")])
        row, value = random.choice(list(base.execute(f"SELECT rowid, {column} FROM {table}")))
        base.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_cell(value, random), row))
        base.commit()
        return base.serialize()
    finally:
        base.close()


def _cell(value: Any, random: Random) -> Any:
    if isinstance(value, bytes) and random.random() < 0.8:
        return _message(value, random)
    return random.choice(
        (0, 1, -1, 2**63 - 1, -(2**63), 1.5, math.inf, "", "cdr", "1", b"", b"\0", b"\xff" * 20, value)
    )


def _message(content: bytes, random: Random) -> bytes:
    """A record's content; text in it that is JSON, with the lengths before it, is mutated as JSON."""
    start, end = content.find(b'{"'), content.rfind(b"}") + 1
    if start < 4 or end <= start or random.random() < 0.3:
        return _bytes(content, random)
    text = _json(content[start:end], random)
    return content[: start - 4] + struct.pack("<I", len(text) + 1) + text + content[end:]


def _http(data: bytes, random: Random) -> bytes:
    """Change the head, or the body, whose announced length stays right."""
    head, _, body = data.partition(_BREAK)
    if random.random() < 0.4 or not body:
        return _text(head, random) + _BREAK + body
    body = _msgpack(body, random) if b"msgpack" in head else _json(body, random)
    fields = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join((*fields, b"Content-Length: %d" % len(body))) + _BREAK + body


def _image(data: bytes, random: Random) -> bytes:
    """Change one chunk of a PNG, with the right checksum; any other image as bytes."""
    start = data.find(b"\x89PNG\r\n\x1a\n")
    if start < 0 or random.random() < 0.2:
        return _bytes(data, random)
    at, mutant, victim = start + 8, data[: start + 8], random.randrange(4)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at, victim = at + 12 + length, victim - 1
        content = _bytes(content, random) if victim == -1 else content
        mutant += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return mutant


_BY_FORM: dict[Form, Callable[[bytes, Random], bytes]] = {
    "text": _text, "json": _json, "lines": _lines, "yaml": _yaml, "msgpack": _msgpack,
    "safetensors": _safetensors, "mcap": _mcap, "sqlite": _sqlite, "http": _http, "image": _image,
}  # fmt: skip
