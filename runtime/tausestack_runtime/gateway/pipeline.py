"""The one way through: authorise → limit → approve → route → meter → audit, for a call from any door."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from tausestack.contract import ToolPolicy
from tausestack.errors import (
    ApprovalRequired,
    Forbidden,
    HeaderMismatch,
    InvalidArguments,
    InvalidRequest,
    RateLimited,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.schemas import faults
from tausestack.scopes import OPERATOR, OR, SYSTEM, TOOLS_READ, call_scope, missing, reaches
from tausestack.tenancy import credential_hash
from tausestack_runtime.board import Board
from tausestack_runtime.gateway.approvals import Approvals, policy_version
from tausestack_runtime.gateway.call import MAX_DEPTH, MAX_KEY, TOOLS_CALL, Call, Outcome
from tausestack_runtime.gateway.confidential import Confidential, of_call
from tausestack_runtime.gateway.installed import Installation, Tool, not_found, waits
from tausestack_runtime.gateway.limits.headers import headers_of
from tausestack_runtime.gateway.limits.limiter import MINUTELY, Limiter
from tausestack_runtime.gateway.metering import Meter
from tausestack_runtime.gateway.mirrors import mismatch
from tausestack_runtime.gateway.rules import Lacking
from tausestack_runtime.gateway.running import Running, uncancelled
from tausestack_runtime.gateway.snapshots import Snapshots, TenantSnapshot
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.gateway.upstreams.ways import ADAPTER
from tausestack_runtime.ledger import FREE

MAX_FAULTS = 10
MAX_QUOTED = 400
"""How many characters of a message about wrong arguments are passed on."""

OPERATOR_TOOLS = frozenset(
    {
        "delete_tenant",
        "get_limits",
        "list_tenants",
        "resume_tenant",
        "set_limits",
        "suspend_tenant",
        "verify_audit",
    }
)
"""What of the platform's tools the operator runs in `_system`."""

_CHANGING = frozenset({"tasks/update", "tasks/cancel"})
_READS, _WRITES = ToolPolicy(side_effect="read"), ToolPolicy(side_effect="write", idempotent=True)

_missing = functools.lru_cache(4096)(missing)


class PlatformTools(Protocol):
    """The tools that the gateway runs itself."""

    async def run(self, call: Call) -> Outcome:
        """Run a tool of `platform`."""
        ...


