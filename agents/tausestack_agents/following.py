"""Following a run over server-sent events: the event log, from where the follower left off, to the run's end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from tausestack.database import Row, TenantDatabases
from tausestack_agents import store
from tausestack_agents.bell import Bell
from tausestack_agents.domain import ENDED

WAIT_SECONDS = 1.0
"""How long to wait for a ring before the log is read anyway: another process may have written."""
COMMENT_SECONDS = 15
"""How often a quiet stream is kept open by a comment."""


async def follow(databases: TenantDatabases, bell: Bell, tenant: str, run: str, after: int) -> AsyncGenerator[bytes]:
    """Yield a run's events after one as `text/event-stream`, the run's end last."""
    seq, quiet = after, 0.0
    while True:
        async with databases.reading(tenant) as db:
            status = (await store.get_run(db, run)).status
            rows = await store.events_after(db, run, seq)
        for row in rows:
            seq = row.seq
            yield _event(row)
        if rows:
            quiet = 0.0
            continue
        if status in ENDED:
            return
        await bell.wait(tenant, run, WAIT_SECONDS)
        quiet += WAIT_SECONDS
        if quiet >= COMMENT_SECONDS:
            quiet = 0.0
            yield b": still here\n\n"


def _event(row: Row) -> bytes:
    data = json.dumps({**row.data, "run": row.run, "at": row.at}, ensure_ascii=False)
    return f"id: {row.seq}\nevent: {row.kind}\ndata: {data}\n\n".encode()
