"""A chat-completions server that misbehaves as its address says: http://127.0.0.1:PORT/<anything>/<how>[,<how>…].

The n-th request to an address is treated in the n-th way, and every later one in the last. A model whose name is JSON
answers that name. `GET /<anything>/seen` tells what was asked there. The port stands in the first line of the output.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections import defaultdict

TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'
seen: dict[str, list[dict]] = defaultdict(list)


def reply(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def completion(text: object, finish: str = "stop", logprobs: object = None) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish, "logprobs": logprobs}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 21, "completion_tokens": 13}}).encode()


async def misbehave(how: str, body: dict, writer: asyncio.StreamWriter) -> bool:
    """Treat a request in one way; False ends the connection."""
    name, _, value = how.partition(":")
    model = str(body.get("model", ""))
    good = completion(model if model.startswith("{") else TURN)
    if name == "ok":
        writer.write(reply(200, good))
    elif name == "sure":  # each token has two characters and probability 0.9
        text = model if model.startswith("{") else TURN
        content = [{"token": text[i : i + 2], "logprob": math.log(0.9)} for i in range(0, len(text), 2)]
        writer.write(reply(200, completion(text, logprobs={"content": content} if body.get("logprobs") else None)))
    elif name == "unsure":
        refusal = json.dumps({"error": {"message": f"{'x' * 400} Unsupported: logprobs"}}).encode()
        writer.write(reply(int(value), refusal) if "logprobs" in body else reply(200, good))
    elif name == "context":
        words = "This model's maximum context length is 8192 tokens. However, your request has 9001 input tokens."
        writer.write(reply(400, json.dumps({"object": "error", "message": words, "code": 400}).encode()))
    elif name == "slow":
        await asyncio.sleep(float(value))
        writer.write(reply(200, good))
    elif name == "status":
        writer.write(reply(int(value), b'{"error": "as asked for"}'))
    elif name == "later":
        writer.write(reply(429, b"", f"Retry-After: {value}"))
    elif name == "truncated":
        writer.write(reply(200, good[:-20], length=len(good)))
        return False
    elif name == "reset":
        return False
    elif name == "silent":
        await asyncio.sleep(3600)
    elif name == "hang":
        writer.write(reply(200, good[: len(good) // 2], length=len(good)))
        await asyncio.sleep(3600)
    elif name == "drip":
        writer.write(b"HTTP/1.1 200 Said\r\n")
        while True:  # header lines, one small thing at a time: no read ever waits for long
            writer.write(b"X-Drip: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
    elif name == "huge":
        writer.write(b"HTTP/1.1 200 Said\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()
    elif name == "words":
        writer.write(reply(200, b"<html>welcome</html>"))
    elif name == "shape":
        writer.write(reply(200, b'{"choices": [{"message": {"content": null}}]}'))
    elif name == "cut":
        writer.write(reply(200, completion(TURN[:20], "length")))
    elif name == "models":
        writer.write(reply(200, json.dumps({"data": [{"id": model} for model in value.split("+")]}).encode()))
    else:
        raise ValueError(how)
    return True


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            _, path, _ = line.decode().split(" ", 2)
            headers = {}
            while (line := await reader.readline()).strip():
                key, _, value = line.decode().partition(":")
                headers[key.lower()] = value.strip()
            data = await reader.readexactly(int(headers.get("content-length", 0)))
            body = json.loads(data) if data else {}
            _, who, how, *_ = path.split("/")
            if how == "seen":
                writer.write(reply(200, json.dumps(seen[who]).encode()))
                continue
            seen[who].append({"time": time.time(), "path": path, "headers": headers, "body": body})
            ways = how.split(",")
            if not await misbehave(ways[min(len(seen[who]), len(ways)) - 1], body, writer):
                break
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        seen["gone"].append({"time": time.time()})
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # The tests' process holds the other end: when it goes, however it goes, so does this one.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
