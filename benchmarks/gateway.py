"""This gateway beside what is less and what others made: one run, one upstream, each on one core, in turns.

Run as `python -m benchmarks.gateway [--quick] [--json] [--table] [--no-peers]`. Direct, bare forwarders, this gateway
with everything on, mcpo and FastMCP's proxy get the same call, `add`; every reply is checked. What is measured has the
first core, the generator and the upstream have the last. CPU a call hardly moves with what else the machine does; rates
do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import uvloop

from benchmarks._rig.asking import Question, mcp_call, mcp_list, rest_call
from benchmarks._rig.figures import FORWARDERS, Figures, Round
from benchmarks._rig.generator import generate
from benchmarks._rig.ours import Stack, stack
from benchmarks._rig.peers import PEERS
from benchmarks._rig.processes import (
    AROUND,
    MEASURED,
    cpu_seconds,
    free_port,
    listening,
    resident_bytes,
    running,
    tree,
    wait_until,
)
from benchmarks._rig.upstream import MANY

CONCURRENT = (1, 32)
ROUNDS, SECONDS = 10, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.3
WARM_SECONDS, QUICK_WARM_SECONDS = 1.0, 0.3
LONG_RUN, PARTS = 100_000, 5
MOST_CALLS = 10**9


@dataclass(frozen=True)
class System:
    """Something that answers calls: its process, where all of its processes hang, its port, and what it is asked."""

    name: str
    pid: int
    root: int
    port: int
    question: Question
    concurrent: tuple[int, ...] = CONCURRENT


@dataclass(frozen=True)
class Upstream:
    """The raw upstream's process and port."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where it serves MCP."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def calls(self) -> int:
        """Return how many requests it had so far, whatever they asked for."""
        counts = httpx2.get(f"http://127.0.0.1:{self.port}/counts", trust_env=False).json()
        return sum(counts.values())


@contextlib.contextmanager
def systems(folder: Path, *, peers: bool, figures: Figures) -> Generator[tuple[Upstream, list[System]]]:
    """Run all that takes part."""
    with contextlib.ExitStack() as started:

        def serve(name: str, core: int, port: int, *command: str) -> int:
            log = folder / f"{name}.log"
            process = started.enter_context(running(command, core=core, log=log))
            wait_until(lambda: listening(port), process, log)
            return process.pid

        port = free_port()
        own = (sys.executable, "-m")
        pid = serve("upstream", AROUND, port, *own, "benchmarks._rig.upstream", str(port))
        upstream = Upstream(pid, port)
        call = mcp_call("/mcp", "add")
        found = [
            System("direct", pid, pid, port, call),
            System("direct tools/list", pid, pid, port, mcp_list("/many/mcp", MANY), (1,)),
        ]
        for name, client in FORWARDERS.items():
            port = free_port()
            pid = serve(name, MEASURED, port, *own, "benchmarks._rig.forwarder", str(port), str(upstream.port), client)
            found.append(System(name, pid, pid, port, call))
        installed = {"bench": upstream.url, "many": upstream.url.replace("/mcp", "/many/mcp")}
        found += _ours(started.enter_context(stack(folder, installed)))
        for peer in PEERS if peers else ():
            port = free_port()
            pid = serve(peer.name, MEASURED, port, *peer.command(upstream.url, port))
            question = rest_call("/add") if peer.name == "mcpo" else call
            found.append(System(peer.name, pid, pid, port, question))
            figures.versions[peer.name] = peer.version()
        yield upstream, found


def _ours(own: Stack) -> list[System]:
    def system(name: str, question: Question, concurrent: tuple[int, ...] = CONCURRENT) -> System:
        return System(name, own.gateway, own.root, own.port, question, concurrent)

    key, many = own.keys["bench"], own.keys["many"]
    return [
        system("gateway", mcp_call("/tenants/bench/mcp", "raw__add", key)),
        system("gateway, one server", mcp_call("/tenants/bench/servers/raw/mcp", "add", key)),
        system("gateway REST", rest_call("/api/v2/tenants/bench/tools/raw/add", key)),
        system("gateway tools/list", mcp_list("/tenants/many/mcp", MANY, many), (1,)),
    ]


async def one_round(system: System, upstream: Upstream, concurrent: int, seconds: float) -> Round:
    """Ask one system for some seconds, and return what that cost."""
    ask, check = system.question
    root = tree(system.root)
    before = cpu_seconds([system.pid]), cpu_seconds(root), upstream.calls()
    window = await generate(system.port, ask, check, concurrent=concurrent, numbers=range(MOST_CALLS), most=seconds)
    after = cpu_seconds([system.pid]), cpu_seconds(root), upstream.calls()
    latencies = sorted(window.latencies)
    calls = len(latencies)
    return Round(
        system=system.name,
        concurrent=concurrent,
        calls=calls,
        cpu_us=(after[0] - before[0]) / calls * 1e6,
        tree_us=(after[1] - before[1]) / calls * 1e6,
        p50_ms=latencies[calls // 2] * 1e3,
        p99_ms=latencies[calls * 99 // 100] * 1e3,
        rate=calls / window.seconds,
        upstream=(after[2] - before[2]) / calls,
    )


async def measure(upstream: Upstream, all_systems: list[System], figures: Figures, *, quick: bool) -> None:
    """Warm everything up, then ask each in turn, round after round, so that a noisy moment meets all of them."""
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    for system in all_systems:
        await one_round(system, upstream, max(system.concurrent), QUICK_WARM_SECONDS if quick else WARM_SECONDS)
    for _ in range(rounds):
        for concurrent in CONCURRENT:
            for system in all_systems:
                if concurrent in system.concurrent:
                    figures.rounds.append(await one_round(system, upstream, concurrent, seconds))
    gateway = next(system for system in all_systems if system.name == "gateway")
    for part in range(0 if quick else PARTS):
        share = LONG_RUN // PARTS
        numbers = range(part * share, (part + 1) * share)
        await generate(gateway.port, *gateway.question, concurrent=32, numbers=numbers, most=MOST_CALLS)
        figures.grown_bytes.append(resident_bytes(gateway.pid))


def main() -> int:
    """Measure, print, and return 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway")
    parser.add_argument("--quick", action="store_true", help="two short rounds, and no long run")
    parser.add_argument("--json", action="store_true", help="print everything measured as JSON")
    parser.add_argument("--table", action="store_true", help="print the README's table too")
    parser.add_argument("--no-peers", action="store_true", help="leave mcpo and FastMCP out; needs no package index")
    options = parser.parse_args()
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="tsb", dir="/tmp") as folder,
        systems(Path(folder), peers=not options.no_peers, figures=figures) as (upstream, found),
    ):
        uvloop.run(measure(upstream, found, figures, quick=options.quick))
    print(json.dumps(figures.plain(), indent=2) if options.json else "\n".join(figures.lines()))
    if options.table:
        print("\n" + "\n".join(figures.table()))
    return 0 if figures.kept() else 1


if __name__ == "__main__":
    sys.exit(main())
