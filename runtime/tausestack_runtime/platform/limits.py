"""The platform's tools for limits: how they stand, what is set, and the budgets that services reserve from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tausestack.errors import Forbidden, InvalidArguments, NotFound, RateLimited, TauseError
from tausestack.limits import exceeded, month_end
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack.scopes import OPERATOR, SYSTEM
from tausestack_runtime.gateway.call import Call, new_id
from tausestack_runtime.gateway.limits.allowances import KINDS, MICROS, SETTING, Limits, checked, shown
from tausestack_runtime.gateway.limits.budgets import Amount, Budgets, Share
from tausestack_runtime.gateway.limits.limiter import MINUTELY, Limiter, Standing, is_free
from tausestack_runtime.gateway.snapshots import Snapshots, SystemCall, TenantSnapshot

Refused = Callable[[Call, TauseError], Awaitable[None]]


class LimitTools:
    """What `platform` has to say of limits; the operator may name a tenant, everybody else has their own."""

    def __init__(
        self, snapshots: Snapshots, limiter: Limiter, budgets: Budgets, system: SystemCall, refused: Refused
    ) -> None:
        """`refused` leaves the line of a call that was."""
        self._refused = refused
        self._snapshots, self._limiter, self._budgets, self._system = snapshots, limiter, budgets, system

    async def get_limits(self, call: Call) -> dict[str, Any]:
        """Return a tenant's limits: what each allows, what is used of it and what is left."""
        tenant = _tenant(call, OPERATOR)
        snapshot = await (self._snapshots.tenant(tenant) if tenant == call.tenant else self._snapshots.seen(tenant))
        used, unknown = await self._standings(snapshot)
        return {
            "tenant": snapshot.tenant,
            "plan": snapshot.plan,
            "limits": {
                name: _shown(name, snapshot.limits, used.get(name), unknown.get(kind.counted_by))
                for name, kind in KINDS.items()
            },
        }

    async def set_limits(self, call: Call) -> dict[str, Any]:
        """Set a tenant's own limits, and return all of them as they now stand."""
        _operated(call)
        tenant, given = call.arguments.get("tenant"), as_object(call.arguments.get("limits"))
        if not isinstance(tenant, str) or given is None:
            raise InvalidArguments("set_limits takes a tenant's id, and an object of limits by their names")
        change = {SETTING: checked(given)}
        await self._snapshots.seen(tenant)
        await self._system("auth", "change_settings", SYSTEM_TENANT, {"tenant": tenant, "change": change})
        self._snapshots.expire()
        return await self.get_limits(call)

    async def list_tenants(self, call: Call) -> dict[str, Any]:
        """Return every tenant."""
        _operated(call)
        return await self._system("auth", "list_tenants", SYSTEM_TENANT, {})

    async def reserve(self, call: Call) -> dict[str, Any]:
        """Set tokens and money aside for a request to a model."""
        tenant = _tenant(call, SYSTEM)
        snapshot = await self._snapshots.tenant(tenant)
        try:
            await self._budgets.reserve(tenant, call.arguments["id"], _amount(call), snapshot.limits, _share(call))
        except RateLimited as error:
            # In the tenant's own chain: the service asks on its own account, in `_system`.
            principal = replace(call.principal, tenant=tenant, run=str(call.arguments.get("run") or "") or None)
            await self._refused(replace(call, tenant=tenant, principal=principal, id=new_id()), error)
            raise
        return {"reserved": True}

    async def settle(self, call: Call) -> dict[str, Any]:
        """Count what a request to a model used in place of what was set aside for it."""
        await self._budgets.settle(_tenant(call, SYSTEM), call.arguments["id"], _amount(call))
        return {"settled": True}

    async def over(self, asked: Call) -> RateLimited | None:
        """Return the refusal that a call would meet now of a limit that is used up, or None.

        Places and connections can't be: whoever asks has one, which the call would have had.
        """
        if asked.tenant == SYSTEM_TENANT:
            return None
        snapshot = await self._snapshots.tenant(asked.tenant)
        minute = self._limiter.minute(snapshot.tenant, snapshot.limits)
        if minute is not None and not minute[1] and not is_free(asked):
            most, left, wait = minute
            return exceeded(MINUTELY, KINDS[MINUTELY].about, most, most - left, retry_after=wait)
        for kind in KINDS.values():
            most = snapshot.limits.amounts.get(kind.name)
            if most is None or kind.used_by != f"{asked.server}/{asked.tool}":
                continue
            told = await self._told(kind.counted_by, snapshot)
            standing = None if isinstance(told, str) else told.get(kind.name)
            if standing is not None and standing.used >= most:
                return exceeded(kind.name, kind.about, most, standing.used)
        return None

    async def _standings(self, snapshot: TenantSnapshot) -> tuple[dict[str, Standing], dict[str, str]]:
        """Return how limits stand, and by service why those are not known that it counts."""
        services = sorted({kind.counted_by for kind in KINDS.values()} - {""})
        budgets, told = await asyncio.gather(
            self._budgets.standings(snapshot.tenant),
            asyncio.gather(*(self._told(service, snapshot) for service in services)),
        )
        found, unknown = {**self._limiter.standings(snapshot.tenant), **budgets}, dict[str, str]()
        for service, each in zip(services, told, strict=True):
            if isinstance(each, str):
                unknown[service] = each
            else:
                found |= each
        return found, unknown

    async def _told(self, service: str, snapshot: TenantSnapshot) -> dict[str, Standing] | str:
        """Return what a service says of the limits that it counts, or why it does not."""
        if service not in snapshot.installations:
            return f"{service} counts it, which is not installed"
        try:
            said = await self._system(service, "limits_used", snapshot.tenant, {})
        except TauseError as error:
            return f"{service} counts it, which did not answer: {error.message}"
        end = month_end(datetime.now(UTC))
        return {
            name: Standing(int(used), end if KINDS[name].window == "month" else None)
            for name, used in said.items()
            if name in KINDS
        }


