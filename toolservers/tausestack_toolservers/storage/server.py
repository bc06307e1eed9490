"""The storage service's tools."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from tausestack.clock import utc_now
from tausestack.contract import VERSION
from tausestack.errors import NotFound
from tausestack.mcp import Context, Server
from tausestack.scopes import SYSTEM
from tausestack_toolservers.storage import domain, store
from tausestack_toolservers.storage.tables import SCHEMA

server = Server(
    "storage",
    version=VERSION,
    title="Storage",
    description="A tenant's JSON documents, each under a key.",
    schema=SCHEMA,
)

SIGNS = "^[a-zA-Z0-9._/-]*$"

KINDS = ("object", "array", "string", "number", "boolean", "null")
ANY_JSON: dict[str, Any] = {"anyOf": [{"type": kind} for kind in KINDS]}
"""What JSON Schema says by saying nothing, for clients that want a type of every parameter."""

Key = Annotated[
    str,
    Field(
        description="Key (clave) of the document: letters, digits, '.', '_', '/' and '-'.",
        examples=["settings/theme", "customers/c1.json"],
        min_length=1,
        max_length=domain.MAX_KEY,
    ),
]


class Stored(BaseModel):
    """A document that was stored; `created` is false where it replaced one."""

    key: str
    created: bool
    size_bytes: int
    updated_at: str


class Document(BaseModel):
    """A document; times are UTC, ISO 8601."""

    key: str
    value: Any
    created_at: str
    updated_at: str


class Deleted(BaseModel):
    """Whether a document was there to delete."""

    key: str
    deleted: bool


class Keys(BaseModel):
    """Keys in order; `next` is what to pass as `after` for more, null at the end."""

    keys: list[str]
    next: str | None


@server.tool("storage/put_json", title="Store a document", side_effect="write", idempotent=True)
async def put_json(
    key: Key,
    value: Annotated[
        Any,
        Field(
            description="Any JSON value: an object, a list, a text, a number.",
            examples=[{"color": "blue"}],
            json_schema_extra=ANY_JSON,
        ),
    ],
    ctx: Context,
) -> Stored:
    """Store or save (guardar) a JSON document under a key, replacing what is there."""
    body, now = domain.encode(value), utc_now()
    async with ctx.write() as db:
        there = await store.size(db, domain.check_key(key))
        ctx.check_limit("storage_bytes", "bytes of stored documents", await store.stored(db), len(body) - (there or 0))
        await store.put(db, key, body, now)
    return Stored(key=key, created=there is None, size_bytes=len(body), updated_at=now)


@server.tool("storage/get_json", title="Read a document", side_effect="read")
async def get_json(key: Key, ctx: Context) -> Document:
    """Read or get (leer, obtener) the JSON document stored under a key."""
    async with ctx.database() as db:
        row = await store.get(db, domain.check_key(key))
    if row is None:
        raise NotFound("There is no document under this key")
    return Document(key=key, value=domain.decode(row.body), created_at=row.created_at, updated_at=row.updated_at)


@server.tool("storage/delete_json", title="Delete a document", side_effect="write", idempotent=True)
async def delete_json(key: Key, ctx: Context) -> Deleted:
    """Delete (borrar, eliminar) the JSON document stored under a key; harmless where there is none."""
    async with ctx.write() as db:
        deleted = await store.delete(db, domain.check_key(key))
    return Deleted(key=key, deleted=deleted)


@server.tool("storage/list_keys", title="List keys", side_effect="read")
async def list_keys(
    ctx: Context,
    prefix: Annotated[
        str,
        Field(
            description="Only keys that start with this.",
            examples=["settings/"],
            max_length=domain.MAX_KEY,
            pattern=SIGNS,
        ),
    ] = "",
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=1000)] = 100,
    after: Annotated[
        str, Field(description="The `next` of the page before.", max_length=domain.MAX_KEY, pattern=SIGNS)
    ] = "",
) -> Keys:
    """List (listar) the keys of the stored documents in order, by prefix and page by page."""
    async with ctx.database() as db:
        found = await store.keys(db, prefix=prefix, after=after, limit=limit + 1)
    return Keys(keys=found[:limit], next=found[limit - 1] if len(found) > limit else None)


@server.tool("storage/limits_used", side_effect="read", scopes=[SYSTEM])
async def limits_used(ctx: Context) -> dict[str, int]:
    """Tell how much the tenant uses of the limits that are counted here."""
    async with ctx.database() as db:
        return {"storage_bytes": await store.stored(db)}
