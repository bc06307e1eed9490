"""The ledger of earlier releases, one SQLite file for all tenants, turned into a chain's file for each."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, cast

import orjson
import structlog

from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.ledger.chain import Chain, row
from tausestack_runtime.ledger.line import FIRST_HASH, Line
from tausestack_runtime.ledger.writing import file_of

FILE = "ledger.db"
_AT_ONCE = 1000

logger = structlog.get_logger("ledger")


def migrate(data: Path, keys: Sequence[bytes], gateway: int) -> None:
    """Turn an earlier release's file into chains, one tenant after the other, and remove it.

    Killed midway, the next one goes on: a tenant's chain appears whole or not at all.
    """
    path = data / FILE
    if not path.exists():
        return
    with sqlite3.connect(path, isolation_level=None, timeout=10) as connection:
        tenants = [tenant for (tenant,) in connection.execute("SELECT tenant FROM heads ORDER BY tenant")]
        # The house's own chain first: what is told there of the others comes after what it was.
        for tenant in sorted(tenants, key=lambda tenant: (tenant != SYSTEM_TENANT, tenant)):
            target = file_of(data, tenant)
            if not target.exists():
                _migrate_one(connection, tenant, target, keys, gateway)
    connection.close()
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-turn"):
        (data / name).unlink(missing_ok=True)
    logger.info("the ledger of an earlier release was taken over", tenants=len(tenants))


def _migrate_one(
    connection: sqlite3.Connection, tenant: str, target: Path, keys: Sequence[bytes], gateway: int
) -> None:
    unfinished = target.with_name(f".{target.name}.migrating")
    unfinished.unlink(missing_ok=True)
    chain = Chain(unfinished, tenant, keys, gateway)
    earlier = _Earlier(connection, tenant)
    lines = earlier.lines()
    while some := [row(line) for line in islice(lines, _AT_ONCE)]:
        chain.write(some)
    kind, error = ("gap", "it was damaged already in the earlier release") if earlier.damaged else ("migrated", "")
    now = datetime.now(UTC).isoformat()
    chain.write([row(Line(tenant=tenant, call="", kind=kind, at=now, error=error, result_digest=earlier.head))])
    chain.flush()
    chain.close()
    unfinished.rename(target)


class _Earlier:
    """One tenant's lines in the earlier file, checked on the way."""

    def __init__(self, connection: sqlite3.Connection, tenant: str) -> None:
        self._connection, self._tenant = connection, tenant
        self.head = FIRST_HASH.decode()
        self.damaged = False

    def lines(self) -> Generator[Line]:
        """Yield the lines in order."""
        found = self._connection.execute("SELECT * FROM lines WHERE tenant = ? ORDER BY seq", (self._tenant,))
        names = [column[0] for column in found.description]
        number = 0
        for number, values in enumerate(found, 1):
            line = {name: value for name, value in zip(names, values, strict=True) if value}
            seq, linked = line.pop("seq"), line.pop("hash")
            self.head = _link(self.head, line)
            self.damaged |= seq != number or linked != self.head
            yield cast("Line", line)
        (last, head), *_ = self._connection.execute("SELECT seq, hash FROM heads WHERE tenant = ?", (self._tenant,))
        self.damaged |= (last, head) != (number, self.head)


def _link(previous: str, line: dict[str, Any]) -> str:
    """Return the hash of a line as the earlier release made it: of its values by name."""
    return hashlib.sha256(previous.encode() + orjson.dumps(line, option=orjson.OPT_SORT_KEYS)).hexdigest()
