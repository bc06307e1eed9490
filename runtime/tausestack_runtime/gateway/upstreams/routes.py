"""Sending a call to its server, and sending it again only where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from typing import Any

import orjson

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_CALL,
    META_KEY,
    META_LIMITS,
    PROTOCOL_VERSION,
    VERSION,
    Principal,
    ToolPolicy,
)
from tausestack.errors import DeadlineExceeded, InDoubt, Unavailable, UpstreamError
from tausestack.scopes import OWN
from tausestack.tokens import Signing
from tausestack.wire.request import framed
from tausestack_runtime.egress import Egress
from tausestack_runtime.events import event_payloads
from tausestack_runtime.gateway.call import Call, Outcome
from tausestack_runtime.gateway.crowd import Turns
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.upstreams.assertions import Assertions
from tausestack_runtime.gateway.upstreams.breaker import Breakers
from tausestack_runtime.gateway.upstreams.replies import Restarting, message_of, outcome_at_hand, outcome_of
from tausestack_runtime.gateway.upstreams.ways import Ways
from tausestack_runtime.gateway.upstreams.wire import Broken, NotSent, Reply, TimedOut, TooLarge
from tausestack_runtime.supervisor.control import ControlClient

_OWN_META: dict[str, Any] = {
    MCP_CAPABILITIES_META: {},
    MCP_CLIENT_META: {"name": "tausestack", "version": VERSION},
}
"""What a request says of its client where that has not said it."""

_UNBROKEN = nullcontext()
"""What a call to a service of ours goes through, where one to a third party's server goes through its breaker."""

SYSTEM_SECONDS = 10.0
"""How long the gateway waits for auth and registry."""

MAX_REPLY_BYTES = 16 * 1024 * 1024
FIRST_PAUSE_SECONDS, PAUSE_GROWTH, LAST_PAUSE_SECONDS = 0.02, 1.4, 0.5
MAX_RESENDS = 16
"""How often a call is sent again, where that is safe at all: over some four seconds, with growing pauses."""
MAX_RESENDS_AWAY = 2
"""The same for a third party's server at a URL: nobody starts that one anew."""


