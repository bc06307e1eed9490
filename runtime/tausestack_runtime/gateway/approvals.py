"""Approvals: a call that waits for a person, and the single-use grant that lets exactly that call through."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tausestack.clock import place, placed
from tausestack.confidential import shown
from tausestack.contract import Principal, ToolPolicy
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound
from tausestack_runtime.gateway.call import Call, digest
from tausestack_runtime.gateway.confidential import Confidential
from tausestack_runtime.gateway.tables import approvals

NOTHING: Mapping[str, Any] = {}
PAGE = 200
"""How many approvals a page has where nobody says."""
EXPIRES_AFTER = timedelta(days=2)
"""How long an approval waits for a person, and then a grant for its call."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval that a call has to wait for; it can be decided on until `expires_at` (UTC, ISO 8601)."""

    id: str
    expires_at: str


class Approvals:
    """Opens approvals, takes decisions on them, and lets each be used once.

    A grant is bound to tenant, principal, agent, run, server, tool, the digest of the arguments, the version of the
    tool's policy and an expiry. The call that used it may use it again only with the idempotency key that it bore, and
    only where that is the same write: on a tool that keeps its keys or is idempotent (`repeatable`). Elsewhere each use
    would be another effect.
    """

    def __init__(
        self,
        databases: TenantDatabases,
        *,
        expires_after: timedelta = EXPIRES_AFTER,
        confidential: Confidential | None = None,
    ) -> None:
        """Without `confidential` secrets are sealed by a key that lives as long as this process."""
        self._confidential = confidential or Confidential()
        self._databases = databases
        self._expires_after = expires_after

    async def open(
        self, call: Call, *, policy: str = "", repeatable: bool = True, schema: Mapping[str, Any] = NOTHING
    ) -> Waiting | None:
        """Return the approval that a call has to wait for, or None where it was granted already.

        A call of the same run with the same key and arguments finds the approval that it opened before. What `schema`
        marks as a secret is kept sealed.
        """
        digests = self._confidential.digests(call.tenant, call.arguments)
        now = datetime.now(UTC)
        async with self._databases.transaction(call.tenant) as db:
            same = sa.select(approvals).where(*_same(call, policy, digests), approvals.c.expires_at > now.isoformat())
            known = await db.one(same if repeatable else same.where(approvals.c.status != "used"))
            if known is not None and known.status == "rejected":
                raise Forbidden(_rejection(known.reason), approval=known.id, decision="reject")
            if known is not None and known.status == "approved":
                await _use(db, call, known.id, policy, digests, repeatable=repeatable)
                return None
            if known is not None and known.status == "used":
                return None
            if known is not None:
                return Waiting(known.id, known.expires_at)
            opened = Waiting("apr_" + secrets.token_hex(10), (now + self._expires_after).isoformat())
            await db.execute(
                sa.insert(approvals).values(
                    id=opened.id,
                    status="pending",
                    principal=call.principal.id,
                    agent=call.principal.agent or "",
                    run=call.principal.run or "",
                    server=call.server,
                    tool=call.tool,
                    arguments=self._confidential.sealed(schema, call.arguments, *_bound(call.tenant, opened.id)),
                    digest=_kept(digests, schema),
                    key=call.key or "",
                    created_at=now.isoformat(),
                    expires_at=opened.expires_at,
                    policy=policy,
                )
            )
            return opened

    async def claim(self, call: Call, *, policy: str = "", repeatable: bool = True) -> None:
        """Use the grant that a call names, or raise `Forbidden` saying why it can't."""
        assert call.approval is not None
        digests = self._confidential.digests(call.tenant, call.arguments)
        async with self._databases.transaction(call.tenant) as db:
            if await _use(db, call, call.approval, policy, digests, repeatable=repeatable):
                return
            known = await db.one(sa.select(approvals).where(approvals.c.id == call.approval))
        if known is None:
            raise Forbidden("There is no such approval")
        if known.status == "rejected":
            raise Forbidden(_rejection(known.reason), approval=known.id, decision="reject")
        if known.status == "pending" and known.expires_at > datetime.now(UTC).isoformat():
            raise Forbidden("The approval has not been decided yet", approval=known.id)
        if known.status == "pending":
            raise Forbidden("Nobody decided in time: the approval has expired", approval=known.id, decision="expired")
        if known.policy not in {"", policy}:
            raise Forbidden("The tool's policy has changed since this call was approved", approval=known.id)
        raise Forbidden("The approval is for another call, has expired or was used", approval=known.id)

    async def one(self, tenant: str, identifier: str) -> dict[str, Any]:
        """Return an approval, or raise `NotFound`."""
        async with self._databases.reading(tenant) as db:
            known = await db.one(sa.select(approvals).where(approvals.c.id == identifier))
        if known is None:
            raise _unknown()
        return _shape(known)

    async def given(self, tenant: str, identifier: str) -> dict[str, Any]:
        """Return the arguments that an approval is for, their secrets too, or raise `NotFound`."""
        async with self._databases.reading(tenant) as db:
            known = await db.one(sa.select(approvals.c.arguments).where(approvals.c.id == identifier))
        if known is None:
            raise _unknown()
        return self._confidential.opened(known.arguments, *_bound(tenant, identifier))

    async def decide(
        self,
        tenant: str,
        identifier: str,
        decision: str,
        *,
        by: Principal,
        reason: str,
        arguments: dict[str, Any] | None,
        schema: Mapping[str, Any] = NOTHING,
    ) -> dict[str, Any]:
        """Record a person's decision and return the approval; edited arguments replace those that were asked for.

        What `schema` marks as a secret is kept sealed. Deciding the same again changes nothing; deciding otherwise, or
        with other arguments, raises `Conflict`.
        """
        if by.agent is not None:
            raise Forbidden("An agent can't decide on approvals")
        status = "approved" if decision == "approve" else "rejected"
        moment = datetime.now(UTC)
        now, until = moment.isoformat(), (moment + self._expires_after).isoformat()
        async with self._databases.transaction(tenant) as db:
            known = await db.one(sa.select(approvals).where(approvals.c.id == identifier))
            if known is None:
                raise _unknown()
            if known.status == status or (known.status == "used" and status == "approved"):
                if arguments is not None and known.digest not in self._confidential.digests(tenant, arguments):
                    raise Conflict("This approval was given already, with other arguments", approval=identifier)
                return _shape(known)
            if known.status != "pending":
                raise Conflict(f"This approval was {known.status} already", approval=identifier)
            if known.expires_at <= now:
                raise Conflict("This approval has expired", approval=identifier)
            edited: dict[str, Any] = {}
            if arguments is not None:
                kept = self._confidential.sealed(schema, arguments, *_bound(tenant, identifier))
                edited = {"arguments": kept, "digest": _kept(self._confidential.digests(tenant, arguments), schema)}
            await db.execute(
                sa.update(approvals)
                .where(approvals.c.id == identifier)
                .values(
                    status=status,
                    decided_at=now,
                    decided_by=by.id,
                    reason=reason,
                    expires_at=until if decision == "approve" else known.expires_at,
                    **edited,
                )
            )
            decided = await db.one(sa.select(approvals).where(approvals.c.id == identifier))
            assert decided is not None
            return _shape(decided)

    async def withdraw(self, tenant: str, run: str, *, by: str) -> int:
        """Withdraw what a run that was cancelled still asks for, and return how many approvals that were."""
        now = datetime.now(UTC).isoformat()
        async with self._databases.transaction(tenant) as db:
            return await db.change(
                sa.update(approvals)
                .where(approvals.c.run == run, approvals.c.status == "pending")
                .values(status="withdrawn", decided_at=now, decided_by=by, reason="the run was cancelled")
            )

    async def listed(
        self, tenant: str, status: str | None, limit: int = PAGE, cursor: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of a tenant's approvals, newest first, of one status or all, and the cursor of the next."""
        query = sa.select(approvals).order_by(approvals.c.created_at.desc(), approvals.c.id).limit(limit + 1)
        if cursor is not None:
            found = placed(cursor)
            if found is None:
                raise InvalidArguments("cursor is what an earlier page gave as next_cursor")
            at, after = found
            later = sa.and_(approvals.c.created_at == at, approvals.c.id > after)
            query = query.where(sa.or_(approvals.c.created_at < at, later))
        now = datetime.now(UTC).isoformat()
        if status == "expired":
            query = query.where(approvals.c.status == "pending", approvals.c.expires_at <= now)
        elif status == "pending":
            query = query.where(approvals.c.status == "pending", approvals.c.expires_at > now)
        elif status is not None:
            query = query.where(approvals.c.status == status)
        async with self._databases.reading(tenant) as db:
            rows = await db.execute(query)
        following = place(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
        return [_shape(row) for row in rows[:limit]], following


def policy_version(policy: ToolPolicy) -> str:
    """Return the version of a tool's policy: another one makes what was granted under it void."""
    return digest(policy.model_dump(mode="json"))


def _kept(digests: list[str], schema: Mapping[str, Any]) -> str:
    """Return the digest that is kept: a plain one where the arguments stand beside it as they are."""
    return digests[0] if schema else digests[-1]


def _bound(tenant: str, identifier: str) -> tuple[str, ...]:
    return ("approval", tenant, identifier)


def _same(call: Call, policy: str, digests: list[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        approvals.c.principal == call.principal.id,
        approvals.c.agent == (call.principal.agent or ""),
        approvals.c.run == (call.principal.run or ""),
        approvals.c.server == call.server,
        approvals.c.tool == call.tool,
        approvals.c.digest.in_(digests),
        approvals.c.policy.in_(("", policy)),
        approvals.c.key == (call.key or secrets.token_hex(8)),
    )


async def _use(
    db: Connection, call: Call, identifier: str, policy: str, digests: list[str], *, repeatable: bool
) -> bool:
    """Mark a grant as used by a call; a call that is not repeatable, or has no key, can use it but once."""
    keyed = repeatable and bool(call.key)
    again = sa.and_(approvals.c.status == "used", approvals.c.key == call.key) if keyed else sa.false()
    return (
        await db.change(
            sa.update(approvals)
            .where(
                approvals.c.id == identifier,
                sa.or_(approvals.c.status == "approved", again),
                approvals.c.principal == call.principal.id,
                approvals.c.agent == (call.principal.agent or ""),
                approvals.c.run == (call.principal.run or ""),
                approvals.c.server == call.server,
                approvals.c.tool == call.tool,
                approvals.c.digest.in_(digests),
                approvals.c.policy.in_(("", policy)),
                approvals.c.expires_at > datetime.now(UTC).isoformat(),
            )
            .values(status="used")
        )
        == 1
    )


def _unknown() -> NotFound:
    return NotFound("There is no such approval, or it is not yours")


def _rejection(reason: str | None) -> str:
    return f"A person rejected this call: {reason}" if reason else "A person rejected this call"


def _shape(row: Row) -> dict[str, Any]:
    about = {str(column.name): getattr(row, column.name) for column in approvals.c if column.name not in _KEPT}
    if row.status == "pending" and row.expires_at <= datetime.now(UTC).isoformat():
        about["status"] = "expired"
    return {**about, "arguments": shown(row.arguments)}


_KEPT = frozenset({"digest", "key", "policy"})
"""What is nobody's business but the gateway's."""
