"""Prometheus metrics of the gateways; no label ever names a tenant."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""
_BOUNDS_US = [int(bound * 1_000_000) for bound in _BOUNDS]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP = b"# HELP "
_UP = b"""# HELP tausestack_gateway_up Whether a gateway answered this scrape.
# TYPE tausestack_gateway_up gauge
"""


class _Ended:
    """The calls of one service that have ended."""

    __slots__ = ("buckets", "elapsed_us", "outcomes")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * (len(_BOUNDS_US) + 1)
        self.elapsed_us = 0


class _Calls(Collector):
    """The calls of a gateway, by what came of them and by how long they took.

    The library's own counters take a lock for each number, which costs more than a call has to spend on this.
    """

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._services: defaultdict[str, _Ended] = defaultdict(_Ended)

    def ended(self, service: str, outcome: str, elapsed_us: int) -> None:
        """Count one call."""
        of = self._services[service]
        of.outcomes[outcome] = of.outcomes.get(outcome, 0) + 1
        of.buckets[bisect_left(_BOUNDS_US, elapsed_us)] += 1
        of.elapsed_us += elapsed_us

    def collect(self) -> Iterable[Metric]:
        """Yield the two metrics."""
        calls = CounterMetricFamily(
            "tausestack_calls", "Calls by service and outcome.", labels=["gateway", "service", "outcome"]
        )
        for service, of in self._services.items():
            for outcome, count in of.outcomes.items():
                calls.add_metric([self._gateway, service, outcome], count)
        yield calls
        seconds = HistogramMetricFamily(
            "tausestack_call_seconds", "Time from a call's admission to its end.", labels=["gateway", "service"]
        )
        for service, of in self._services.items():
            up_to = zip((*map(str, _BOUNDS), "+Inf"), accumulate(of.buckets), strict=True)
            seconds.add_metric(
                [self._gateway, service], [(bound, count) for bound, count in up_to], of.elapsed_us / 1_000_000
            )
        yield seconds


class Metrics:
    """Counts calls by service and outcome, as the ledger names them.

    Every series bears its gateway's number: a scrape that meets one gateway or another never takes them for the same.
    """

    def __init__(self, number: int = 1) -> None:
        self._number = str(number)
        self._registry = CollectorRegistry()
        calls = _Calls(self._number)
        self._registry.register(calls)
        self.ended = calls.ended
        """Counts a call's end by the process of ours that served it; a tenant's own names never become labels."""
        self._started = Gauge(
            "tausestack_start_time_seconds", "When a gateway started.", ["gateway"], registry=self._registry
        )
        self._started.labels(self._number).set_to_current_time()
        self._connections = Gauge(
            "tausestack_connections", "Open connections of a gateway.", ["gateway"], registry=self._registry
        )

        self._handed_over = Counter(
            "tausestack_handed_over_total",
            "Requests that belonged to another gateway.",
            ["gateway"],
            registry=self._registry,
        )

    def handed_over(self) -> None:
        """Count a request that belonged to another gateway."""
        self._handed_over.labels(self._number).inc()

    def connected(self, connections: int) -> None:
        """Say how many connections there are."""
        self._connections.labels(self._number).set(connections)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


def gathered(texts: dict[int, bytes | None]) -> bytes:
    """Return the metrics of several gateways by number as one text, None being one that did not answer."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts.values():
        for name, head, samples in _families(text or b""):
            families.setdefault(name, [head]).append(samples)
    up = (b'tausestack_gateway_up{gateway="%d"} %d\n' % (number, text is not None) for number, text in texts.items())
    return b"".join(part for parts in families.values() for part in parts) + _UP + b"".join(up)


def _families(text: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
    """Yield each metric's name, its HELP and TYPE lines, and its samples."""
    for family in text.split(_HELP)[1:]:
        described, typed, *samples = family.splitlines(keepends=True)
        yield described.partition(b" ")[0], _HELP + described + typed, b"".join(samples)
