"""Reading a ledger file: usage, audit entries, and whether the chain is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tausestack.errors import InvalidArguments
from tausestack_runtime.ledger.line import FIELDS, FIRST_HASH, canonical, link

_LINES = f"SELECT seq, hash, {', '.join(FIELDS)} FROM lines WHERE tenant = ?"  # noqa: S608 our own names
_USAGE = """
SELECT server, tool, count(*) AS calls, sum(outcome = 'failed') AS failed, sum(outcome = 'in_doubt') AS in_doubt,
       sum(outcome = 'cancelled') AS cancelled, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out,
       sum(duration_us) AS duration_us
FROM lines WHERE tenant = ? AND kind = 'result' AND at >= ? AND at < ?
GROUP BY server, tool ORDER BY server, tool
"""
_PRICES = """
SELECT price, count(*) FROM lines WHERE tenant = ? AND kind = 'result' AND at >= ? AND at < ?
GROUP BY price ORDER BY price
"""
_END_OF_TIME = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a tenant's chain is whole, how many lines it has, and the number of the first that is wrong."""

    ok: bool
    lines: int
    first_bad: int | None = None


@contextmanager
def reading(path: Path) -> Generator[sqlite3.Connection]:
    """Open a ledger file for reading one state of it."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def usage(path: Path, tenant: str, since: str | None, until: str | None) -> dict[str, Any]:
    """Sum up a tenant's calls from `since` (inclusive) to `until` (exclusive) by tool and by price class."""
    bounds = (tenant, _moment(since, "since") or "", _moment(until, "until") or _END_OF_TIME)
    with reading(path) as connection:
        rows = connection.execute(_USAGE, bounds)
        names = [column[0] for column in rows.description]
        tools = [dict(zip(names, row, strict=True)) for row in rows]
        prices = dict(connection.execute(_PRICES, bounds).fetchall())
    return {
        "since": since,
        "until": until,
        "lines": sum(tool["calls"] for tool in tools),
        "prices": prices,
        "tools": tools,
    }


def audit(path: Path, tenant: str, limit: int, before: int | None) -> list[dict[str, Any]]:
    """Return a tenant's lines, newest first, with their number and hash."""
    asked = f"{_LINES} AND seq < ? ORDER BY seq DESC LIMIT ?"
    with reading(path) as connection:
        rows = connection.execute(asked, (tenant, 2**63 - 1 if before is None else before, limit)).fetchall()
    return [dict(zip(("seq", "hash", *FIELDS), row, strict=True)) for row in rows]


def verify(path: Path, tenant: str) -> Verification:
    """Follow a tenant's chain from its first line to its head."""
    with reading(path) as connection:
        head = connection.execute("SELECT seq, hash FROM heads WHERE tenant = ?", (tenant,)).fetchone()
        last, last_hash = head or (0, FIRST_HASH)
        (count,) = connection.execute("SELECT count(*) FROM lines WHERE tenant = ?", (tenant,)).fetchone()
        expected, previous = 0, FIRST_HASH
        for seq, found, *values in connection.execute(f"{_LINES} ORDER BY seq", (tenant,)):
            expected += 1
            previous = link(previous, canonical(tuple(values)))
            if seq != expected or found != previous or expected > last:
                return Verification(False, count, expected)
    if expected != last:
        return Verification(False, count, expected + 1)
    if previous != last_hash:
        return Verification(False, count, last)
    return Verification(True, count)


def _moment(text: str | None, name: str) -> str | None:
    """Return a time as lines have it: UTC, ISO 8601; one without an offset is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArguments(
            f"{name} is not a time in ISO 8601: {text}", errors=[{"path": name, "message": "not a time in ISO 8601"}]
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
