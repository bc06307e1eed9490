"""What sessions changed: a row of the tenant's for each that did, so that any gateway can serve any session."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tausestack.database import Row, TenantDatabases
from tausestack.tenancy import cache_key
from tausestack_runtime.gateway.mcp.earlier.session import NoSession, Session
from tausestack_runtime.gateway.tables import sessions

FRESH_SECONDS = 1.0
"""How long another gateway's change of a session may go unseen here."""
MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Upstream:
    """A session of ours at a server of an earlier version, for one session of a client; `id` is None for none."""

    id: str | None
    version: str


@dataclass(frozen=True, slots=True)
class State:
    """What a session changed: its level of log messages, the resources that it watches, its sessions upstream."""

    ended: bool = False
    level: str | None = None
    watched: tuple[str, ...] = ()
    """URIs as the client knows them, sorted."""
    upstreams: dict[str, Upstream] = field(default_factory=dict[str, Upstream])
    """By the name of the installation."""


Edit = Callable[[State], State]


class States:
    """The states of sessions, read at most once a second each."""

    def __init__(self, databases: TenantDatabases) -> None:
        self._databases = databases
        self._kept: OrderedDict[str, tuple[float, State]] = OrderedDict()

    async def of(self, session: Session) -> State:
        """Return a session's state, or raise `NoSession` for one that has ended."""
        key = _key(session)
        known = self._kept.get(key)
        if known is not None and known[0] > time.monotonic():
            state = known[1]
        else:
            async with self._databases.reading(session.tenant) as db:
                state = _state(await db.one(_row(session)))
            self._keep(key, state)
        if state.ended:
            raise NoSession("There is no such session: begin one with initialize")
        return state

    async def change(self, session: Session, edit: Edit) -> State:
        """Change a session's state by what it is now, and return it; raises `NoSession` for one that has ended."""
        async with self._databases.transaction(session.tenant) as db:
            row = await db.one(_row(session))
            before = _state(row)
            if before.ended:
                raise NoSession("There is no such session: begin one with initialize")
            after = edit(before)
            if after != before:
                values = {"ended": after.ended, "state": _raw(after)}
                if row is None:
                    await db.execute(sa.delete(sessions).where(sessions.c.expires_at < datetime.now(UTC).isoformat()))
                    until = datetime.fromtimestamp(session.expires, UTC).isoformat()
                    await db.execute(sa.insert(sessions).values(id=session.id, expires_at=until, **values))
                else:
                    await db.execute(sa.update(sessions).where(sessions.c.id == session.id).values(**values))
        self._keep(_key(session), after)
        return after

    async def end(self, session: Session) -> State:
        """End a session, and return what it was."""
        before = await self.of(session)
        await self.change(session, lambda state: replace(state, ended=True))
        return before

    def clear(self) -> None:
        """Read every session's state anew."""
        self._kept.clear()

    def forget(self, session: Session) -> None:
        """Read a session's state anew next time."""
        self._kept.pop(_key(session), None)

    def _keep(self, key: str, state: State) -> None:
        self._kept[key] = (time.monotonic() + FRESH_SECONDS, state)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def _key(session: Session) -> str:
    return cache_key(session.tenant, session.principal, "", session.id)


def _row(session: Session) -> sa.Select[Any]:
    return sa.select(sessions).where(sessions.c.id == session.id)


def _state(row: Row | None) -> State:
    if row is None:
        return State()
    raw: dict[str, Any] = row.state
    return State(
        ended=bool(row.ended),
        level=raw["level"],
        watched=tuple(raw["watched"]),
        upstreams={name: Upstream(one["id"], one["version"]) for name, one in raw["upstreams"].items()},
    )


def _raw(state: State) -> dict[str, Any]:
    upstreams = {name: {"id": one.id, "version": one.version} for name, one in state.upstreams.items()}
    return {"level": state.level, "watched": list(state.watched), "upstreams": upstreams}
