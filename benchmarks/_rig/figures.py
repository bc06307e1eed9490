"""What was measured, the bounds that it has to keep, and how both are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FORWARDERS = {"forwarder": "wire", "forwarder, aiohttp": "aiohttp"}
"""The bare forwarders and the clients that they have: the first has the gateway's own, and is the measure."""
_TABLE = ("direct", *FORWARDERS, "gateway", "gateway REST", "fastmcp", "mcpo")


@dataclass(frozen=True)
class Round:
    """One window of calls to one system, from so many callers at once."""

    system: str
    concurrent: int
    calls: int
    cpu_us: float
    """CPU a call of the one process that is in between."""
    tree_us: float
    """CPU a call of all of the system's processes."""
    p50_ms: float
    p99_ms: float
    rate: float
    """Calls a second."""
    upstream: float
    """Requests to the upstream a call."""


@dataclass
class Figures:
    """Everything that one run measured."""

    rounds: list[Round] = field(default_factory=list[Round])
    grown_bytes: list[int] = field(default_factory=list[int])
    """Resident memory of the gateway after each fifth of the long run."""
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def best(self, system: str, concurrent: int) -> Round:
        """Return the least cost and latency of a system's rounds: what disturbs a round only adds."""
        rounds = [one for one in self.rounds if (one.system, one.concurrent) == (system, concurrent)]
        return Round(
            system,
            concurrent,
            sum(one.calls for one in rounds),
            min(one.cpu_us for one in rounds),
            min(one.tree_us for one in rounds),
            min(one.p50_ms for one in rounds),
            min(one.p99_ms for one in rounds),
            max(one.rate for one in rounds),
            max(one.upstream for one in rounds),
        )

    def systems(self) -> list[tuple[str, int]]:
        """Return what was measured, in the order in which it was."""
        return list(dict.fromkeys((one.system, one.concurrent) for one in self.rounds))

    def measured(self, system: str) -> bool:
        """Whether a system took part."""
        return any(one.system == system for one in self.rounds)

    def bounds(self) -> list[tuple[str, float, float, str]]:
        """Return each promise with what was measured, its bound and its unit."""
        ours, bare = self.best("gateway", 32), self.best("forwarder", 32)
        peers = [self.best(name, 32).cpu_us for name in ("mcpo", "fastmcp") if self.measured(name)]
        added = self.best("gateway", 1).p50_ms - self.best("direct", 1).p50_ms
        found = [
            ("CPU a call, of the bare forwarder's", ours.cpu_us / bare.cpu_us, 2.0, "x"),
            ("p50 of one client, over direct", added, 0.6, "ms"),
            ("tools/list of 1,000 tools, p50", self.best("gateway tools/list", 1).p50_ms, 2.0, "ms"),
            ("CPU a REST call, of the MCP call's", self.best("gateway REST", 32).cpu_us / ours.cpu_us, 1.2, "x"),
            ("upstream requests a call", ours.upstream, 1.0, ""),
        ]
        if peers:
            found.insert(1, ("CPU a call, of the better peer's", ours.cpu_us / min(peers), 1 / 30, "x"))
        if self.grown_bytes:
            grown = (self.grown_bytes[-1] - self.grown_bytes[0]) / 1e6
            found.append(("memory grown over the last 80,000 of 100,000 calls", grown, 2.0, "MB"))
        return found

    def kept(self) -> bool:
        """Whether every bound is kept."""
        return all(value <= bound for _, value, bound, _ in self.bounds())

    def lines(self) -> Sequence[str]:
        """Return the tables, a line each."""
        head = f"{'system':20}{'at once':>8}{'CPU us':>9}{'tree':>8}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}"
        shown = [f"{head}{'calls/s':>10}{'upstream':>10}"]
        for system, concurrent in self.systems():
            one = self.best(system, concurrent)
            bare = self.best("forwarder", concurrent).cpu_us if "list" not in system else 0.0
            ratio = f"{one.cpu_us / bare:7.2f}x" if bare else " " * 8
            shown.append(
                f"{system:20}{concurrent:>8}{one.cpu_us:>9.0f}{one.tree_us:>8.0f}{ratio}{one.p50_ms:>9.2f}"
                f"{one.p99_ms:>9.2f}{one.rate:>10.0f}{one.upstream:>10.2f}"
            )
        shown += ["", f"{'bound':52}{'measured':>10}{'at most':>9}"]
        for name, value, bound, unit in self.bounds():
            missed = "" if value <= bound else "   missed"
            shown.append(f"{name:52}{value:>10.3f}{bound:>9.3f} {unit}{missed}")
        if self.grown_bytes:
            shown += ["", "resident MB by calls: " + ", ".join(f"{one / 1e6:.1f}" for one in self.grown_bytes)]
        return shown

    def table(self) -> Sequence[str]:
        """Return the README's table, a line each."""
        shown = [
            "| | CPU µs a call, 32 at once | of the forwarder's | calls/s | p50 ms, one client | upstream requests |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        bare = self.best("forwarder", 32).cpu_us
        for system in _TABLE:
            if self.measured(system):
                many, one = self.best(system, 32), self.best(system, 1)
                name = f"{system} {self.versions.get(system, '')}".strip()
                shown.append(
                    f"| {name} | {many.cpu_us:,.0f} | {many.cpu_us / bare:.1f} | {many.rate:,.0f} | {one.p50_ms:.2f}"
                    f" | {many.upstream:.0f} |"
                )
        return shown

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "versions": self.versions,
            "best": [asdict(self.best(*one)) for one in self.systems()],
            "median_cpu_us": {
                f"{system} {at_once}": self._median(system, at_once) for system, at_once in self.systems()
            },
            "bounds": [
                {"name": name, "measured": value, "at_most": bound, "unit": unit, "kept": value <= bound}
                for name, value, bound, unit in self.bounds()
            ],
            "resident_bytes": self.grown_bytes,
            "rounds": [asdict(one) for one in self.rounds],
        }

    def _median(self, system: str, concurrent: int) -> float:
        return median(one.cpu_us for one in self.rounds if (one.system, one.concurrent) == (system, concurrent))