class Pipeline:
    """Takes a call of a known principal to its end."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        upstreams: Upstreams,
        approvals: Approvals,
        meter: Meter,
        limiter: Limiter | None = None,
        confidential: Confidential | None = None,
    ) -> None:
        """Without a limiter, and keys of secrets, it has its own, which it shares with no other gateway."""
        self._confidential = confidential or Confidential()
        self._snapshots = snapshots
        self._upstreams = upstreams
        self._approvals = approvals
        self.meter = meter
        self._limiter = limiter or Limiter(Board(1), 1)
        self.running = Running(snapshots)
        self.platform: PlatformTools | None = None

    async def run(self, call: Call, snapshot: TenantSnapshot | None = None) -> Outcome:
        """Take a call to its end and return what came of it, once its lines are in the ledger.

        `snapshot` is the tenant's, where the door has had it just now.

        A tool's own failure is an outcome; everything else that keeps it from succeeding is raised.
        """
        self.running.enter(call)
        try:
            return await self.meter.noted(call, self._admitted(call, snapshot))
        except asyncio.CancelledError:
            if call.stopped is None or uncancelled():
                raise
            raise call.stopped from None
        finally:
            self.running.leave(call)

    async def answer(self, call: Call, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return what a door answers itself, counted among its tenant's lists, once the ledger tells of it."""

        async def counted() -> Outcome:
            self._check_list(call)
            return await work()

        return await self.meter.answer(call, counted())

    async def note(self, call: Call) -> None:
        """Count what a door is about to answer itself, and have the ledger tell of it."""
        await self.count(call)
        await self.meter.note(call)

    async def count(self, call: Call) -> None:
        """Count what a door answers itself among its tenant's lists, or raise `RateLimited` once the ledger tells."""
        try:
            self._check_list(call)
        except RateLimited as error:
            await self.meter.turn_away(call, error)
            raise

    def standing(self, tenant: str, name: str = MINUTELY) -> list[tuple[bytes, bytes]]:
        """Return the header fields that tell what a limit of a minute still allows a tenant."""
        minute = self._limiter.minute(tenant, self._snapshots.limits(tenant), name)
        return [] if minute is None or not minute[0] else headers_of(name, *minute)

    async def find(self, call: Call, snapshot: TenantSnapshot | None = None) -> tuple[Tool, Installation, str]:
        """Return the tool a call names, its installation and the epoch it was found in, or raise `NotFound`."""
        if call.tenant == SYSTEM_TENANT or SYSTEM in call.principal.scopes:
            own = await self._own(call)
            if own is not None:
                return own
        if snapshot is None:
            snapshot = await self._snapshots.tenant(call.tenant)
        found = snapshot.active.get((call.server, call.tool))
        if found is None or found[0].hidden:
            there = snapshot.installations.get(call.server)
            tool = None if there is None else there.tools.get(call.tool)
            if tool is None or tool.hidden:
                raise not_found()
            call.quarantined = True
            raise not_found() if _missing(call.principal.limits, tool.needs) else waits(tool)
        tool, installation = found
        return tool, installation, snapshot.epoch

    def authorise(self, call: Call, tool: Tool) -> None:
        """Raise `Forbidden`, naming the scope, where one is missing."""
        needs = tool.needs
        lacking = _missing(call.principal.limits, needs)
        if lacking is None:
            call.needs = needs
            return
        if call.principal.id == OPERATOR and OPERATOR in call.principal.scopes:
            raise Forbidden(
                f"The operator's key makes tenants and keys, and nothing inside them: use a key of {call.tenant}",
                scope=lacking.partition(OR)[0],
            )
        raise Lacking(lacking)

    async def _own(self, call: Call) -> tuple[Tool, Installation, str] | None:
        """Our own processes' way to system tools, and the operator's to its own; no tenant's credential comes here."""
        if SYSTEM not in call.principal.scopes and not _operates(call):
            raise not_found()
        if call.tenant != SYSTEM_TENANT and call.server != ADAPTER:
            snapshot = await self._snapshots.tenant(call.tenant)
            installation = snapshot.installations.get(call.server)
            tool = installation.tools.get(call.tool) if installation else None
            return None if tool is None or installation is None else (tool, installation, snapshot.epoch)
        scope = OPERATOR if call.tenant == SYSTEM_TENANT and OPERATOR in call.principal.scopes else SYSTEM
        raw = {"name": call.tool, "_meta": {"pro.tause/tool": {"scopes": [scope], "side_effect": "write"}}}
        kind = "platform" if call.server == "platform" else "service"
        tool = Tool(call.server, raw, "active")
        return tool, Installation(call.server, kind, call.server, tools={call.tool: tool}), ""

    async def _admitted(self, call: Call, snapshot: TenantSnapshot | None) -> Outcome:
        if call.parent is not None and call.depth > MAX_DEPTH:
            raise InvalidRequest(f"Calls may nest {MAX_DEPTH} deep, and no deeper")
        if call.key is not None:
            if not 0 < len(call.key) <= MAX_KEY:
                raise InvalidRequest(f"An idempotency key has 1 to {MAX_KEY} characters")
            call.key = credential_hash(call.key)  # whatever a client makes its keys of, none is kept as it came
        if call.method != TOOLS_CALL:
            return await self._other_admitted(call)
        tool, installation, epoch = await self.find(call, snapshot)
        policy = tool.policy
        call.service, call.price = installation.service, self.meter.price(policy.price)
        self.authorise(call, tool)
        self._admit(call, installation)  # before its arguments are looked at: that is work, and may be most of it
        try:
            if tool.secrets:
                call.arguments = self._confidential.opened(call.arguments, *of_call(call))
            if tool.mirrors:
                _check_mirrors(call, tool)
            if not installation.foreign:
                # A third party's server knows its own schema best, and tells the model in its own words what is wrong.
                check_arguments(call, tool)
            if policy.approval != "never" or call.hold:
                await self._approve(call, tool)
            outcome = await self._sent(call, policy, installation, epoch)
        finally:
            self._limiter.leave(call)
        if not installation.foreign and outcome.failed:
            _raise_ours(outcome)
        return outcome

    async def _other_admitted(self, call: Call) -> Outcome:
        """Admit what is no tool's call: reading a resource or a prompt, completing, and the life of a task."""
        snapshot = await self._snapshots.tenant(call.tenant)
        installation = snapshot.installations.get(call.server)
        if installation is None or not installation.approved:
            raise not_found()
        call.service, call.price = installation.service, self.meter.price(FREE)
        changes = call.method in _CHANGING
        limits = call.principal.limits
        if not reaches(limits, call.server) and (changes or missing(limits, [TOOLS_READ]) is not None):
            lacking = call_scope(call.server, "*") if changes else TOOLS_READ
            raise Forbidden(f"This credential lacks the scope {lacking}", scope=lacking)
        self._admit(call, installation)
        try:
            return await self._sent(call, _WRITES if changes else _READS, installation, snapshot.epoch)
        finally:
            self._limiter.leave(call)

    def _admit(self, call: Call, installation: Installation) -> None:
        """Let a call through its tenant's limits, or raise `RateLimited`; what is of no tenant has none."""
        if call.tenant == SYSTEM_TENANT:
            return
        limits = self._snapshots.limits(call.tenant)
        if not installation.foreign:
            call.limits = limits.by_service.get(installation.service)
        self._limiter.admit(call, limits)

    def _check_list(self, call: Call) -> None:
        """Count a list, or raise `RateLimited`; what is of no tenant, or a part of a call, has no limit."""
        if call.tenant != SYSTEM_TENANT and call.parent is None:
            self._limiter.admit_list(call.tenant, self._snapshots.limits(call.tenant))

    async def asked_for(self, tenant: str, approval: str) -> dict[str, Any]:
        """Return the arguments of a call that waits, as whoever decides sees them."""
        return (await self._approvals.one(tenant, approval))["arguments"]

    async def _approve(self, call: Call, tool: Tool) -> None:
        policy = tool.policy
        asked = policy.approval
        acting = call.principal.agent is not None
        if not (acting and call.hold) and (asked == "never" or (asked == "agents" and not acting)):
            return
        repeatable, version = policy.keyed or policy.retriable, policy_version(policy)
        if call.approval is not None:
            await self._approvals.claim(call, policy=version, repeatable=repeatable)
            return
        waiting = await self._approvals.open(call, policy=version, repeatable=repeatable, schema=tool.secrets)
        if waiting is None:
            return
        raise ApprovalRequired(
            f"{call.server}/{call.tool} waits for a person's approval",
            approval=waiting.id,
            expires_at=waiting.expires_at,
            call=call.id,
        )

    def _sent(self, call: Call, policy: ToolPolicy, installation: Installation, epoch: str) -> Awaitable[Outcome]:
        if policy.side_effect != "read":
            return self._changed(call, policy, installation, epoch)
        call.allowed = True
        return self._served(call, policy, installation, epoch)

    async def _changed(self, call: Call, policy: ToolPolicy, installation: Installation, epoch: str) -> Outcome:
        """Send what may change something, once its intent is in the ledger."""
        await self.meter.intend(call)
        call.allowed = True
        try:
            return await self._served(call, policy, installation, epoch)
        finally:
            if installation.service in {"auth", "registry"}:
                self._snapshots.expire()

    def _served(self, call: Call, policy: ToolPolicy, installation: Installation, epoch: str) -> Awaitable[Outcome]:
        if installation.kind == "platform":
            assert self.platform is not None
            return self.platform.run(call)
        return self._upstreams.call(call, installation, policy, epoch)


