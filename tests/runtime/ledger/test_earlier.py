"""The ledger of earlier releases, one SQLite file, becomes a chain's file for each tenant."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledgers import KEYS, file_of
from tausestack_runtime.ledger import Ledger

pytestmark = pytest.mark.anyio

FIELDS = [
    "tenant",
    "call",
    "kind",
    "at",
    "principal",
    "agent",
    "run",
    "door",
    "server",
    "tool",
    "decision",
    "rule",
    "outcome",
    "error",
    "arguments_digest",
    "result_digest",
    "bytes_in",
    "bytes_out",
    "duration_us",
    "price",
    "trace",
]
NUMBERS = {"bytes_in", "bytes_out", "duration_us"}
SCHEMA = f"""
CREATE TABLE lines (seq INTEGER NOT NULL, hash TEXT NOT NULL,
    {", ".join(f"{name} {'INTEGER' if name in NUMBERS else 'TEXT'} NOT NULL" for name in FIELDS)},
    PRIMARY KEY (tenant, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE heads (tenant TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


def earlier_line(tenant: str, number: int) -> dict[str, Any]:
    said = {name: 0 if name in NUMBERS else "" for name in FIELDS}
    return said | {
        "tenant": tenant,
        "call": f"call_{tenant}_{number // 2}",
        "kind": "result" if number % 2 else "intent",
        "at": f"2026-11-{1 + number % 28:02}T10:00:00+00:00",
        "principal": "key:1",
        "server": "billing",
        "tool": "create_invoice",
        "outcome": "done" if number % 2 else "",
        "bytes_out": number,
        "price": "standard",
    }


def write_earlier(data: Path, tenants: dict[str, int]) -> None:
    """Write a file as an earlier release did."""
    data.mkdir(exist_ok=True)
    with sqlite3.connect(data / "ledger.db") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        for tenant, lines in tenants.items():
            head = "0" * 64
            for number in range(lines):
                said = earlier_line(tenant, number)
                present = {name: value for name, value in said.items() if value}
                text = orjson.dumps(present, option=orjson.OPT_SORT_KEYS)
                head = hashlib.sha256(head.encode() + text).hexdigest()
                values = (number + 1, head, *said.values())
                db.execute(f"INSERT INTO lines VALUES ({', '.join('?' * len(values))})", values)
            db.execute("INSERT INTO heads VALUES (?, ?, ?)", (tenant, lines, head))
    db.close()


@pytest.mark.covers("ledger:migration")
async def test_an_earlier_file_becomes_a_chain_for_each_tenant(tmp_path: Path) -> None:
    write_earlier(tmp_path, {"_system": 4, "acme": 2500, "globex": 8})
    ledger = Ledger(tmp_path, KEYS)
    await ledger.start()
    for tenant, lines in {"_system": 4, "acme": 2500, "globex": 8}.items():
        found = await ledger.verify(tenant)
        assert (found.ok, found.lines) == (True, lines + 1), found  # the last tells whence they came
        entries = await ledger.audit(tenant, limit=10_000)
        assert entries[0]["kind"] == "migrated"
        kept = [{name: entry[name] for name in FIELDS} for entry in reversed(entries[1:])]
        assert kept == [earlier_line(tenant, number) for number in range(lines)]
    assert (await ledger.usage("acme"))["lines"] == 1250
    await ledger.close()
    assert earlier_files(tmp_path) == []


@pytest.mark.covers("ledger:migration")
async def test_what_was_damaged_before_is_so_after(tmp_path: Path) -> None:
    write_earlier(tmp_path, {"acme": 10, "globex": 10})
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("UPDATE lines SET bytes_out = 99 WHERE tenant = 'acme' AND seq = 4")
    db.close()
    ledger = Ledger(tmp_path, KEYS)
    await ledger.start()
    found = await ledger.verify("acme")
    assert (found.ok, found.first_bad, found.lines) == (False, 11, 11)
    assert (await ledger.verify("globex")).ok
    await ledger.close()


def earlier_files(data: Path) -> list[Path]:
    return list(data.glob("ledger.db*"))


MIGRATES = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from ledgers import KEYS
    from tausestack_runtime.ledger import Ledger

    async def main():
        ledger = Ledger(Path(sys.argv[1]), KEYS)
        await ledger.start()
        await ledger.close()

    asyncio.run(main())
""")


def killed_after(data: Path, tenants: int) -> bool:
    """Start a ledger, kill it once it has migrated so many tenants, and return whether it was not through by then."""
    there = len(list(data.glob("tenants/*/ledger.jsonl")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    deadline = time.monotonic() + 60
    with subprocess.Popen([sys.executable, "-c", MIGRATES, data], env=environment) as process:
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(data.glob("tenants/*/ledger.jsonl"))) >= there + tenants:
                process.kill()
                break
    return process.returncode == -signal.SIGKILL


def unfinished(data: Path, tenant: str) -> list[Path]:
    return list(file_of(data, tenant).parent.glob(".*"))


@pytest.mark.covers("ledger:migration")
async def test_a_migration_that_is_killed_goes_on(tmp_path: Path) -> None:
    tenants = {f"tenant-{n}": 1000 for n in range(7)}
    write_earlier(tmp_path, tenants)
    kills = 0
    while earlier_files(tmp_path):
        kills += killed_after(tmp_path, tenants=1 + kills % 2)
    assert kills
    ledger = Ledger(tmp_path, KEYS)
    await ledger.start()
    for tenant, lines in tenants.items():
        found = await ledger.verify(tenant)
        assert (found.ok, found.lines) == (True, lines + 1), found
        assert unfinished(tmp_path, tenant) == []
    await ledger.close()
