"""What a fuzz target is, and what counts as a finding besides an exception."""

from __future__ import annotations

import atexit
import importlib.util
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mutation import Form

CORPUS = Path(__file__).parent / "corpus"
MOST_CPU_S = 2.0
MOST_MEMORY_BYTES = 400 << 20
"""How much the process may grow by one input; a recording may decompress 256 MB at a time."""
MOST_WORDS = 2000
"""Characters of an error that an input from the network causes: it is logged, and sent back."""

Check = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A reader of the product and the bytes that reach it."""

    name: str
    run: Check  # returns for every input; raises for a finding
    form: Form
    needs: tuple[str, ...] = ()  # modules without which it cannot run
    weight: float = 1.0  # share of the inputs: less for what is slow

    @property
    def missing(self) -> str:
        """The modules that it needs and that are not installed."""
        return ", ".join(name for name in self.needs if importlib.util.find_spec(name) is None)

    def corpus(self) -> list[Path]:
        """The inputs that are kept."""
        return sorted((CORPUS / self.name).glob("*"))

    def check(self, data: bytes) -> None:
        """Run one input; raises for a finding."""
        before, started_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        self.run(data)
        took_s = time.process_time() - started_s
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert took_s < MOST_CPU_S, f"{len(data)} bytes took {took_s:.1f} s"
        assert grown < MOST_MEMORY_BYTES, f"{len(data)} bytes took {grown >> 20} MB"


TARGETS: dict[str, Target] = {}


def target(form: Form, *needs: str, weight: float = 1.0) -> Callable[[Check], Check]:
    """Register a function as the target of its name."""

    def register(run: Check) -> Check:
        TARGETS[run.__name__] = Target(run.__name__, run, form, needs, weight)
        return run

    return register


@cache
def folder() -> Path:
    """A folder of this process for the files that the readers are given."""
    made = tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def written(name: str, data: bytes) -> Path:
    """A file with this content."""
    file = folder() / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return file


def brief(error: Exception) -> None:
    """Check that an error from the network is short enough to be logged."""
    assert len(str(error)) <= MOST_WORDS, f"an error of {len(str(error))} characters: {str(error)[:200]}"
