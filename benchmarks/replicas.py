"""Two planning servers behind HAProxy, one of which is killed: what do the robots lose?

Starts two `si-embodied serve` with si-nano and HAProxy with deploy/balancer/haproxy.cfg (its ports changed to free
ones). Three robots plan without a pause. After a third of the time the busier replica gets `kill -9`; after two
thirds it is started again. A plan that ends in a hold is lost: the robot would stand and ask again. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench_remote import BASE, TASK, observation

from si_embodied import Execute
from si_embodied.config import PlannerConfig
from si_embodied.memory import Memory
from si_embodied.serving import RemotePlanner

CONFIG = Path(__file__).parents[1] / "deploy" / "balancer" / "haproxy.cfg"
KEY = "replicas-behind-one-address"
ROBOTS, STARTS_S = 3, 180.0


@dataclass
class Robot:
    """What one robot's plans came to."""

    made: int = 0
    slowest_s: float = 0.0
    holds: list[str] = field(default_factory=list)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def start_replica(port: int) -> subprocess.Popen[bytes]:
    """Start a planning server, with room for all robots at the balancer's one address."""
    command = [sys.executable, "-m", "si_embodied.cli.main", "serve", "--port", str(port), "--max-rate", "1000"]
    return subprocess.Popen(command, env={**os.environ, "SI_EMBODIED_API_KEY": KEY}, stdout=subprocess.DEVNULL)


def wait_until_healthy(port: int) -> None:
    """Wait until a server or the balancer answers."""
    until_s = time.monotonic() + STARTS_S
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing answers at port {port} after {STARTS_S:.0f} s")


def planned(port: int) -> int:
    """How many decisions a replica has made."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    return round(sum(map(float, re.findall(r"^si_embodied_decisions_total{[^}]*} (\S+)$", text, re.MULTILINE))))


def plan_until(stop_s: float, url: str, name: str, robot: Robot) -> None:
    """Plan without a pause, each time from a new image."""
    # Only a plan that is lost counts here, not one that is slow on a busy machine.
    config = replace(PlannerConfig(), deadline_s=20.0)
    with closing(RemotePlanner(url, BASE, config, robot=name, api_key=KEY)) as planner:
        seen = observation()
        while time.monotonic() < stop_s:
            started_s = time.monotonic()
            decision = planner.plan(TASK, seen, Memory())
            robot.slowest_s = max(robot.slowest_s, time.monotonic() - started_s)
            failed = not isinstance(decision, Execute) and decision.record.code.name in (
                "BACKEND_FAILED",
                "DEADLINE_EXCEEDED",
                "INTERNAL_ERROR",
            )
            robot.made += 1
            if failed:
                robot.holds.append(decision.record.message)


def balancer(folder: str, program: str, ports: list[int]) -> subprocess.Popen[bytes]:
    """Start HAProxy at the first port, with the other two behind it."""
    text = CONFIG.read_text(encoding="utf-8")
    for written, port in zip((8421, 8431, 8432), ports, strict=True):
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{port}")
    file = Path(folder) / "haproxy.cfg"
    file.write_text(text, encoding="utf-8")
    return subprocess.Popen([program, "-f", str(file)])


def measure(seconds: float, program: str) -> tuple[list[Robot], list[int]]:
    """Run everything; what each robot got, and how many decisions each replica had made before one was killed."""
    ports, robots = free_ports(3), [Robot() for _ in range(ROBOTS)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        processes = {port: start_replica(port) for port in ports[1:]}
        stack.callback(lambda: [each.terminate() for each in processes.values()])
        for port in ports[1:]:
            wait_until_healthy(port)
        processes[ports[0]] = balancer(folder, program, ports)
        wait_until_healthy(ports[0])
        stop_s, url = time.monotonic() + seconds, f"ws://127.0.0.1:{ports[0]}"
        threads = [
            threading.Thread(target=plan_until, args=(stop_s, url, f"robot-{index}", robot))
            for index, robot in enumerate(robots)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 3)
        before = [planned(port) for port in ports[1:]]
        busier = max(ports[1:], key=planned)
        processes[busier].send_signal(signal.SIGKILL)
        processes[busier].wait()
        time.sleep(seconds / 3)
        processes[busier] = start_replica(busier)
        for thread in threads:
            thread.join()
    return robots, before


def main() -> None:
    """Measure, and print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="default: %(default)s")
    parser.add_argument("--haproxy", default=shutil.which("haproxy"), help="the program (Debian: apt install haproxy)")
    args = parser.parse_args()
    if not args.haproxy:
        raise SystemExit("haproxy is not installed: apt install haproxy, or give --haproxy")
    robots, before = measure(args.seconds, args.haproxy)
    print(f"plans of each replica before the busier one was killed: {before}")
    for index, robot in enumerate(robots):
        lost = f"{len(robot.holds)} lost {robot.holds[:2]}" if robot.holds else "none lost"
        print(f"robot {index}: {robot.made} plans, {lost}, the slowest took {robot.slowest_s:.2f} s")
    made, lost = sum(each.made for each in robots), sum(len(each.holds) for each in robots)
    print(
        json.dumps(
            {"plans": made, "lost": lost, "before_kill": before, "slowest_s": max(each.slowest_s for each in robots)}
        )
    )


if __name__ == "__main__":
    main()
