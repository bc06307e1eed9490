"""A ledger whose process is killed, or whose disk is full."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tausestack_runtime.ledger import Ledger

TENANTS = 5
WRITER = textwrap.dedent("""
    import asyncio, os, sys
    from pathlib import Path
    from tausestack_runtime.ledger import Ledger, Line

    async def client(ledger, name):
        n = 0
        while True:
            call, tenant = f"{sys.argv[2]}-{name}-{n}", f"t{n % 5}"
            common = dict(tenant=tenant, call=call, at="2026-11-23T10:00:00+00:00", server="s", tool="t")
            await ledger.append(Line(kind="intent", **common))
            await ledger.append(Line(kind="result", outcome="done", **common))
            os.write(1, f"{tenant} {call}\\n".encode())
            n += 1

    async def main():
        ledger = Ledger(Path(sys.argv[1]))
        ledger.start()
        await asyncio.gather(*(client(ledger, name) for name in range(20)))

    asyncio.run(main())
""")


def acknowledged_until_killed(path: Path, turn: int, after: int) -> set[tuple[str, str]]:
    """Return the calls whose lines a writer called durable before it was killed."""
    command = [sys.executable, "-c", WRITER, path, str(turn)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines: list[str] = []
        for one in writer.stdout:
            lines.append(one)
            if len(lines) == after:
                writer.kill()  # what it had written to the pipe is still read
    return {(one.split()[0], one.split()[1]) for one in lines if one.endswith("\n")}


@pytest.mark.anyio
@pytest.mark.covers("ledger:kill")
async def test_killing_the_writer_loses_no_acknowledged_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    acknowledged: set[tuple[str, str]] = set()
    for turn in range(5):
        acknowledged |= acknowledged_until_killed(path, turn, after=200 + 37 * turn)
    ledger = Ledger(path)
    ledger.start()
    kept: set[tuple[str, str]] = set()
    for tenant in (f"t{n}" for n in range(TENANTS)):
        assert (await ledger.verify(tenant)).ok
        entries = await ledger.audit(tenant, limit=1_000_000)
        results = [entry["call"] for entry in entries if entry["kind"] == "result"]
        intents = {entry["call"] for entry in entries if entry["kind"] == "intent"}
        assert len(results) == len(set(results)) == (await ledger.usage(tenant))["lines"]
        assert set(results) <= intents
        kept |= {(tenant, call) for call in results}
    await ledger.close()
    assert len(acknowledged) > 1000
    assert acknowledged <= kept


FULL_DISK = textwrap.dedent("""
    import asyncio, json, resource, sqlite3, sys
    from dataclasses import asdict
    from pathlib import Path
    from tausestack_runtime.ledger import Ledger, Line

    def line(call):
        return Line(tenant="acme", call=call, kind="result", at="2026-11-23T10:00:00+00:00", rule="x" * 2000)

    async def main():
        ledger = Ledger(Path(sys.argv[1]))
        ledger.start()
        await ledger.append(line("first"))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        outcomes = await asyncio.gather(*(ledger.append(line(f"{n}")) for n in range(200)), return_exceptions=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await ledger.append(line("after"))
        found = await ledger.verify("acme")
        await ledger.close()
        kept = sum(1 for outcome in outcomes if outcome is None)
        refused = sum(1 for outcome in outcomes if isinstance(outcome, sqlite3.OperationalError))
        print(json.dumps({"kept": kept, "refused": refused, **asdict(found)}))

    asyncio.run(main())
""")


@pytest.mark.covers("ledger:failure")
def test_a_full_disk_is_told_to_whoever_appends_and_harms_nothing_before_or_after(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, tmp_path / "ledger.db"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["refused"] > 0
    assert found["kept"] + found["refused"] == 200
    assert found["ok"] is True
    assert found["lines"] == found["kept"] + 2