def _check_mirrors(call: Call, tool: Tool) -> None:
    """Raise `HeaderMismatch` where the client's headers and the arguments disagree."""
    call.mirrors = tool.mirrors
    wrong = None if call.headers is None else mismatch(tool.mirrors, call.arguments, call.headers)
    if wrong is not None:
        raise HeaderMismatch(f"The header {wrong} is missing, malformed or differs from the argument that it mirrors")


def check_arguments(call: Call, tool: Tool) -> None:
    """Raise `InvalidArguments`, naming each place, where the arguments don't fit the tool's schema."""
    if "inputSchema" not in tool.raw:
        return
    wrong = [
        {"path": _clipped("/".join(str(part) for part in error.instance_path)), "message": _clipped(error.message)}
        for error in faults(tool.validator, call.arguments, MAX_FAULTS)
    ]
    if wrong:
        first = wrong[0]
        where = f" at {first['path']}" if first["path"] else ""
        raise InvalidArguments(
            f"Wrong arguments for {call.server}/{call.tool}{where}: {first['message']}", errors=wrong
        )


def _clipped(text: str) -> str:
    # The validator quotes the value that is wrong, which may be as long as a request.
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED // 2] + "…" + text[-MAX_QUOTED // 2 :]


def _operates(call: Call) -> bool:
    """Whether the operator asks for what it has: auth, and its tools of the platform."""
    own = call.server == "auth" or (call.server == "platform" and call.tool in OPERATOR_TOOLS)
    return own and OPERATOR in call.principal.scopes


def _raise_ours(outcome: Outcome) -> None:
    """Raise what is no failure of a tool of ours: its tenant is over a limit, or its database is away or full."""
    error = outcome.failure
    if isinstance(error, RateLimited) or "away" in error.data:
        raise error
