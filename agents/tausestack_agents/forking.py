"""Forks: a new run with what another one's journal holds up to a checkpoint."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack.errors import NotFound
from tausestack_agents import events as telling
from tausestack_agents import store
from tausestack_agents.lines import of_row
from tausestack_agents.tables import journal

_SAME = ("agent", "input", "version", "kind", "rules", "context", "model", "budget")
"""What a fork has of its source as it is."""
_SETTLED = frozenset({"done", "failed", "rejected"})
"""What a fork takes over as it is; what was open, or in doubt, is done anew."""


async def fork(db: Connection, source: Row, checkpoint: str | None, values: dict[str, Any]) -> None:
    """Insert a run that replays the lines before a checkpoint and makes every other call anew; raises `NotFound`.

    `values` are the new run's id, thread, principal and scopes.
    """
    lines = await store.journal_of(db, source.id)
    kept = [line for line in _before(lines, checkpoint) if line.status in _SETTLED]
    origin = {"fork": source.id, "checkpoint": checkpoint, "thread": source.thread, "before": source.created_at}
    same = {name: getattr(source, name) for name in _SAME}
    await store.add_run(db, {**values, **same, "origin": origin})
    for position, line in enumerate(kept):
        fields = {column.name: getattr(line, column.name) for column in journal.c}
        # The key stays the source's: should the call be looked for under it, it is that call.
        await db.execute(sa.insert(journal).values({**fields, "run": values["id"], "position": position}))
        if line.kind == "tool":
            await store.add_events(db, values["id"], telling.call(of_row(line), edited=False))


async def check(db: Connection, source: Row, checkpoint: str | None) -> None:
    """Raise `NotFound` where a run has no such checkpoint."""
    if checkpoint is not None:
        _before(await store.journal_of(db, source.id), checkpoint)


def _before(lines: list[Row], checkpoint: str | None) -> list[Row]:
    if checkpoint is None:
        return []
    at = next((place for place, line in enumerate(lines) if f"{line.task}/{line.call}" == checkpoint), None)
    if at is None:
        raise NotFound("The run has no such checkpoint: its events name them, as `call`")
    return lines[:at]
