"""Prometheus metrics of the gateway; no label ever names a tenant."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts calls by service and outcome (`done`, `failed`, `denied`, `waiting`, `in_doubt`, `cancelled`)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "tausestack_calls_total", "Calls by service and outcome.", ["service", "outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "tausestack_call_seconds",
            "Time from a call's admission to its end.",
            ["service"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self._registry,
        )
        self._started = Gauge("tausestack_start_time_seconds", "When this gateway started.", registry=self._registry)
        self._started.set_to_current_time()

    def ended(self, service: str, outcome: str, elapsed_us: int) -> None:
        """Count a call's end by the process of ours that served it; a tenant's own names never become labels."""
        self._calls.labels(service, outcome).inc()
        self._seconds.labels(service).observe(elapsed_us / 1_000_000)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
