"""Every method of MCP 2026-07-28 that answers with one result, on the merged endpoint and on a server's own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_HOLD,
    META_KEY,
    META_PREFIX,
)
from tausestack.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    Forbidden,
    InvalidArguments,
    NotFound,
    TauseError,
)
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object, object_at
from tausestack.scopes import OPERATOR, TOOLS_READ
from tausestack_runtime.gateway.call import CALL_SECONDS, NAMED, TOOLS_CALL, Call, Outcome, failed
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.installed import Installation, not_found
from tausestack_runtime.gateway.mcp import naming
from tausestack_runtime.gateway.mcp.approving import ELICITATION, Approving
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.discovery import TASKS, capabilities_of, discovery, has_tasks
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.mcp.lists import KINDS, Lists
from tausestack_runtime.gateway.mcp.naming import Named, Outward, needs_renaming
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.snapshots import Snapshots, TenantSnapshot

_CLIENTS = frozenset({MCP_VERSION_META, MCP_CAPABILITIES_META, MCP_CLIENT_META, "progressToken", "traceparent"})
"""What clients say in `_meta`, none of which is the house's alone to say."""
_OWN = frozenset({"tools/list", "server/discover", *KINDS})
_NOT_PASSED = frozenset({"_meta", "name", "uri", "taskId", "arguments"})


class Methods:
    """Answers requests; it translates names and decides nothing."""

    def __init__(self, pipeline: Pipeline, snapshots: Snapshots, lists: Lists, approving: Approving) -> None:
        self._pipeline = pipeline
        self._approving = approving
        self._snapshots = snapshots
        self._lists = lists

    def answer(self, ask: Ask) -> Awaitable[Outcome]:
        """Return the result of a request, and its whole response in bytes where there is one already."""
        if ask.method == TOOLS_CALL:
            return self._call_tool(ask)
        if ask.method in _OWN:
            return self.own(ask, partial(self._own, ask))
        return self._pass_on(ask)

    async def own(self, ask: Ask, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return what a door answers to a request itself, once the ledger tells of it."""
        return await self._pipeline.answer(_call(ask, ask.server or "", "", {}), work)

    async def note(self, ask: Ask) -> None:
        """Have the ledger tell of a request whose answer goes on: a stream."""
        await self._pipeline.note(_call(ask, ask.server or "", "", {}))

    async def refuse(self, exchange: Exchange, error: TauseError, asked: str) -> None:
        """Have the ledger tell of a request that a door refuses."""
        await self._pipeline.meter.refuse(exchange, error, "mcp", asked)

    async def _own(self, ask: Ask) -> Outcome:
        snapshot = await self.snapshot(ask)
        if ask.method == "tools/list":
            return await self._lists.tools(ask, snapshot)
        if ask.method == "server/discover":
            return Outcome(discovery(snapshot, ask.server))
        _require(ask, snapshot, ask.method.partition("/")[0])
        return await self._lists.others(ask, snapshot, KINDS[ask.method])

    async def snapshot(self, ask: Ask) -> TenantSnapshot:
        """Return the tenant's snapshot, or raise what keeps the principal from what there is."""
        if OPERATOR in ask.principal.scopes:
            raise Forbidden("The operator's key makes tenants and keys, and nothing inside them", scope=TOOLS_READ)
        snapshot = await self._snapshots.tenant(ask.principal.tenant)
        if ask.server is not None and ask.server not in snapshot.installations:
            raise not_found()
        return snapshot

    async def _call_tool(self, ask: Ask) -> Outcome:
        try:
            if ELICITATION in ask.capabilities():
                return await self._approving.through(ask, self._called)
            return await self._called(ask)
        except InvalidArguments as error:
            # A model can mend these, so the protocol has them as a failure of the tool.
            return failed(error)
        except NotFound as error:
            if not await self._is_unheard_of(ask):
                raise
            # Third parties' servers tell it so: both official SDKs give a result that a model sees.
            return failed(error)

    async def _called(self, ask: Ask) -> Outcome:
        arguments = _arguments(ask)
        name = str(ask.params["name"])
        if ask.server is not None:
            return await self._pipeline.run(_call(ask, ask.server, name, arguments))
        if ask.principal.tenant == SYSTEM_TENANT:
            raise not_found()
        tenant = ask.principal.tenant
        snapshot = self._snapshots.at_hand(tenant) or await self._snapshots.tenant(tenant)
        tool = snapshot.wires.get(name)
        if tool is None or OPERATOR in ask.principal.scopes:
            # What is not there has no server; the pipeline refuses it, and leaves the line that says so.
            waiting = naming.waiting(snapshot, name)
            server, name = ("", name) if waiting is None else (waiting.server, waiting.name)
            return await self._pipeline.run(_call(ask, server, name, arguments))
        outcome = await self._pipeline.run(_call(ask, tool.server, tool.name, arguments), snapshot)
        return self._left(ask, snapshot.installations[tool.server], outcome)

    async def _is_unheard_of(self, ask: Ask) -> bool:
        """Whether a tool that is not there would be a third party's, and is none that waits for approval."""
        snapshot = await self._snapshots.tenant(ask.principal.tenant)
        owner = snapshot.default if ask.server is None else snapshot.installations.get(ask.server)
        name = ask.params["name"]
        return owner is not None and owner.foreign and name not in owner.tools and name not in snapshot.wires

    async def _pass_on(self, ask: Ask) -> Outcome:
        named = await self._named(ask, await self.snapshot(ask))
        arguments = _arguments(ask)
        outcome = await self._pipeline.run(_call(ask, named.installation.name, named.name, arguments))
        if outcome.result.get("cacheScope") == "public":
            # What its server would tell anybody was told here to somebody who may ask.
            outcome = Outcome({**outcome.result, "cacheScope": "private"})
        return self._left(ask, named.installation, outcome, named.name)

    async def _named(self, ask: Ask, snapshot: TenantSnapshot) -> Named:
        """Return what a request is about, or raise what says that there is no such thing."""
        capability = "completions" if ask.method == "completion/complete" else ask.method.partition("/")[0]
        if ask.method not in NAMED and ask.method != "completion/complete":
            raise Refused(METHOD_NOT_FOUND, f"Method not found: {ask.method[:120]}", ask.id)
        _require(ask, snapshot, capability)
        about = _about(ask)
        if ask.server is not None:
            return Named(snapshot.installations[ask.server], about)
        found = await self._merged(ask, snapshot, capability, about)
        if found is None:
            raise Refused(INVALID_PARAMS, f"There is no {capability.rstrip('s')} '{about[:200]}'", ask.id)
        return found

    async def _merged(self, ask: Ask, snapshot: TenantSnapshot, capability: str, about: str) -> Named | None:
        if capability == "tasks":
            return naming.task(snapshot, about)
        if capability == "resources" or object_at(ask.params, "ref").get("type") == "ref/resource":
            return naming.resource(snapshot, about)
        return (
            (await self._lists.shortened(snapshot, about) if naming.looks_shortened(about) else None)
            or naming.prompt(snapshot, about)
            or naming.plain(snapshot, about)
        )

    def _left(self, ask: Ask, installation: Installation, outcome: Outcome, name: str = "") -> Outcome:
        """Return an outcome with the names that its server gave as they go by on this endpoint."""
        if ask.server is not None or installation.default or not (outcome.raw is None or needs_renaming(outcome.raw)):
            return outcome
        asked = {name: str(ask.params["uri"])} if ask.method == "resources/read" else {}
        return Outcome(Outward(installation.name, plain=False, asked=asked).result(ask.method, outcome.result))


def _call(ask: Ask, server: str, name: str, arguments: dict[str, Any]) -> Call:
    who, meta, parent = ask.principal, ask.meta, ask.parent
    ours = not _CLIENTS.issuperset(meta)
    kept = {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)} if ours else meta
    deadline = parent.deadline if parent else time.monotonic() + CALL_SECONDS
    # Nothing is given by name: that would take three times as long.
    call = Call(
        who.tenant, who, server, name, arguments, "mcp", deadline, ask.method, _rest(ask, name, arguments), kept,
        ask.key, parent, ask.id, ask.size, ask.task, ask.notify, ask.headers, ask.send,
    )  # fmt: skip
    if ours:
        call.key, call.approval = _text(meta.get(META_KEY)) or ask.key, _text(meta.get(META_APPROVAL))
        call.hold = meta.get(META_HOLD) is True
    return call


