"""Idempotency keys: a call's key and result, kept in the transaction of its effect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tausestack.clock import utc_now
from tausestack.database.connection import Connection

KEYS = sa.Table(
    "idempotency_keys",
    sa.MetaData(),
    sa.Column("tool", sa.Text(), primary_key=True),
    sa.Column("key", sa.Text(), primary_key=True),
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("result", sa.JSON(), nullable=False),
    sa.Column("created_at", sa.Text(), nullable=False),
)


async def find(connection: Connection, tool: str, key: str) -> tuple[str, Any] | None:
    """Return the digest of the arguments and the result kept under a key, or None."""
    row = await connection.one(
        sa.select(KEYS.c.digest, KEYS.c.result).where(KEYS.c.tool == tool, KEYS.c.key == key),
    )
    return None if row is None else (row[0], row[1])


async def remember(connection: Connection, tool: str, key: str, digest: str, result: Any) -> None:
    """Keep a call's result under its key; the same key twice is an IntegrityError."""
    row = {"tool": tool, "key": key, "digest": digest, "result": result, "created_at": utc_now()}
    await connection.execute(sa.insert(KEYS).values(row))


async def forget(connection: Connection, before: datetime) -> int:
    """Drop the keys made before a time (UTC), and return how many."""
    return await connection.change(sa.delete(KEYS).where(KEYS.c.created_at < before.astimezone(UTC).isoformat()))
