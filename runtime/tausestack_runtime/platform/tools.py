"""The tools of server `platform`, run by the gateway itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

import orjson

from tausestack.confidential import restored
from tausestack.contract import Principal
from tausestack.errors import Forbidden, InvalidArguments, NotFound, TauseError, Unauthenticated, Unavailable
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import number_of
from tausestack.scopes import OPERATOR, SYSTEM, TENANT_ADMIN, missing, within
from tausestack_runtime.gateway.approvals import PAGE, Approvals
from tausestack_runtime.gateway.call import Call, Outcome, failed
from tausestack_runtime.gateway.confidential import Confidential, in_run
from tausestack_runtime.gateway.identity import Identity
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.pipeline import Pipeline, check_arguments
from tausestack_runtime.gateway.rules import Lacking, allowing, denying
from tausestack_runtime.gateway.snapshots import Snapshots, SystemCall
from tausestack_runtime.ledger import Ledger
from tausestack_runtime.life.life import TenantLife
from tausestack_runtime.life.tools import tools
from tausestack_runtime.platform.limits import LimitTools


class Platform:
    """Runs the platform's tools; each takes the whole call and returns its structured result."""

    def __init__(
        self,
        *,
        approvals: Approvals,
        confidential: Confidential,
        snapshots: Snapshots,
        ledger: Ledger,
        identity: Identity,
        pipeline: Pipeline,
        system: SystemCall,
        limits: LimitTools,
        life: TenantLife,
    ) -> None:
        self._approvals = approvals
        self._confidential = confidential
        self._snapshots = snapshots
        self._ledger = ledger
        self._identity = identity
        self._pipeline = pipeline
        self._system = system
        self._limits = limits
        self._tools: dict[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
            "decide_approval": self._decide_approval,
            "decide_for": self._decide_for,
            "delegate": self._delegate,
            "explain": self._explain,
            "get_limits": limits.get_limits,
            "get_usage": self._get_usage,
            "list_approvals": self._list_approvals,
            "list_tenants": limits.list_tenants,
            "query_audit": self._query_audit,
            "reserve": limits.reserve,
            "seal": self._seal,
            "set_limits": limits.set_limits,
            "settle": limits.settle,
            "verify_audit": self._verify_audit,
            "withdraw_approvals": self._withdraw_approvals,
        }
        self._tools |= tools(life)

    async def run(self, call: Call) -> Outcome:
        """Run a tool; what it raises as a failure of the tool becomes a result with `isError`."""
        tool = self._tools.get(call.tool)
        if tool is None:
            raise not_found()
        try:
            found = await tool(call)
        except TauseError as error:
            return failed(error)
        text = orjson.dumps(found).decode()
        return Outcome(
            {
                "resultType": "complete",
                "content": [{"type": "text", "text": text}],
                "structuredContent": found,
                "isError": False,
            }
        )

    async def _decide_approval(self, call: Call) -> dict[str, Any]:
        decided, own = await self._decided(call)
        # The agents service keeps the decision too, and has the secrets sealed; nobody else is shown any.
        return {**decided, "arguments": own} if SYSTEM in call.principal.scopes else decided

    async def _decided(self, call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
        """Decide on an approval; return it as it is shown, and its arguments as its run has them."""
        given = call.arguments
        edited: dict[str, Any] | None = given.get("arguments")
        schema: dict[str, Any] = {}
        if edited is not None and given["decision"] == "reject":
            raise InvalidArguments("A rejected call is not made: leave out its `arguments`, or approve it with them")
        if edited is not None:
            # Before the approval is spent: a slip in the edit leaves it to be decided again.
            held = await self._approvals.one(call.tenant, given["id"])
            edited = restored(edited, await self._approvals.given(call.tenant, given["id"]))
            asked = _as(call, held["server"], held["tool"], self._confidential.opened(edited or {}))
            tool, _, _ = await self._pipeline.find(asked)
            check_arguments(asked, tool)
            schema = tool.secrets
        decided = await self._approvals.decide(
            call.tenant,
            given["id"],
            given["decision"],
            by=call.principal,
            reason=given.get("reason", ""),
            arguments=edited,
            schema=schema,
        )
        own: dict[str, Any] = decided["arguments"]
        if decided["run"]:
            if given["decision"] == "approve":
                own = await self._for_its_run(call.tenant, decided)
            wake = {
                "run": decided["run"],
                "approval": decided["id"],
                "decision": given["decision"],
                "arguments": own,
                "reason": decided["reason"] or "",
            }
            await self._system("agents", "wake", call.tenant, wake)
        return decided, own

    async def _for_its_run(self, tenant: str, decided: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of an approval with their secrets sealed for the run that asked for it."""
        arguments = await self._approvals.given(tenant, decided["id"])
        if arguments == decided["arguments"]:
            return arguments
        return await self._sealed(tenant, decided["server"], decided["tool"], decided["run"], arguments)

    async def _seal(self, call: Call) -> dict[str, Any]:
        given = call.arguments
        if SYSTEM not in call.principal.scopes or call.principal.id != "service:agents":
            raise Forbidden("Only the agents service has what its runs say sealed", scope=SYSTEM)
        named = (given["tenant"], given["server"], given["tool"], given["run"])
        return {"arguments": await self._sealed(*named, given["arguments"])}

    async def _sealed(self, tenant: str, server: str, tool: str, run: str, arguments: dict[str, Any]) -> dict[str, Any]:
        snapshot = await self._snapshots.tenant(tenant)
        found = snapshot.active.get((server, tool))
        if found is None:
            raise not_found()
        return self._confidential.sealed(
            found[0].secrets, arguments, *in_run(tenant, snapshot.incarnation, server, tool, run)
        )

    async def _decide_for(self, call: Call) -> dict[str, Any]:
        """Decide as a person who said so in a task of theirs, which the gateway let nobody else answer."""
        given = dict(call.arguments)
        if SYSTEM not in call.principal.scopes or call.principal.id != "service:agents":
            raise Forbidden("Only the agents service passes on what people say in tasks", scope=SYSTEM)
        tenant, named = given.pop("tenant"), given.pop("principal")
        who = await self._identity.alive(tenant, named)
        if who is None:
            raise Unauthenticated("Whoever decided this was revoked")
        if missing(who.limits, [TENANT_ADMIN]) is not None:
            raise Forbidden(f"This credential lacks the scope {TENANT_ADMIN}", scope=TENANT_ADMIN)
        own = _as(call, "platform", "decide_approval", given)
        decided, arguments = await self._decided(replace(own, tenant=tenant, principal=who))
        return {**decided, "arguments": arguments}

    async def _delegate(self, call: Call) -> dict[str, Any]:
        given = call.arguments
        if SYSTEM not in call.principal.scopes or call.principal.id != "service:agents":
            raise Forbidden("Only the agents service can ask for a delegation", scope=SYSTEM)
        try:
            giver = await self._identity.alive(given["tenant"], given["principal"])
        except NotFound as error:
            # One that is still arriving is there in a moment; the work of one that was deleted goes with it.
            raise Unavailable("There is no such tenant, or not yet") from error
        if giver is None or given.get("incarnation", giver.incarnation) != giver.incarnation:
            raise Unauthenticated("Whoever this run acts for was revoked")
        scopes = within([giver.scopes, given["scopes"]]) if "scopes" in given else giver.scopes
        principal = Principal(
            tenant=given["tenant"],
            id=giver.id,
            scopes=scopes,
            role=giver.role,
            agent=given["agent"],
            run=given["run"],
            bounds=frozenset(given["bounds"]),
            incarnation=giver.incarnation,
        )
        return {**self._identity.session(principal), "incarnation": giver.incarnation}

    async def _explain(self, call: Call) -> dict[str, Any]:
        who = await self._asked_about(call)
        asked = replace(_as(call, call.arguments["server"], call.arguments["tool"], {}), principal=who)
        about: dict[str, Any] = {"address": f"{asked.server}/{asked.tool}", "principal": who.id}
        try:
            tool, _, _ = await self._pipeline.find(asked)
        except NotFound as error:
            rule = "quarantine" if asked.quarantined else "installed"
            return {**about, "allowed": False, "rule": rule, "reason": error.message}
        about["needs"] = list(tool.needs)
        try:
            self._pipeline.authorise(asked, tool)
        except Forbidden as error:
            need = error.need if isinstance(error, Lacking) else error.data["scope"]
            return {**about, "allowed": False, "rule": denying(who, need), "reason": error.message}
        over = await self._limits.over(asked)
        if over is not None:
            return {**about, "allowed": False, "rule": f"limit:{over.data['limit']}", "reason": over.message}
        if tool.policy.approval == "always" or (tool.policy.approval == "agents" and who.agent):
            return {**about, "allowed": True, "rule": "approval", "reason": "It waits for a person's approval"}
        return {**about, "allowed": True, "rule": allowing(who, tool.needs), "reason": "The scopes cover it"}

    async def _asked_about(self, call: Call) -> Principal:
        """Return whom an explanation is for: the caller, or whom an admin names."""
        named = call.arguments.get("principal")
        if named is None:
            return call.principal
        if missing(call.principal.limits, [TENANT_ADMIN]) is not None:
            raise Forbidden("Only an admin asks about others", scope=TENANT_ADMIN)
        found = await self._identity.alive(call.tenant, named) if named != OPERATOR else None
        if found is None:
            raise NotFound(f"Nobody called '{named[:80]}' may act for {call.tenant}")
        return found

    async def _get_usage(self, call: Call) -> dict[str, Any]:
        return await self._ledger.usage(
            call.tenant, since=call.arguments.get("since"), until=call.arguments.get("until")
        )

    async def _list_approvals(self, call: Call) -> dict[str, Any]:
        given = call.arguments
        found, cursor = await self._approvals.listed(
            call.tenant, given.get("status"), given.get("limit", PAGE), given.get("cursor")
        )
        return {"approvals": found, "next_cursor": cursor}

    async def _query_audit(self, call: Call) -> dict[str, Any]:
        given = call.arguments
        limit, before, cursor = given.get("limit", 100), given.get("before"), given.get("cursor")
        if cursor is not None:
            start = number_of(cursor)
            if start is None or before is not None:
                raise InvalidArguments("cursor is what an earlier page gave as next_cursor, and goes without before")
            before = start
        entries = await self._ledger.audit(call.tenant, limit=limit, before=before)
        more = len(entries) == limit and entries[-1]["seq"] > 1
        return {"entries": entries, "next_cursor": str(entries[-1]["seq"]) if more else None}

    async def _verify_audit(self, call: Call) -> dict[str, Any]:
        tenant = call.tenant
        if OPERATOR in call.principal.scopes and tenant == SYSTEM_TENANT:
            tenant = str(call.arguments.get("tenant", SYSTEM_TENANT))
            if tenant != SYSTEM_TENANT:
                await self._snapshots.seen(tenant)
        return {"tenant": tenant, **asdict(await self._ledger.verify(tenant))}

    async def _withdraw_approvals(self, call: Call) -> dict[str, Any]:
        if SYSTEM not in call.principal.scopes or call.principal.id != "service:agents":
            raise Forbidden("Only the agents service withdraws what a run asked for", scope=SYSTEM)
        given = call.arguments
        return {"withdrawn": await self._approvals.withdraw(given["tenant"], given["run"], by=given["principal"])}


def _as(call: Call, server: str, tool: str, arguments: dict[str, Any]) -> Call:
    return Call(
        tenant=call.tenant,
        principal=call.principal,
        server=server,
        tool=tool,
        arguments=arguments,
        door=call.door,
        deadline=call.deadline,
    )