def _require(ask: Ask, snapshot: TenantSnapshot, capability: str) -> None:
    """Raise where an endpoint has not said that it can do what is asked."""
    offered = capabilities_of(snapshot, ask.server)
    if capability == "tasks":
        if not has_tasks(offered):
            raise Refused(METHOD_NOT_FOUND, f"Method not found: {ask.method}", ask.id)
        if not has_tasks(ask.capabilities()):
            needed: dict[str, Any] = {"extensions": {TASKS: {}}}
            raise Refused(MISSING_CLIENT_CAPABILITY, f"{ask.method} needs {TASKS}", ask.id, requiredCapabilities=needed)
    elif capability not in offered:
        raise Refused(METHOD_NOT_FOUND, f"Method not found: {ask.method}", ask.id)


def _about(ask: Ask) -> str:
    """Return the name, URI or id that a request is about, or raise what says that it has none."""
    if ask.method != "completion/complete":
        field = NAMED[ask.method]
        about, wanted = ask.params.get(field), f"params.{field} has to be a string"
    else:
        ref = object_at(ask.params, "ref")
        field = {"ref/prompt": "name", "ref/resource": "uri"}.get(str(ref.get("type")), "")
        about = ref.get(field)
        wanted = 'params.ref has to be {"type": "ref/prompt", "name": …} or {"type": "ref/resource", "uri": …}'
    if not isinstance(about, str):
        raise Refused(INVALID_PARAMS, wanted, ask.id)
    return about


def _arguments(ask: Ask) -> dict[str, Any]:
    """Return the arguments of a request; none where there are none, as some clients say by null."""
    said = ask.params.get("arguments")
    arguments = as_object({} if said is None else said)
    if arguments is None:
        raise Refused(INVALID_PARAMS, "params.arguments has to be an object", ask.id)
    return arguments


def _rest(ask: Ask, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that are passed on beside the name and the arguments of a tool."""
    if _NOT_PASSED.issuperset(ask.params) and ask.method != "prompts/get":
        return {}
    rest = {name: value for name, value in ask.params.items() if name not in _NOT_PASSED}
    if ask.method == "prompts/get" and ask.params.get("arguments") is not None:
        rest["arguments"] = arguments
    if "ref" in rest:
        field = "name" if object_at(rest, "ref").get("type") == "ref/prompt" else "uri"
        rest["ref"] = {**object_at(rest, "ref"), field: name}
    return rest


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