def _operated(call: Call) -> None:
    """Raise `Forbidden` for everybody but the operator."""
    if OPERATOR not in call.principal.scopes or call.tenant != SYSTEM_TENANT:
        raise Forbidden("Only the operator's key sets limits and lists tenants", scope=OPERATOR)


def _tenant(call: Call, scope: str) -> str:
    """Return the tenant that a call is about: its own, or the one that it names with a scope of the house's."""
    if scope == SYSTEM and SYSTEM not in call.principal.scopes:
        raise Forbidden("Only our own services reserve and settle", scope=SYSTEM)
    if call.tenant != SYSTEM_TENANT:
        return call.tenant
    named = call.arguments.get("tenant")
    if scope not in call.principal.scopes or not isinstance(named, str):
        raise NotFound("There is no such tenant, or it is not yours")
    return named


def _amount(call: Call) -> Amount:
    return Amount(int(call.arguments["tokens"]), round(float(call.arguments["usd"]) * MICROS))


def _share(call: Call) -> Share | None:
    """Return the agent that a request is of, with what its spec says of a month."""
    agent, tokens, usd = (call.arguments.get(name) for name in ("agent", "agent_tokens", "agent_usd"))
    if not agent:
        return None
    return Share(str(agent), tokens, None if usd is None else round(float(usd) * MICROS))


def _shown(name: str, limits: Limits, standing: Standing | None, unknown: str | None) -> dict[str, Any]:
    """Return a limit as it is told; `unknown` says why nobody knows what is used, where that is so."""
    kind, most = KINDS[name], limits.amounts.get(name)
    used = None if standing is None else standing.used
    left = None if most is None or used is None else shown(name, max(most - used, 0))
    resets = None if standing is None or standing.resets_at is None else standing.resets_at.isoformat()
    return {
        "limit": None if most is None else shown(name, most),
        "used": None if used is None else shown(name, used),
        "left": left,
        "resets_at": resets,
        "set_by": limits.source(name),
        "about": kind.about + (f"; {kind.beside}" if kind.beside else ""),
        **({} if used is not None else {"unknown": unknown or "the gateway counts it, and does not know it now"}),
    }
