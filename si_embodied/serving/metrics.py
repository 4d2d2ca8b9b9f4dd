"""What a planning server tells Prometheus, in its text format (version 0.0.4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from si_embodied.types import Decision

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts of decisions and refusals, and histograms of where the time went; safe to use from several threads."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """`gauges` are looked at when asked: by name, what each says in words and its value."""
        self._gauges = gauges
        self._lock = threading.Lock()
        self._decisions: Counter[str] = Counter()  # by code
        self._refusals: Counter[str] = Counter()  # by reason
        self._buckets: dict[str, list[int]] = {}  # by part of the latency; the last bucket has no bound
        self._sums: dict[str, float] = {}

    def decided(self, decision: Decision) -> None:
        """Count a decision and its times."""
        with self._lock:
            self._decisions[decision.record.code.name.lower()] += 1
            for part, seconds in decision.record.latency_s.items():
                buckets = self._buckets.setdefault(part, [0] * (len(_BOUNDS_S) + 1))
                buckets[sum(seconds > bound for bound in _BOUNDS_S)] += 1
                self._sums[part] = self._sums.get(part, 0.0) + seconds

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        with self._lock:
            self._refusals[reason] += 1

    def text(self) -> str:
        """Everything so far."""
        with self._lock:
            lines = _counter("si_embodied_decisions_total", "Decisions by their code.", "code", self._decisions)
            lines += _counter("si_embodied_refusals_total", "Requests without one.", "reason", self._refusals)
            name = "si_embodied_plan_seconds"
            lines += [f"# HELP {name} Where the time of decisions went.", f"# TYPE {name} histogram"]
            for part, buckets in sorted(self._buckets.items()):
                label, count = f'part="{part}"', 0
                for bound, bucket in zip((*_BOUNDS_S, "+Inf"), buckets, strict=True):
                    count += bucket
                    lines.append(f'{name}_bucket{{{label},le="{bound}"}} {count}')
                lines += [f"{name}_sum{{{label}}} {self._sums[part]:.6f}", f"{name}_count{{{label}}} {count}"]
        for name, (words, value) in self._gauges.items():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} gauge", f"{name} {value():g}"]
        return "\n".join([*lines, ""])


def _counter(name: str, words: str, label: str, counts: Counter[str]) -> list[str]:
    rows = [f'{name}{{{label}="{key}"}} {count}' for key, count in sorted(counts.items())]
    return [f"# HELP {name} {words}", f"# TYPE {name} counter", *rows]
