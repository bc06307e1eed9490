"""The registry's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack_registry.pins import Pin
from tausestack_registry.refs import REMOTE
from tausestack_registry.tables import facts, installations, pins, secrets, services

BILLING_PLAN = "plan"
"""The fact that is the tenant's billing plan."""
OFFERED = "offered:"
"""What the fact's name begins with that holds the tools which one of our services has for this tenant alone."""
PLANNED = "planned"
"""The state of a service that is there because of the billing plan, and only while that says so."""


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
    files: dict[str, str]
    protocols: list[str]
    offer: dict[str, Any]

    @property
    def url(self) -> str | None:
        """Where a remote server is; None where it runs here."""
        return self.identifier if self.registry_type == REMOTE else None


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
    await add_pins(db, one.name, tools)


async def keep_offer(db: Connection, name: str, offer: Mapping[str, Any]) -> None:
    """Keep what a third-party server offers beside its tools, as it is now."""
    await db.change(sa.update(installations).where(installations.c.name == name).values(offer=dict(offer)))


async def remove_installed(db: Connection, name: str) -> None:
    """Remove a third-party server with its tools, settings and secrets."""
    await db.change(sa.delete(pins).where(pins.c.installation == name))
    await remove_secrets(db, name)
    await db.change(sa.delete(installations).where(installations.c.name == name))


async def pins_of(db: Connection, name: str) -> list[Pin]:
    """Return the tools of a third-party server by name."""
    query = sa.select(pins.c.raw, pins.c.sha256, pins.c.status, pins.c.approved).where(pins.c.installation == name)
    rows = await db.execute(query.order_by(pins.c.tool))
    return [Pin(orjson.loads(raw), sha256, status, approved) for raw, sha256, status, approved in rows]


async def hashes_of(db: Connection, name: str) -> dict[str, str]:
    """Return the hashes of a third-party server's tools by name."""
    query = sa.select(pins.c.tool, pins.c.sha256).where(pins.c.installation == name)
    return {row.tool: row.sha256 for row in await db.execute(query)}


async def add_pins(db: Connection, name: str, tools: Sequence[Pin]) -> None:
    """Add tools to a third-party server."""
    if tools:
        await db.execute(sa.insert(pins), [{"installation": name, "tool": pin.name, **_values(pin)} for pin in tools])


async def replace_pins(db: Connection, name: str, tools: Sequence[Pin]) -> None:
    """Keep tools of a third-party server as they are now."""
    for pin in tools:
        own = (pins.c.installation == name) & (pins.c.tool == pin.name)
        await db.change(sa.update(pins).where(own).values(_values(pin)))


async def activate(db: Connection, name: str) -> int:
    """Approve the quarantined tools of a third-party server; return how many there were."""
    waiting = (pins.c.installation == name) & (pins.c.status != "active")
    return await db.change(sa.update(pins).where(waiting).values(status="active", approved=pins.c.sha256))


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


async def count_chosen(db: Connection) -> int:
    """Return how many servers the tenant installed itself: third parties', and our services beyond its plan's."""
    own = sa.select(sa.func.count()).select_from(services).where(services.c.state == "installed")
    others = sa.select(sa.func.count()).select_from(installations)
    return (await db.scalar(own) or 0) + (await db.scalar(others) or 0)


async def clear_default(db: Connection) -> None:
    """Let no server be the default one."""
    await db.change(sa.update(services).values(is_default=False))
    await db.change(sa.update(installations).values(is_default=False))


async def set_default(db: Connection, name: str, *, own: bool, is_default: bool) -> None:
    """Let an installed server be the tenant's one default, or not be it."""
    if is_default:
        await clear_default(db)
    if own:
        known = (await choices(db)).get(name)
        await choose(db, name, PLANNED if known is None else known.state, is_default=is_default)
    else:
        await db.change(sa.update(installations).where(installations.c.name == name).values(is_default=is_default))


async def add_secret(db: Connection, row: Mapping[str, Any]) -> None:
    """Keep a sealed secret."""
    await db.change(sa.insert(secrets).values(row))


async def remove_secret(db: Connection, server: str, name: str) -> None:
    """Remove one of a server's secrets."""
    await db.change(sa.delete(secrets).where(secrets.c.installation == server, secrets.c.name == name))


async def secrets_of(db: Connection, server: str) -> list[Row]:
    """Return a server's secrets as they are kept."""
    return await db.execute(sa.select(secrets).where(secrets.c.installation == server).order_by(secrets.c.name))


async def has_secrets_of_version(db: Connection, version: int) -> bool:
    """Return whether any secret is sealed by a version of the data key."""
    query = sa.select(sa.literal(1)).select_from(secrets).where(secrets.c.version == version)
    return await db.scalar(query.limit(1)) is not None


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


def _values(pin: Pin) -> dict[str, Any]:
    raw = orjson.dumps(pin.raw).decode()
    return {"raw": raw, "sha256": pin.sha256, "status": pin.status, "approved": pin.approved}
