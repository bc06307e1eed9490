"""A tenant's agents in its database: each version is kept as it was saved, and a run stays with its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tausestack.agents import AgentSpec, TeamSpec
from tausestack.agents.team import TEAM
from tausestack.database import Connection
from tausestack.errors import Conflict, NotFound
from tausestack_agents.specs.builtin import builtin
from tausestack_agents.store import now
from tausestack_agents.tables import agents, specs

ALLOWED = "allowed:tools"
"""What the tools are kept under that built-in agents call without asking a person."""
MAX_AGENTS = 100
"""How many agents of its own a tenant may have, its teams counted apart."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An agent in one version; `own` tells those that the tenant saved from those that everybody has."""

    spec: AgentSpec
    version: int
    own: bool


async def find(db: Connection, name: str) -> Pinned:
    """Return an agent as it is now, or raise `NotFound` naming those that there are.

    One that a tenant saved stays its own, also where a later release brings one of that name.
    """
    version = await head(db, name)
    if version is not None:
        return Pinned(_parsed(name, await load(db, name, version)), version, own=True)
    if name.startswith(TEAM):
        raise NotFound(f"There is no team '{name.removeprefix(TEAM)[:60]}'")
    spec = builtin().get(name)
    if spec is None:
        there = sorted({*builtin(), *await names(db)})
        raise NotFound(f"There is no agent '{name[:60]}'; there are: {', '.join(there)[:400]}")
    return Pinned(spec, 0, own=False)


async def pin(db: Connection, name: str) -> Pinned:
    """Return an agent in a version that is kept from here on: a run goes on with it, whatever is saved meanwhile."""
    found = await find(db, name)
    if found.own:
        return found
    version, _ = await keep(db, name, found.spec.as_json(), by="")
    return Pinned(found.spec, version, own=False)


async def pinned(db: Connection, name: str, version: int | None) -> AgentSpec:
    """Return an agent in the version that a run began with, also where it was deleted since."""
    if version is None:
        return (await find(db, name)).spec
    return _parsed(name, await load(db, name, version))


def _parsed(name: str, raw: dict[str, Any]) -> AgentSpec:
    return TeamSpec.model_validate(raw).as_agent() if name.startswith(TEAM) else AgentSpec.model_validate(raw)


async def save(db: Connection, spec: AgentSpec, *, by: str) -> tuple[int, bool]:
    """Save a version of an agent and return its number, and whether it is new: the same again is the same version.

    Raises `Conflict` where everybody has an agent of the name, or the tenant has as many agents as it may have.
    """
    if await head(db, spec.name) is None:
        if spec.name in builtin():
            raise Conflict(f"'{spec.name}' is built in, and means the same everywhere: name yours otherwise")
        if len(await names(db)) >= MAX_AGENTS:
            raise Conflict(f"A tenant has at most {MAX_AGENTS} agents of its own")
    return await save_under(db, spec.name, spec.as_json(), by=by)


async def delete(db: Connection, name: str) -> None:
    """Delete an agent; runs that began with it go on with what they began with. Raises `NotFound` or `Conflict`."""
    if not await db.change(sa.delete(agents).where(agents.c.name == name)):
        if name in builtin():
            raise Conflict(f"'{name}' is built in: it can't be deleted")
        raise NotFound(f"There is no agent '{name[:60]}' of yours")


async def listed(db: Connection) -> list[Pinned]:
    """Return all agents that can be run, by name."""
    own = [await find(db, name) for name in await names(db)]
    taken = {each.spec.name for each in own}
    others = [Pinned(spec, 0, own=False) for name, spec in builtin().items() if name not in taken]
    return sorted([*own, *others], key=lambda each: each.spec.name)


async def allowed(db: Connection) -> list[str]:
    """Return the patterns of tools that the rules of this release's agents do not hold in a tenant."""
    version = await head(db, ALLOWED)
    return [] if version is None else list((await load(db, ALLOWED, version))["tools"])


async def allow(db: Connection, patterns: Sequence[str], *, by: str) -> None:
    """Let the rules of this release's agents hold none of these tools; who said so is kept."""
    await save_under(db, ALLOWED, {"tools": sorted(set(patterns))}, by=by)


async def versions(db: Connection, name: str) -> list[dict[str, Any]]:
    """Return the versions of an agent, newest first: `{"version", "saved_at", "saved_by"}`."""
    query = sa.select(specs.c.version, specs.c.saved_at, specs.c.saved_by).where(specs.c.name == name)
    rows = await db.execute(query.order_by(specs.c.version.desc()).limit(200))
    return [{"version": row.version, "saved_at": row.saved_at, "saved_by": row.saved_by} for row in rows]


async def names(db: Connection, prefix: str = "") -> list[str]:
    """Return the names of what a tenant saved: of its agents, or under a prefix such as `team:`."""
    rows = await db.execute(sa.select(agents.c.name).order_by(agents.c.name))
    return [row.name for row in rows if row.name.startswith(prefix) and (prefix or ":" not in row.name)]


async def head(db: Connection, name: str) -> int | None:
    """Return the version that a name stands for now, or None."""
    return await db.scalar(sa.select(agents.c.version).where(agents.c.name == name))


async def load(db: Connection, name: str, version: int) -> dict[str, Any]:
    """Return what was saved under a name in a version, or raise `NotFound`."""
    query = sa.select(specs.c.spec).where(specs.c.name == name, specs.c.version == version)
    found = await db.scalar(query)
    if found is None:
        raise NotFound(f"There is no version {version} of '{name[:60]}'")
    return found


async def save_under(db: Connection, name: str, spec: dict[str, Any], *, by: str) -> tuple[int, bool]:
    """Keep a version under a name, and let the name stand for it; return its number and whether it is new."""
    version, new = await keep(db, name, spec, by=by)
    if not await db.change(sa.update(agents).where(agents.c.name == name).values(version=version)):
        await db.execute(sa.insert(agents).values(name=name, version=version))
    return version, new


async def keep(db: Connection, name: str, spec: dict[str, Any], *, by: str) -> tuple[int, bool]:
    """Keep a version, unless the same is kept already, and return its number and whether it is new."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    same = sa.select(sa.func.max(specs.c.version)).where(specs.c.name == name, specs.c.digest == digest)
    known = await db.scalar(same)
    if known is not None:
        return int(known), False
    version = int(await db.scalar(sa.select(sa.func.max(specs.c.version)).where(specs.c.name == name)) or 0) + 1
    await db.execute(
        sa.insert(specs).values(name=name, version=version, digest=digest, spec=spec, saved_at=now(), saved_by=by)
    )
    return version, True
