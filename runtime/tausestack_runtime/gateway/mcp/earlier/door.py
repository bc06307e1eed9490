"""The door of earlier clients: POST, GET and DELETE of streamable HTTP with sessions, on both endpoints."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tausestack.contract import EARLIER_VERSIONS, Principal
from tausestack.errors import INVALID_REQUEST, METHOD_NOT_FOUND, InvalidRequest, TauseError, to_jsonrpc
from tausestack.raw import as_array, as_object, object_at
from tausestack_runtime.gateway.exchange import JSON, Exchange, Headers
from tausestack_runtime.gateway.identity import Identity, bearer
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier import rounds, works
from tausestack_runtime.gateway.mcp.earlier.listening import Listening
from tausestack_runtime.gateway.mcp.earlier.relay import Relay
from tausestack_runtime.gateway.mcp.earlier.requests import Asking, Requests, is_request
from tausestack_runtime.gateway.mcp.earlier.rounds import Questions, Rounds
from tausestack_runtime.gateway.mcp.earlier.session import Session, Tokens
from tausestack_runtime.gateway.mcp.earlier.store import States
from tausestack_runtime.gateway.mcp.earlier.streams import reply, resume
from tausestack_runtime.gateway.mcp.earlier.translate import initialized, modern_meta
from tausestack_runtime.gateway.mcp.earlier.works import Works
from tausestack_runtime.gateway.mcp.envelope import SESSION, Message, Refused, check_form
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import Subscriptions
from tausestack_runtime.gateway.siblings import Siblings
from tausestack_runtime.gateway.snapshots import TenantSnapshot

BATCHES = "2025-03-26"
"""The one version whose requests may come several at once."""
MAX_BATCH = 64
ANYTHING = b"*/*"
"""What `Accept` says of whoever takes whatever comes."""
RETIRED = frozenset({"sse", "messages"})
"""Where the transport of 2024-11-05 would have been."""

_TO_ALL, _TO_ONE = "notifications/roots/list_changed", "notifications/progress"
"""What is passed on to every server that the session has a session at, and what only where that is one server: the
progress of an answer bears a token of the server's own, which doesn't say whose it is."""


class EarlierDoor:
    """Answers earlier clients; it translates and decides nothing."""

    def __init__(
        self,
        *,
        identity: Identity,
        methods: Methods,
        subscriptions: Subscriptions,
        siblings: Siblings,
        tokens: Tokens,
        states: States,
        relay: Relay,
        leaving: asyncio.Event,
    ) -> None:
        """`leaving` is set when the gateway ends: streams then end as well."""
        self._identity = identity
        self._methods = methods
        self._siblings = siblings
        self._tokens = tokens
        self._states = states
        self._relay = relay
        self._questions = Questions(siblings.number)
        self._works = Works(siblings.number)
        self.listening = Listening(
            identity=identity,
            methods=methods,
            subscriptions=subscriptions,
            states=states,
            relay=relay,
            siblings=siblings,
            leaving=leaving,
        )
        self._requests = Requests(methods, states, Rounds(methods, self._questions), relay, self.listening)
        self._leaving: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """End what is under way."""
        await self._works.aclose()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def post(self, exchange: Exchange, tenant: str, server: str | None, message: Any, size: int) -> None:
        """Serve a POST: one message, or several at once."""
        one = as_object(message) or {}
        try:
            principal = await self._principal(exchange, tenant, server)
            if one.get("method") == "initialize":
                await self._begin(exchange, principal, server, one, size)
                return
            session = self._session(exchange, principal, server)
            await self._states.of(session)
            messages = _batch(session, message)
            for each in messages:
                if not is_request(each):
                    await self._hear(exchange, session, principal, each)
            asked = [as_object(each) or {} for each in messages if is_request(each)]
            if asked:
                await self._answer(exchange, session, principal, asked, size, batch=isinstance(message, list))
            else:
                await exchange.reply(202, b"")
        except TauseError as error:
            await self._methods.refuse(exchange, error, str(one.get("method") or ""))
            await _fail(exchange, one.get("id") if "method" in one else None, error)

    async def serve(self, exchange: Exchange, tenant: str, server: str | None) -> None:
        """Serve anything but a POST."""
        try:
            if exchange.method not in {"GET", "DELETE"}:
                await _unserved(
                    exchange, f"{exchange.method} is nothing here: MCP is spoken by POST", b"POST, GET, DELETE"
                )
                return
            if exchange.header(SESSION) is None:
                await (retired if exchange.method == "GET" else _no_session)(exchange)
                return
            principal = await self._principal(exchange, tenant, server)
            session = self._session(exchange, principal, server)
            if exchange.method == "DELETE":
                await self._end(exchange, session, principal)
                return
            await self._states.of(session)
            accepted = exchange.headers.get(b"accept", ANYTHING)
            if not exchange.accepts_events() and ANYTHING not in accepted:
                told = "A GET listens to its session's stream, which is text/event-stream: Accept has to allow that"
                await _say(exchange, 406, INVALID_REQUEST, told)
                return
            await self._listen(exchange, session, principal)
        except TauseError as error:
            await self._methods.refuse(exchange, error, exchange.method)
            await _fail(exchange, None, error)

    async def _principal(self, exchange: Exchange, tenant: str, server: str | None) -> Principal:
        principal = await self._identity.principal(bearer(exchange.header(b"authorization")), tenant, server)
        exchange.asker = principal
        exchange.belong(principal.tenant)
        return principal

    def _session(self, exchange: Exchange, principal: Principal, server: str | None) -> Session:
        token = exchange.header(SESSION)
        if token is None:
            raise Refused(INVALID_REQUEST, "The header Mcp-Session-Id is missing: begin a session with initialize")
        return self._tokens.open(token, principal, server)

    async def _begin(
        self, exchange: Exchange, principal: Principal, server: str | None, message: dict[str, Any], size: int
    ) -> None:
        request = Message(message, size)
        check_form(request)
        if request.id is None:
            raise Refused(INVALID_REQUEST, "initialize is a request: it needs an id")
        session, token = self._tokens.begin(principal, server, request.params)
        ask = _initialize(session, principal, size)
        snapshot = await self._methods.snapshot(ask)
        await self._methods.note(ask)
        exchange.noted = True
        body = orjson.dumps({"jsonrpc": "2.0", "id": request.id, "result": initialized(snapshot, session)})
        await exchange.reply(200, body, headers=[(SESSION, token.encode())])

    async def _answer(
        self,
        exchange: Exchange,
        session: Session,
        principal: Principal,
        asked: list[dict[str, Any]],
        size: int,
        *,
        batch: bool,
    ) -> None:
        credential = bearer(exchange.header(b"authorization"))
        asking = Asking(
            session=session,
            principal=principal,
            renew=lambda: self._identity.principal(credential, session.tenant, session.server),
            size=size,
            key=exchange.header(b"idempotency-key"),
            exchange=exchange,
        )
        for message in asked:
            request_id = message["id"]
            if isinstance(request_id, bool) or not isinstance(request_id, (str, int)):
                raise Refused(INVALID_REQUEST, "A request's id is a string or an integer")
            if message["method"] == "initialize":
                raise Refused(INVALID_REQUEST, "initialize can't be one of several")
        work = self._works.begin(session, streams=exchange.accepts_events(), batch=batch)
        for message in asked:
            self._works.run(work, message["id"], self._requests.answer(asking, work, message))
        await reply(exchange, work)

    async def _hear(self, exchange: Exchange, session: Session, principal: Principal, raw: Any) -> None:
        """Take a notification or a response; what nobody waits for is not missed."""
        message = as_object(raw)
        if message is None or message.get("jsonrpc") != "2.0":
            raise Refused(INVALID_REQUEST, "The body has to be a JSON-RPC message")
        method = message.get("method")
        if method == "notifications/cancelled":
            request_id = object_at(message, "params").get("requestId")
            if isinstance(request_id, (str, int)) and not self._works.cancel(session, request_id):
                await self._siblings.tell_all(exchange)
        elif method in {_TO_ALL, _TO_ONE}:
            state = await self._states.of(session)
            if state.upstreams and (method == _TO_ALL or len(state.upstreams) == 1):
                await self._relay.tell_all(session, state, await self._snapshot(session, principal), message)
        elif method is None and not self._questions.answered(session, message):
            if not exchange.forwarded:
                self._siblings.check_here(rounds.origin(message.get("id")))
            await self._relay.respond(session, await self._snapshot(session, principal), message)

    async def _listen(self, exchange: Exchange, session: Session, principal: Principal) -> None:
        last = exchange.header(b"last-event-id")
        if last is None:
            await self.listening.serve(exchange, session, principal, bearer(exchange.header(b"authorization")))
            return
        found = self._works.find(last, session)
        if found is None:
            if not exchange.forwarded:
                self._siblings.check_here(works.origin(last))
            raise InvalidRequest("The stream of this event is not there any more")
        await resume(exchange, *found)

    async def _end(self, exchange: Exchange, session: Session, principal: Principal) -> None:
        """End a session: everywhere at once, and at its servers as soon as they hear."""
        self._states.forget(session)
        self._works.cancel_all(session)
        if not exchange.forwarded:
            state = await self._states.end(session)
            await self._siblings.tell_all(exchange)
            if state.upstreams:
                snapshot = await self._snapshot(session, principal)
                task = asyncio.create_task(self._relay.end(session, state, snapshot))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        await exchange.reply(200, b"")

    async def _snapshot(self, session: Session, principal: Principal) -> TenantSnapshot:
        return await self._methods.snapshot(_initialize(session, principal))


def _initialize(session: Session, principal: Principal, size: int = 0) -> Ask:
    meta = modern_meta(session, None, {})
    return Ask(principal, session.server, "", "initialize", params={}, meta=meta, size=size)


def _batch(session: Session, message: Any) -> list[Any]:
    several = as_array(message)
    if several is None:
        return [message]
    if session.version != BATCHES:
        raise Refused(INVALID_REQUEST, f"Only clients of {BATCHES} may send several messages at once")
    if not 0 < len(several) <= MAX_BATCH:
        raise Refused(INVALID_REQUEST, f"1 to {MAX_BATCH} messages may come at once")
    return several


async def retired(exchange: Exchange) -> None:
    """Refuse what only the HTTP+SSE transport of 2024-11-05 had, or a stream without a session, and say what to do."""
    told = (
        "There is no stream here without a session: POST initialize to the MCP endpoint, …/mcp (streamable HTTP). "
        f"The HTTP+SSE transport of 2024-11-05 is not served; its version is, with {', '.join(EARLIER_VERSIONS[:-1])}."
    )
    await _unserved(exchange, told, b"POST")


async def _no_session(exchange: Exchange) -> None:
    await _unserved(exchange, "DELETE ends a session, and there is no Mcp-Session-Id that names one", b"POST")


async def _unserved(exchange: Exchange, told: str, allowed: bytes) -> None:
    await _say(exchange, 405, METHOD_NOT_FOUND, told, [(b"allow", allowed)])


async def _say(exchange: Exchange, status: int, code: int, told: str, headers: Headers | None = None) -> None:
    body = orjson.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": told}})
    await exchange.reply(status, body, JSON, headers)


async def _fail(exchange: Exchange, request_id: Any, error: TauseError) -> None:
    body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": to_jsonrpc(error)})
    await exchange.fail(error, error.status, body, JSON, b"message")
