"""Following a run over server-sent events: the event log, from where the follower left off, to the run's end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator

from tausestack.database import Row, TenantDatabases
from tausestack_agents import store
from tausestack_agents.bell import Bell
from tausestack_agents.domain import ENDED

WAIT_SECONDS = 0.5
"""How long to wait for a ring before the log is read anyway: another process may have written."""
LAST_EVENT = 2**31 - 1
"""The greatest number that an event may have, as databases keep it."""
HEARTBEAT_SECONDS = 15.0
"""How often a quiet stream is kept open by a comment."""


async def follow(databases: TenantDatabases, bell: Bell, tenant: str, run: str, after: int) -> AsyncGenerator[bytes]:
    """Yield a run's events after one as `text/event-stream`, and end once the run has ended.

    All of it is read from the log, so that any process may go on where another one broke off.
    """
    seq, spoken = after, time.monotonic()
    while True:
        async with databases.reading(tenant) as db:
            found = await store.find_run(db, run)
            rows = await store.events_after(db, run, seq)
        for row in rows:
            seq = row.seq
            yield _event(row)
        if rows:
            spoken = time.monotonic()
            continue
        if found is None or found.status in ENDED:
            return
        await bell.wait(tenant, run, WAIT_SECONDS)
        if time.monotonic() - spoken >= HEARTBEAT_SECONDS:
            spoken = time.monotonic()
            yield b": still here\n\n"


def _event(row: Row) -> bytes:
    data = json.dumps({**row.data, "run": row.run, "at": row.at}, ensure_ascii=False)
    return f"id: {row.seq}\nevent: {row.kind}\ndata: {data}\n\n".encode()
