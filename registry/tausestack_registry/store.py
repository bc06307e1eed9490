"""The registry's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from tausestack.database import Connection
from tausestack_registry.pins import Pin
from tausestack_registry.tables import facts, installations, pins, secrets, services

BILLING_PLAN = "plan"
"""The fact that is the tenant's billing plan."""


@dataclass(frozen=True)
class Installed:
    """A third-party server that a tenant has."""

    name: str
    ref: str
    title: str
    registry_type: str
    identifier: str
    version: str
    argv: list[str]
    store: str
    config: dict[str, str]
    is_default: bool
    installed_at: str


@dataclass(frozen=True)
class Choice:
    """A tenant's own choice about one of our services."""

    state: str
    is_default: bool


async def installed(db: Connection) -> list[Installed]:
    """Return the third-party servers by name."""
    rows = await db.execute(sa.select(*installations.c).order_by(installations.c.name))
    return [Installed(*row) for row in rows]


async def find_installed(db: Connection, name: str) -> Installed | None:
    """Return one third-party server, or None."""
    row = await db.one(sa.select(*installations.c).where(installations.c.name == name))
    return None if row is None else Installed(*row)


async def add_installed(db: Connection, one: Installed, tools: Sequence[Pin]) -> None:
    """Add a third-party server and its tools."""
    await db.change(sa.insert(installations).values(vars(one)))
    for pin in tools:
        raw = orjson.dumps(pin.raw).decode()
        row = {"installation": one.name, "tool": pin.name, "raw": raw, "sha256": pin.sha256, "status": pin.status}
        await db.change(sa.insert(pins).values(row))


async def remove_installed(db: Connection, name: str) -> None:
    """Remove a third-party server with its tools, settings and secrets."""
    await db.change(sa.delete(pins).where(pins.c.installation == name))
    await remove_secrets(db, name)
    await db.change(sa.delete(installations).where(installations.c.name == name))


async def pins_of(db: Connection, name: str) -> list[Pin]:
    """Return the tools of a third-party server by name."""
    query = sa.select(pins.c.raw, pins.c.sha256, pins.c.status).where(pins.c.installation == name)
    rows = await db.execute(query.order_by(pins.c.tool))
    return [Pin(orjson.loads(raw), sha256, status) for raw, sha256, status in rows]


async def activate(db: Connection, name: str) -> None:
    """Approve the quarantined tools of a third-party server."""
    waiting = (pins.c.installation == name) & (pins.c.status != "active")
    await db.change(sa.update(pins).where(waiting).values(status="active"))


async def choices(db: Connection) -> dict[str, Choice]:
    """Return where the tenant's choice of our services differs from its plan."""
    rows = await db.execute(sa.select(services.c.name, services.c.state, services.c.is_default))
    return {name: Choice(state, is_default) for name, state, is_default in rows}


async def choose(db: Connection, name: str, state: str, *, is_default: bool) -> None:
    """Keep the tenant's choice about one of our services."""
    changed = await db.change(
        sa.update(services).where(services.c.name == name).values(state=state, is_default=is_default)
    )
    if not changed:
        await db.change(sa.insert(services).values(name=name, state=state, is_default=is_default))


async def clear_default(db: Connection) -> None:
    """Let no server be the default one."""
    await db.change(sa.update(services).values(is_default=False))
    await db.change(sa.update(installations).values(is_default=False))


async def keep_secrets(db: Connection, name: str, sealed: Mapping[str, tuple[int, bytes]]) -> None:
    """Keep a server's sealed secrets as (version, sealed) by name, over older ones."""
    for secret, (version, value) in sealed.items():
        own = (secrets.c.installation == name) & (secrets.c.name == secret)
        await db.change(sa.delete(secrets).where(own))
        await db.change(sa.insert(secrets).values(installation=name, name=secret, version=version, sealed=value))


async def secrets_of(db: Connection, name: str) -> dict[str, tuple[int, bytes]]:
    """Return a server's sealed secrets as (version, sealed) by name."""
    query = sa.select(secrets.c.name, secrets.c.version, secrets.c.sealed).where(secrets.c.installation == name)
    return {secret: (version, sealed) for secret, version, sealed in await db.execute(query)}


async def remove_secrets(db: Connection, name: str) -> None:
    """Remove a server's secrets."""
    await db.change(sa.delete(secrets).where(secrets.c.installation == name))


async def fact(db: Connection, name: str) -> str | None:
    """Return what the registry was told of the tenant, or None."""
    return await db.scalar(sa.select(facts.c.value).where(facts.c.name == name))


async def keep_fact(db: Connection, name: str, value: str) -> None:
    """Keep what the registry was told of the tenant."""
    if not await db.change(sa.update(facts).where(facts.c.name == name).values(value=value)):
        await db.change(sa.insert(facts).values(name=name, value=value))
