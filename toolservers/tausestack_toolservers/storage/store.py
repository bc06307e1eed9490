"""Queries of the storage service."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack_toolservers.storage.tables import documents


async def put(db: Connection, key: str, body: str, at: str) -> bool:
    """Store a document and return whether the key is new."""
    changed = await db.change(
        sa.update(documents).where(documents.c.key == key).values(body=body, updated_at=at),
    )
    if changed:
        return False
    await db.execute(sa.insert(documents).values(key=key, body=body, created_at=at, updated_at=at))
    return True


async def get(db: Connection, key: str) -> Row | None:
    """Return a document, or None."""
    return await db.one(sa.select(documents).where(documents.c.key == key))


async def delete(db: Connection, key: str) -> bool:
    """Delete a document and return whether it was there."""
    return await db.change(sa.delete(documents).where(documents.c.key == key)) > 0


async def keys(db: Connection, *, prefix: str, after: str, limit: int) -> list[str]:
    """Return keys with a prefix that follow a key, in the order of their bytes."""
    query = sa.select(documents.c.key).where(documents.c.key > after).order_by(documents.c.key).limit(limit)
    if prefix:
        query = query.where(sa.func.substr(documents.c.key, 1, len(prefix)) == prefix)
    return [row[0] for row in await db.execute(query)]
