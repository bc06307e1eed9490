"""The MCP doors: a tenant's merged endpoint, and one endpoint a server; both translate and decide nothing."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson

from tausestack.contract import MCP_SUBSCRIPTION_META, META_PARENT, Principal
from tausestack.errors import INVALID_PARAMS, METHOD_NOT_FOUND, Cancelled, NotFound, TauseError, to_jsonrpc
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.exchange import JSON, Exchange
from tausestack_runtime.gateway.identity import Credential, Identity, shown
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier.door import EarlierDoor
from tausestack_runtime.gateway.mcp.envelope import (
    Message,
    Refused,
    check,
    check_form,
    declared,
    is_earlier,
    read,
)
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import ACKNOWLEDGED, LISTEN, Feed, Subscriptions
from tausestack_runtime.gateway.mcp.watching import watched
from tausestack_runtime.gateway.upstreams.replies import Answered

KEEPALIVE_SECONDS = 15.0


class McpEndpoint:
    """Answers POSTs of MCP 2026-07-28, and hands earlier clients on."""

    def __init__(
        self,
        identity: Identity,
        methods: Methods,
        subscriptions: Subscriptions,
        earlier: EarlierDoor,
        leaving: asyncio.Event,
    ) -> None:
        """`leaving` is set when the gateway ends: streams then end as well."""
        self._identity = identity
        self._earlier = earlier
        self._leaving = leaving
        self._methods = methods
        self._subscriptions = subscriptions

    async def serve(self, exchange: Exchange, tenant: str, server: str | None) -> None:
        """Answer one request; `server` is None on the merged endpoint."""
        if exchange.method != "POST":
            await self._earlier.serve(exchange, tenant, server)
            return
        request_id: str | int | None = None
        asked = exchange.method
        try:
            credential = exchange.head.once(shown)
            # Nothing is read for who may not ask: a body costs more than a look at a credential.
            principal = parent = None
            if not exchange.internal:
                principal = self._identity.at_hand(credential, tenant)
                principal = principal or await self._identity.principal(credential, tenant, server)
                exchange.asker = principal
                exchange.belong(principal.tenant)
            message = await read(exchange)
            said = exchange.head.once(declared)
            if not said.modern and is_earlier(said, message):
                await self._earlier.post(exchange, tenant, server, message.value, message.size)
                return
            check_form(message)
            request_id, asked = message.id, message.method
            check(said, message)
            if principal is None:
                principal, parent = await self._who(exchange, credential, message, tenant)
                exchange.asker = principal
            if request_id is None:
                await exchange.reply(202, b"")
                return
            ask = Ask(
                principal, server, request_id, asked, message.params, message.meta, message.size,
                exchange.task, exchange.notify, parent, said.key, exchange.headers,
            )  # fmt: skip
            if ask.method == LISTEN:
                await exchange.while_connected(self._listen(exchange, ask, credential))
                return
            outcome = await exchange.while_connected(self._methods.answer(ask))
            raw = outcome.raw or orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": outcome.result})
            if exchange.streaming:
                await exchange.event(raw)
                await exchange.end_events()
            else:
                await exchange.reply(200, raw)
        except Cancelled:
            return
        except TauseError as error:
            await self._methods.refuse(exchange, error, asked)
            if isinstance(error, Refused) and request_id is None:
                request_id = error.request_id
            await fail(exchange, request_id, error)

    async def _who(
        self, exchange: Exchange, credential: Credential, message: Message, tenant: str
    ) -> tuple[Principal, Call | None]:
        """Return who of our own processes asks, and the call in whose course it does."""
        parent = message.meta.get(META_PARENT)
        if isinstance(parent, str):
            process = exchange.header(b"x-tausestack-process")
            return await self._identity.nested(credential, parent, process, tenant)
        if tenant == SYSTEM_TENANT:
            return await self._identity.own_process(credential, tenant), None
        return await self._identity.principal(credential, tenant), None

    async def _listen(self, exchange: Exchange, ask: Ask, credential: Credential) -> None:
        """Keep a stream of notifications, until its client or its credential goes."""
        wanted = as_object(ask.params.get("notifications"))
        if wanted is None:
            raise Refused(INVALID_PARAMS, "params.notifications has to be an object", ask.id)
        snapshot = await self._methods.snapshot(ask)
        async with self._subscriptions.open(ask, snapshot, wanted) as feed:
            await self._methods.note(ask)
            exchange.noted = True
            acknowledged = {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": feed.granted}}
            await exchange.event(orjson.dumps(_tagged(acknowledged, ask.id)))
            there = partial(self._methods.snapshot, ask)
            tenant = ask.principal.tenant
            async with watched(self._identity, credential, tenant, self._leaving, ask.server, there=there) as ended:
                await _relay(exchange, ask, feed, ended)
        about = {MCP_SUBSCRIPTION_META: ask.id}
        result = {"resultType": "complete", "_meta": about}
        await exchange.event(orjson.dumps({"jsonrpc": "2.0", "id": ask.id, "result": result}))
        await exchange.end_events()


async def fail(exchange: Exchange, request_id: str | int | None, error: TauseError) -> None:
    """Answer with an error in JSON-RPC's words; a server's own goes on as it came.

    Our own processes know errors by their `code`, and a server's may be a word of ours: they get it as `upstream`.
    """
    told = error.error if isinstance(error, Answered) and not exchange.internal else to_jsonrpc(error)
    body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": told})
    await exchange.fail(error, _status(error), body, JSON, b"message")


async def _relay(exchange: Exchange, ask: Ask, feed: Feed, ended: asyncio.Task[None]) -> None:
    while True:
        waiting = asyncio.ensure_future(feed.waiting.get())
        try:
            done, _ = await asyncio.wait(
                {waiting, ended}, timeout=KEEPALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if ended in done:
            ended.result()
            return
        if waiting in done:
            await exchange.event(orjson.dumps(_tagged(waiting.result(), ask.id)))
        else:
            await exchange.chunk(b": still here\n\n")


def _tagged(message: dict[str, Any], subscription: str | int) -> dict[str, Any]:
    params = object_at(message, "params")
    meta = {**object_at(params, "_meta"), MCP_SUBSCRIPTION_META: subscription}
    return {**message, "params": {**params, "_meta": meta}}


def _status(error: TauseError) -> int:
    """JSON-RPC's own errors have the statuses that the protocol gives them; ours keep theirs."""
    if isinstance(error, Answered):
        return error.http
    if error.rpc == METHOD_NOT_FOUND:
        return 404
    if isinstance(error, NotFound):
        return 404
    return 400 if error.rpc == INVALID_PARAMS else error.status