class Upstreams:
    """The servers behind the gateway."""

    def __init__(self, sockets: dict[str, str], control: ControlClient, signer: Signing, egress: Egress) -> None:
        self._assertions = Assertions(signer)
        self._turns = Turns()
        self.breakers = Breakers()
        self.in_flight: dict[str, Call] = {}
        """The calls that some server works on; it may call others on their behalf."""
        self.ways = Ways(sockets, control, egress, self._launch)

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self.ways.aclose()

    def call(self, call: Call, installation: Installation, policy: ToolPolicy, epoch: str) -> Awaitable[Outcome]:
        """Send a call to its server; what is awaited is what came of it.

        Raises `InDoubt` when it broke midway and may not be repeated, and `Unavailable` at once while a third party's
        server is known to be away.
        """
        if not installation.direct:  # a third party's own URL is given nothing of ours
            call.assertion = self._assertions.of(call.principal, installation.service, epoch)
        if not installation.foreign:
            return self._persist(call, installation, policy, epoch, _UNBROKEN)
        breaker = self.breakers.of(call.tenant, installation.name)
        return self._persist(call, installation, policy, epoch, breaker.brief() if call.door == "gateway" else breaker)

    async def system(self, service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a system tool of one of our own services as the gateway; return its structured result."""
        principal = Principal(tenant=tenant, id="gateway", scopes=OWN)
        call = Call(
            tenant=tenant,
            principal=principal,
            server=service,
            tool=tool,
            arguments=arguments,
            door="gateway",
            deadline=asyncio.get_running_loop().time() + SYSTEM_SECONDS,
            service=service,
        )
        outcome = await self.call(call, Installation(service, "service", service), ToolPolicy(side_effect="read"), "")
        if outcome.failed:
            raise outcome.failure
        return outcome.result["structuredContent"]

    @asynccontextmanager
    async def stream(
        self, call: Call, service: str, target: str, headers: list[tuple[bytes, bytes]], epoch: str,
        *, method: str = "GET", body: bytes = b"",
    ) -> AsyncGenerator[Reply]:  # fmt: skip
        """Open an `http` binding of a service for a call; the reply is streamed and closed on leaving."""
        call.assertion = self._assertions.of(call.principal, service, epoch)
        pool = await self.ways.service(service, call.tenant, streams=True)
        own = [*headers, (b"authorization", b"Bearer " + call.assertion.encode()), (b"host", b"localhost")]
        try:
            reply = await _until_read(
                lambda: pool.request(method, f"/http{target}", own, body, deadline=call.deadline), call.deadline
            )
        except (NotSent, Broken, TimedOut) as error:
            raise Unavailable(f"{service} does not answer") from error
        try:
            yield reply
        finally:
            await reply.aclose()

    @asynccontextmanager
    async def own(
        self, service: str, tenant: str, method: str, target: str, *, seconds: float, body: bytes = b""
    ) -> AsyncGenerator[Reply]:
        """Open an exchange with one of our own services for a tenant, as the gateway itself; closed on leaving.

        `seconds` holds for all of it. Raises a `WireError` where there is no answer.
        """
        principal = Principal(tenant=tenant, id="gateway", scopes=OWN)
        bearer = b"Bearer " + self._assertions.of(principal, service, "").encode()
        headers = [(b"authorization", bearer), (b"content-type", b"application/json")]
        pool = await self.ways.service(service, tenant, streams=True)
        deadline = asyncio.get_running_loop().time() + seconds
        reply = await _until_read(lambda: pool.request(method, target, headers, body, deadline=deadline), deadline)
        try:
            yield reply
        finally:
            await reply.aclose()

    async def forget(self, tenant: str) -> None:
        """Close a tenant's connections and forget what is known of its servers."""
        self._assertions.clear()
        self.breakers.forget(tenant)
        await self.ways.forget(tenant)

    async def listen(self, call: Call, installation: Installation, epoch: str) -> AsyncGenerator[dict[str, Any]]:
        """Yield the messages of a `subscriptions/listen` stream of a server; its end ends the generator.

        Raises `Unavailable` where there is none to be had.
        """
        call.assertion = self._assertions.of(call.principal, installation.service, epoch)
        # What listens may have to start the server first, which it asks the registry about in the course of this call.
        self.in_flight[call.id] = call
        try:
            async with aclosing(self._heard(call, installation, epoch)) as messages:
                async for message in messages:
                    yield message
        finally:
            del self.in_flight[call.id]

    async def _heard(self, call: Call, installation: Installation, epoch: str) -> AsyncGenerator[dict[str, Any]]:
        pool, head = await self.ways.to(call, installation, epoch, streams=True)
        most = MAX_RESENDS_AWAY if installation.direct else MAX_RESENDS
        try:
            reply = await _until_read(lambda: pool.send(framed(head, _body(call)), call.deadline), call.deadline, most)
        except (NotSent, Broken, TimedOut, TooLarge) as error:
            raise Unavailable(f"{installation.name} does not answer") from error
        try:
            if not reply.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                raise Unavailable(f"{installation.name} gives no stream of notifications")
            async with aclosing(event_payloads(reply.chunks())) as payloads:
                async for payload in payloads:
                    yield message_of(call, payload)
        except (Broken, TimedOut, TooLarge) as error:
            raise Unavailable(f"the stream of {installation.name} broke") from error
        finally:
            await reply.aclose()

    async def _persist(
        self,
        call: Call,
        installation: Installation,
        policy: ToolPolicy,
        epoch: str,
        through: AbstractContextManager[None, None],
    ) -> Outcome:
        relay = call.send if call.send is not None and installation.earlier is not None else None
        attempt = 0
        self.in_flight[call.id] = call
        try:
            with through:
                while True:
                    try:
                        if relay is not None:
                            return await relay(call, installation, epoch)
                        way = self.ways.at_hand(call, installation, epoch)
                        pool, head = way or await self.ways.to(call, installation, epoch)
                        # Nobody keeps the body while the server works: it is made again where it has to be sent again.
                        reply = await pool.send(
                            framed(head, _body(call, installation.direct)), call.deadline, MAX_REPLY_BYTES
                        )
                        outcome = outcome_at_hand(call, reply, installation.direct)
                        return outcome or await outcome_of(call, reply, installation.direct, self._turns)
                    except TooLarge as error:
                        raise UpstreamError(f"the reply of {call.server} is more than is taken: {error}") from error
                    except (NotSent, Broken, TimedOut) as error:
                        safe = policy.retriable or (policy.keyed and call.key is not None)
                        most = MAX_RESENDS_AWAY if installation.direct or relay else MAX_RESENDS
                        _raise_unless_repeatable(call, error, safe=safe, last=attempt == most)
                        if not await _paused(attempt, call.deadline):
                            raise Unavailable(_unreached(call, error)) from error
                        attempt += 1
        finally:
            del self.in_flight[call.id]

    async def _launch(self, tenant: str, server: str) -> dict[str, Any]:
        return await self.system("registry", "launch", tenant, {"server": server})


def _raise_unless_repeatable(call: Call, error: NotSent | Broken | TimedOut, *, safe: bool, last: bool) -> None:
    """Raise what a failure comes to where the call may not be sent again, or was sent often enough."""
    what = call.tool or call.method
    if isinstance(error, NotSent):
        if last:
            raise Unavailable(_unreached(call, error)) from error
    elif isinstance(error, Broken):
        if not safe:
            raise InDoubt(
                f"{call.server} broke off in the middle of {what}: it may or may not have taken effect",
                call=call.id,
            ) from error
        if last:
            raise Unavailable(f"{call.server} keeps breaking off in the middle of {what}") from error
    elif safe:
        raise DeadlineExceeded(f"{call.server} did not answer {what} in time") from error
    else:
        raise InDoubt(
            f"{call.server} did not answer {what} in time: it may or may not have taken effect", call=call.id
        ) from error


def _unreached(call: Call, error: Exception) -> str:
    return str(error) if isinstance(error, Restarting) else f"{call.server} takes no connections"


async def _until_read(send: Callable[[], Awaitable[Reply]], deadline: float, most: int = MAX_RESENDS) -> Reply:
    """Send a request, again where its server went away before it had read it: that one is started anew."""
    for attempt in range(most):
        try:
            return await send()
        except NotSent:
            if not await _paused(attempt, deadline):
                raise
    return await send()


async def _paused(attempt: int, deadline: float) -> bool:
    """Wait before an attempt after this one, unless the deadline comes first."""
    seconds = min(FIRST_PAUSE_SECONDS * PAUSE_GROWTH**attempt, LAST_PAUSE_SECONDS)
    if asyncio.get_running_loop().time() + seconds >= deadline:
        return False
    await asyncio.sleep(seconds)
    return True


def _body(call: Call, foreign: bool = False) -> bytes:
    """Return a request's bytes; what concerns our own processes alone does not leave for a third party's URL."""
    meta = _OWN_META | call.meta
    meta[MCP_VERSION_META] = PROTOCOL_VERSION
    if not foreign:
        meta[META_CALL] = call.id
        if call.key is not None:
            meta[META_KEY] = call.key
        if call.limits:
            meta[META_LIMITS] = call.limits
        if call.approval is not None:
            meta[META_APPROVAL] = call.approval
    params = call.params()
    params["_meta"] = meta
    return orjson.dumps({"jsonrpc": "2.0", "id": call.wire_id(), "method": call.method, "params": params})
