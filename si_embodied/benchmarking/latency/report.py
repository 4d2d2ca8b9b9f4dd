"""What plans cost: a row per kind of plan, the cold start, and the machine; as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.benchmarking.latency.energy import NOTHING
from si_embodied.benchmarking.latency.published import PUBLISHED, Published
from si_embodied.benchmarking.results import markdown_rows
from si_embodied.evaluation.report import without_nan
from si_embodied.evaluation.statistics import mean, median_interval
from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.benchmarking.latency.cold import ColdStart
    from si_embodied.benchmarking.latency.memory import Memory
    from si_embodied.types import PlanRecord

ENOUGH = 100
"""Plans below which a 99th percentile is not one: it lies between the two slowest."""
_WRITING = ("think", "decode")
"""Parts of a local model's plan in which tokens are written."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a time in milliseconds, interpolated linearly; NaN if there were none."""

    p50: float
    p90: float
    p99: float
    low: float  # 95% interval of the median; infinite of fewer than six times
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of times in seconds."""
        if not seconds:
            return cls(*[math.nan] * 5)
        figures = (*np.percentile(seconds, [50, 90, 99]), *median_interval(seconds))
        return cls(*(1000 * float(each) for each in figures))

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.p50:.1f} / {self.p90:.1f} / {self.p99:.1f}"


@dataclass(frozen=True, slots=True)
class Row:
    """The measured plans of one kind."""

    kind: str
    prompt_version: str
    plans: int
    refused: int  # that became a hold, whose time counts too
    plan_ms: Spread  # from the observation to the decision
    parts_ms: Mapping[str, float]  # medians
    prompt_tokens: float  # means per plan
    completion_tokens: float
    tokens_per_s: float  # written, of all plans together
    host_bytes: int | None  # peak
    gpu_bytes: int | None
    joules: Mapping[str, float]  # per plan, by source, of all that the meter feeds

    @classmethod
    def of(cls, kind: str, records: Sequence[PlanRecord], memory: Memory, joules: Mapping[str, float]) -> Row:
        """From the records of all measured plans, the peak memory, and the energy of all of them together."""
        parts = dict.fromkeys(name for record in records for name in record.latency_s if name != "total")
        tokens = [float(record.completion_tokens) for record in records]
        writing_s = math.fsum(_writing_s(record) for record in records)
        return cls(
            kind=kind,
            prompt_version=records[0].prompt_version,
            plans=len(records),
            refused=sum(record.code is not Code.OK for record in records),
            plan_ms=Spread.of([record.latency_s["total"] for record in records]),
            parts_ms={name: Spread.of([record.latency_s.get(name, 0.0) for record in records]).p50 for name in parts},
            prompt_tokens=mean([float(record.prompt_tokens) for record in records]),
            completion_tokens=mean(tokens),
            tokens_per_s=math.fsum(tokens) / writing_s if writing_s > 0 and any(tokens) else math.nan,
            host_bytes=memory.host,
            gpu_bytes=memory.gpu,
            joules={source: energy / len(records) for source, energy in joules.items()},
        )


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """All figures, and what they depend on."""

    model: str
    kernel: str
    dtype: str
    cold: tuple[ColdStart, ...]  # empty if there were none
    no_cold: str  # why there were none; empty: there were
    rows: tuple[Row, ...]
    settings: Mapping[str, Any]
    machine: Mapping[str, str]
    published: tuple[Published, ...] = PUBLISHED

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with null for what was not measured."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    def table(self) -> list[str]:
        """A Markdown table, and below it what it depends on."""
        head = ("plan", "n", "ms p50 / p90 / p99", "median ms by part", "tokens in, out", "tokens/s", "peak MB", "J")
        lines = markdown_rows(head, [*self._cold_row(), *map(_cells, self.rows)])
        return [*lines, "", *self._notes(), "", "Published by others, not measured here, not comparable:",
                *map(_published, self.published)]  # fmt: skip

    def _cold_row(self) -> list[list[str]]:
        if not self.cold:
            return []
        parts = {"load": [each.load_s for each in self.cold], "first plan": [each.first_s for each in self.cold]}
        words = ", ".join(f"{name} {Spread.of(seconds).p50:.0f}" for name, seconds in parts.items())
        host = max((each.host_bytes or 0 for each in self.cold), default=0) or None
        gpu = max((each.gpu_bytes or 0 for each in self.cold), default=0) or None
        total = str(Spread.of([each.total_s for each in self.cold]))
        return [["cold start", str(len(self.cold)), total, words, "", "", _megabytes(host, gpu), ""]]

    def _notes(self) -> list[str]:
        warmup, plans = self.settings["warmup"], self.settings["plans"]
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        notes = [
            f"{self.model}, attention kernel {self.kernel}, {self.dtype}; {warmup} plans of each kind to warm up",
            f"machine: {machine}",
        ]
        if plans < ENOUGH:
            notes.append(f"p99 of {plans} plans lies between the two slowest; --plans {ENOUGH} measures it")
        if self.no_cold:
            notes.append(f"cold start: not measured: {self.no_cold}")
        if not any(row.joules for row in self.rows):
            notes.append(f"energy: not measured: {NOTHING}")
        notes += [f"{row.kind}: {row.refused} of {row.plans} plans were refused" for row in self.rows if row.refused]
        return notes


def _writing_s(record: PlanRecord) -> float:
    """Seconds in which tokens were written; for a server, those of the whole answer."""
    known = [record.latency_s[name] for name in _WRITING if name in record.latency_s]
    return math.fsum(known) if known else record.latency_s.get("generate", 0.0)


def _cells(row: Row) -> list[str]:
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in row.parts_ms.items() if ms >= 0.05)
    speed = "–" if math.isnan(row.tokens_per_s) else f"{row.tokens_per_s:.0f}"
    joules = ", ".join(f"{energy:.2f} ({source})" for source, energy in row.joules.items()) or "–"
    return [
        f"{row.kind} ({row.prompt_version})", str(row.plans), str(row.plan_ms), parts,
        f"{row.prompt_tokens:.0f}, {row.completion_tokens:.1f}", speed, _megabytes(row.host_bytes, row.gpu_bytes),
        joules,
    ]  # fmt: skip


def _megabytes(host: int | None, gpu: int | None) -> str:
    known = {"host": host, "GPU": gpu}
    return ", ".join(f"{name} {size / 1e6:.0f}" for name, size in known.items() if size is not None) or "–"


def _published(each: Published) -> str:
    return f"- {each.model}, {each.machine}, {each.engine}: {each.tokens_per_s:g} tokens/s ({each.source})"
