"""Energy meters of the board: Jetson's INA3221 sensors, nvidia-smi, and RAPL counters. Each is used where it exists.

A meter measures everything that its rail or package feeds, also idle power and other programs.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess  # nosec B404 - runs nvidia-smi, without a shell
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

NOTHING = "no INA3221 sensor of a Jetson, no nvidia-smi, and no RAPL counter that this user may read"
_SYS = Path("/sys/class")
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")
"""Labels of the rail that feeds the whole module, by board: NVIDIA Jetson Linux Developer Guide, "Power Monitor"."""
_EVERY_S, _SMI_EVERY_S, _SMI_TIMEOUT_S = 0.1, 0.5, 5.0
"""Between two samples; nvidia-smi is a program that takes some processor time itself."""
_FAILURES = (OSError, ValueError, subprocess.SubprocessError)


class Meter(Protocol):
    """Measures energy from `start` to `stop`."""

    source: str  # "RAPL package-0"

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """End; returns joules since `start`."""


class Counter:
    """RAPL: a counter of microjoules that wraps around (Linux, Documentation/power/powercap)."""

    def __init__(self, folder: Path) -> None:
        """Open a zone, such as /sys/class/powercap/intel-rapl:0.

        Raises:
            OSError: the counter cannot be read; since 2020, only root may by default.
            ValueError: it is no number.
        """
        self._file = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
        self.source = f"RAPL {(folder / 'name').read_text(encoding='ascii').strip()}"
        self._before_uj = self._read()

    def start(self) -> None:
        """Begin."""
        self._before_uj = self._read()

    def stop(self) -> float:
        """Joules since `start`, in which the counter wraps around once at most."""
        return ((self._read() - self._before_uj) % (self._range_uj + 1)) / 1e6

    def _read(self) -> int:
        return int(self._file.read_text(encoding="ascii"))


class Sampler:
    """Integrates a power reading over time, by trapezoids, in a thread."""

    def __init__(self, source: str, read_w: Callable[[], float], *, every_s: float = _EVERY_S) -> None:
        """Sample `read_w`, in watts, every so many seconds.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no number.
        """
        self.source, self._read_w, self._every_s = source, read_w, every_s
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        read_w()

    def start(self) -> None:
        """Begin, in a thread."""
        self._error, self._samples = None, [(time.perf_counter(), self._read_w())]
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample, name=self.source, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Joules since `start`; raises what reading the power raised meanwhile."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        self._samples.append((time.perf_counter(), self._read_w()))
        return integral(self._samples)

    def _sample(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._samples.append((time.perf_counter(), self._read_w()))
            except _FAILURES as error:
                self._error = error
                return


def integral(samples: list[tuple[float, float]]) -> float:
    """Joules under samples of (seconds, watts), by trapezoids."""
    return sum(
        (later - sooner) * (watts + before) / 2 for (sooner, before), (later, watts) in itertools.pairwise(samples)
    )


def meters(sys: Path = _SYS) -> list[Meter]:
    """Every meter of this machine that can be read."""
    found: list[Meter] = []
    for make in (*_rails(sys), *_gpus(), *_zones(sys)):
        try:
            found.append(make())
        except _FAILURES:
            continue
    return found


@contextmanager
def measured(given: Sequence[Meter]) -> Iterator[Mapping[str, float]]:
    """Measure the block; what this yields has the joules by source when the block has ended.

    A meter that fails meanwhile is left out: part of the energy would look like all of it.
    """
    joules: dict[str, float] = {}
    for meter in given:
        meter.start()
    try:
        yield joules
    finally:
        for meter in given:
            with suppress(*_FAILURES):
                joules[meter.source] = meter.stop()


def _zones(sys: Path) -> list[Callable[[], Meter]]:
    """RAPL's packages; the zones within them (intel-rapl:0:0) are parts of them."""
    zones = sorted((sys / "powercap").glob("intel-rapl:*"))
    return [partial(Counter, zone) for zone in zones if zone.name.count(":") == 1]


def _rails(sys: Path) -> list[Callable[[], Meter]]:
    """The rails of INA3221 sensors that feed a whole module."""
    labels = sorted((sys / "hwmon").glob("hwmon*/in[123]_label"))
    rails = {label: label.read_text(encoding="ascii").strip() for label in labels}
    return [partial(_rail, label, rail) for label, rail in rails.items() if rail in _TOTAL_RAILS]


def _rail(label: Path, rail: str) -> Meter:
    """A channel in millivolts and milliamperes (Linux, Documentation/hwmon/ina3221.rst)."""
    volts, amperes = (label.with_name(f"{kind}{label.name[2]}_input") for kind in ("in", "curr"))
    return Sampler(f"INA3221 {rail}", lambda: _number(volts) * _number(amperes) / 1e6)


def _number(file: Path) -> float:
    return float(file.read_text(encoding="ascii"))


def _gpus() -> list[Callable[[], Meter]]:
    """The sum of all GPUs that nvidia-smi lists, with what their boards need."""
    command = shutil.which("nvidia-smi")
    return [] if command is None else [partial(_all_gpus, command)]


def _all_gpus(command: str) -> Meter:
    return Sampler("nvidia-smi power.draw", lambda: _smi_w(command), every_s=_SMI_EVERY_S)


def _smi_w(command: str) -> float:
    query = (command, "--query-gpu=power.draw", "--format=csv,noheader,nounits")
    done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=_SMI_TIMEOUT_S)  # nosec B603
    return sum(float(line) for line in done.stdout.split())
