"""Queries of the storage service."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack_toolservers.storage.tables import documents, totals

_BYTES = "bytes"


async def put(db: Connection, key: str, body: str, at: str) -> None:
    """Store a document, and count its bytes in place of those that were there."""
    there = await size(db, key)
    if there is None:
        await db.execute(sa.insert(documents).values(key=key, body=body, created_at=at, updated_at=at))
    else:
        await db.execute(sa.update(documents).where(documents.c.key == key).values(body=body, updated_at=at))
    await _count(db, len(body) - (there or 0))


async def size(db: Connection, key: str) -> int | None:
    """Return a document's bytes, or None where there is none."""
    return await db.scalar(sa.select(sa.func.length(documents.c.body)).where(documents.c.key == key))


async def stored(db: Connection) -> int:
    """Return the bytes of all documents."""
    return await db.scalar(sa.select(totals.c.amount).where(totals.c.name == _BYTES)) or 0


async def get(db: Connection, key: str) -> Row | None:
    """Return a document, or None."""
    return await db.one(sa.select(documents).where(documents.c.key == key))


async def delete(db: Connection, key: str) -> bool:
    """Delete a document and return whether it was there."""
    there = await size(db, key)
    if there is None:
        return False
    await db.execute(sa.delete(documents).where(documents.c.key == key))
    await _count(db, -there)
    return True


async def keys(db: Connection, *, prefix: str, after: str, limit: int) -> list[str]:
    """Return keys with a prefix that follow a key, in the order of their bytes."""
    query = sa.select(documents.c.key).where(documents.c.key > after).order_by(documents.c.key).limit(limit)
    if prefix:
        query = query.where(sa.func.substr(documents.c.key, 1, len(prefix)) == prefix)
    return [row[0] for row in await db.execute(query)]


async def _count(db: Connection, more: int) -> None:
    changed = sa.update(totals).where(totals.c.name == _BYTES).values(amount=totals.c.amount + more)
    if not await db.change(changed):
        await db.execute(sa.insert(totals).values(name=_BYTES, amount=more))
