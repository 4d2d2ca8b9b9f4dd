"""What it costs to watch: the same episodes with no page, with a page that nobody opens, and with one that is open.

The processor's time counts, with that of the page's server, because it says the same on a busy machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import located
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.runner import evaluate
from si_embodied.live.episodes import live_episodes
from si_embodied.live.watching import watch

Mode = Literal["off", "unwatched", "watched"]
EPISODES, REPETITIONS = 4, 3
READER = """
import sys, httpx
with httpx.stream("GET", sys.argv[1] + "events", timeout=None) as stream:
    for _ in stream.iter_bytes():
        pass
"""


@contextmanager
def page_open(run: Path) -> Iterator[None]:
    """A page that another process reads as fast as it comes."""
    with watch(run) as server:
        reader = subprocess.Popen([sys.executable, "-c", READER, server.url])
        while not (run / "live" / "open").exists():
            time.sleep(0.05)
        try:
            yield
        finally:
            reader.kill()
            reader.wait()


def seconds(mode: Mode) -> float:
    """Processor time of the episodes."""
    model = located(BackendConfig())
    config = EvaluationConfig(
        env="si_embodied/Tabletop-v0", policy="planner", task="base", episodes=EPISODES, backend=model
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        records, shown = RecordFile(run / "records.jsonl", config.identity()), partial(live_episodes, run)
        if mode == "watched":
            with page_open(run):
                started_s = time.process_time()
                evaluate(config, records, audiences=[shown])
                return time.process_time() - started_s
        started_s = time.process_time()
        evaluate(config, records, audiences=[shown] if mode == "unwatched" else [])
        return time.process_time() - started_s


def main() -> None:
    """Print the ratios."""
    seconds("off")  # loads what is loaded once
    taken: dict[Mode, list[float]] = {"off": [], "unwatched": [], "watched": []}
    for _ in range(REPETITIONS):
        for mode, each in taken.items():
            each.append(seconds(mode))
    base = statistics.median(taken["off"])
    for mode, each in taken.items():
        print(f"{mode:10s} {statistics.median(each):6.2f} s of processor time, {statistics.median(each) / base:.2f} x")


if __name__ == "__main__":
    main()
