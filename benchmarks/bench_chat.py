"""A robot's plans while chat clients keep the planning server's model busy.

`si-embodied serve` runs si-nano in a process of its own. A robot plans 640 x 480 RGB-D observations, each new, with a
pause after each plan, first alone and then beside chat clients in a third process. Every client asks about two images
of 320 x 240, for 200 tokens, as soon as its last answer has come. The last line is JSON.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import io
import json
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import Any

import httpx
import numpy as np
from bench_remote import BASE, TASK, observation
from PIL import Image

from si_embodied import Code, Observation
from si_embodied.memory import Memory
from si_embodied.planner import AnyPlanner
from si_embodied.serving import RemotePlanner

LIMIT = 2.0
"""The 99th percentile of plans beside chats, in units of the one without."""


def observations(count: int) -> list[Observation]:
    """Observations of which no two have the same image."""
    seen, generator = observation(), np.random.default_rng(1)
    (frame,) = seen.frames
    images = (generator.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(count))
    return [dataclasses.replace(seen, frames=(dataclasses.replace(frame, rgb=image),)) for image in images]


def plans_ms(planner: AnyPlanner, count: int, pause_s: float) -> list[float]:
    """The times of `count` plans."""
    took = []
    for seen in observations(count + 5):
        start = time.perf_counter()
        decision = planner.plan(TASK, seen, Memory())
        took.append(1000 * (time.perf_counter() - start))
        assert decision.record.code not in (Code.BACKEND_FAILED, Code.DEADLINE_EXCEEDED), decision
        time.sleep(pause_s)
    return took[5:]  # the first ones warm up


def chat(url: str, clients: int) -> None:
    """The process of the chat clients: prints the answers of every second until it is terminated."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(stream, "PNG")
    image = {"url": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()}
    content = [*[{"type": "image_url", "image_url": image}] * 2, {"type": "text", "text": "Where is the chair?"}]
    messages = [{"role": "user", "content": content}]
    answers: list[int] = []

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=600) as client:
            while True:
                body = {"model": "nano", "messages": messages, "max_tokens": 200}
                reply = client.post(f"{url}/v1/chat/completions", json=body).raise_for_status()
                answers.append(reply.json()["usage"]["completion_tokens"])

    for _ in range(clients):
        threading.Thread(target=ask, daemon=True).start()
    while True:
        time.sleep(1)
        print(len(answers), flush=True)


def main() -> None:
    """Measure, and print whether plans keep to the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=200, help="plans with and without chats (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=0.2, help="after each plan, seconds (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="chat clients (default: %(default)s)")
    parser.add_argument("--chat", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.chat:
        chat(args.chat, args.clients)
        return
    command = [sys.executable, "-m", "si_embodied.cli.main", "serve", "--port", "0", "--max-rate", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("ws://"))
            with closing(RemotePlanner(url, BASE)) as planner:
                quiet = plans_ms(planner, args.plans, args.pause)
                busy, answers = beside_chats(planner, url, args)
            report(quiet, busy, answers)
        finally:
            server.terminate()


def beside_chats(planner: AnyPlanner, url: str, args: argparse.Namespace) -> tuple[list[float], int]:
    """The times of plans beside chat clients, and how many answers these got meanwhile."""
    command = [sys.executable, __file__, "--chat", url.replace("ws", "http", 1), "--clients", str(args.clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        try:
            assert clients.stdout is not None
            clients.stdout.readline()
            busy = plans_ms(planner, args.plans, args.pause)
            assert clients.poll() is None, "a chat client failed"
        finally:
            clients.terminate()
        return busy, int(clients.stdout.read().split()[-1])


def report(quiet: list[float], busy: list[float], answers: int) -> None:
    """Print the percentiles and the verdict."""
    result: dict[str, Any] = {}
    for name, took in (("quiet", quiet), ("busy", busy)):
        p50, p99 = (float(np.percentile(took, percent)) for percent in (50, 99))
        result |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99}
        print(f"{name:>6}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, n={len(took)}")
    ratio = result["busy_p99_ms"] / result["quiet_p99_ms"]
    print(f"p99 is {ratio:.2f} times the quiet one ({'within' if ratio <= LIMIT else 'OVER'} {LIMIT:g}); "
          f"{answers} chats were answered meanwhile")  # fmt: skip
    print(json.dumps({"benchmark": "chat", "limit": LIMIT, "ratio": ratio, "answers": answers, **result}))


if __name__ == "__main__":
    main()
