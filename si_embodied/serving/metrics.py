"""The planning server's Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.errors import extra

with extra("serve"):
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from si_embodied.types import Decision

__all__ = ["CONTENT_TYPE", "Metrics"]

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Decisions, chats, refusals, latency and load of one server, in a registry of its own. Thread-safe."""

    def __init__(
        self, *, waiting: Callable[[], float], working: Callable[[], float], connected: Callable[[], float]
    ) -> None:  # fmt: skip
        """Register the metrics.

        Args:
            waiting: returns the number of robots with a queued request; called on each scrape.
            working: returns the number of robots whose plan is being made; called on each scrape.
            connected: returns the number of open websockets; called on each scrape.
        """
        self._registry = registry = CollectorRegistry()
        self._decisions = Counter("si_embodied_decisions_total", "Decisions by code.", ["code"], registry=registry)
        self._chats = Counter("si_embodied_chats_total", "Answers to chats, by end.", ["ending"], registry=registry)
        self._refusals = Counter(
            "si_embodied_refusals_total", "Requests refused, by reason.", ["reason"], registry=registry
        )
        self._latency = Histogram(
            "si_embodied_plan_seconds", "Latency of decisions by part.", ["part"], registry=registry, buckets=_BUCKETS_S
        )
        for name, description, value in (
            ("si_embodied_waiting_robots", "Robots with a queued request.", waiting),
            ("si_embodied_planning_robots", "Robots whose plan is being made, in as many lanes.", working),
            ("si_embodied_connected_robots", "Open websockets.", connected),
        ):
            Gauge(name, description, registry=registry).set_function(value)

    def decided(self, decision: Decision) -> None:
        """Count a decision and record its latencies."""
        self._decisions.labels(decision.record.code.name.lower()).inc()
        for part, seconds in decision.record.latency_s.items():
            self._latency.labels(part).observe(seconds)

    def chatted(self, ending: str) -> None:
        """Count a complete answer to a chat."""
        self._chats.labels(ending).inc()

    def refused(self, reason: str) -> None:
        """Count a refused request."""
        self._refusals.labels(reason).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format (version 0.0.4)."""
        return generate_latest(self._registry)
