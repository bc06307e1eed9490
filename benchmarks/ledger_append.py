"""The ledger's price: lines a second and CPU a line, by how many callers wait at once."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Literal

import uvloop

from tausestack_runtime.ledger import Ledger, Line

CONCURRENT = (1, 32, 256)
LINES = 8192
ROUNDS = 3


def line(number: int) -> Line:
    """Return a line as the gateway writes them, of one of fifty tenants."""
    return Line(
        tenant=f"tenant-{number % 50}",
        call=f"01JD{number:020d}",
        kind="result",
        at="2026-11-23T10:00:00.000000+00:00",
        principal="key:abcdefghijkl",
        door="mcp",
        server="billing",
        tool="list_plans",
        decision="allow",
        rule="role:developer",
        outcome="done",
        arguments_digest="0" * 64,
        result_digest="f" * 64,
        bytes_in=300,
        bytes_out=700,
        duration_us=1500,
        price="standard",
        trace="0" * 32,
    )


async def measured(path: Path, synchronous: Literal["NORMAL", "FULL"], concurrent: int) -> tuple[float, float, float]:
    """Return lines a second, CPU microseconds a line (all threads), and lines a transaction."""
    ledger = Ledger(path, lambda: (b"k" * 32,), synchronous=synchronous)
    await ledger.start()
    numbers = iter(range(LINES))

    async def caller() -> None:
        for number in numbers:
            await ledger.append(line(number))

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrent)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    groups = ledger.groups
    await ledger.close()
    return LINES / wall, cpu / LINES * 1e6, LINES / groups


def main() -> None:
    """Print the best of the rounds for each level of durability and number of callers."""
    print(f"{'sync':<8}{'callers':>8}{'lines/s':>10}{'CPU us':>9}{'group':>8}")
    levels: tuple[Literal["NORMAL", "FULL"], ...] = ("NORMAL", "FULL")
    for level in levels:
        for concurrent in CONCURRENT:
            rounds: list[tuple[float, float, float]] = []
            for _ in range(ROUNDS):
                with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
                    rounds.append(uvloop.run(measured(Path(folder), level, concurrent)))
            rate, cpu, group = max(rounds)
            print(f"{level:<8}{concurrent:>8}{rate:>10.0f}{cpu:>9.1f}{group:>8.1f}")


if __name__ == "__main__":
    main()
