"""The stream of a session that its client keeps open with GET: what changed here, and what its servers tell."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from tausestack.contract import Principal
from tausestack.errors import Cancelled, TauseError
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.identity import Credential, Identity
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier.relay import Relay, opened
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.store import FRESH_SECONDS, State, States
from tausestack_runtime.gateway.mcp.earlier.streams import KEEPALIVE_SECONDS
from tausestack_runtime.gateway.mcp.earlier.translate import modern_meta
from tausestack_runtime.gateway.mcp.earlier.upstream import Place
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import LISTEN, LISTS, Feed, Subscriptions
from tausestack_runtime.gateway.mcp.watching import watched
from tausestack_runtime.gateway.snapshots import TenantSnapshot
from tausestack_runtime.gateway.upstreams.wire import WireError

CATCH_UP_SECONDS = 3.0
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0

logger = structlog.get_logger("gateway")

Sources = tuple[tuple[str, ...], dict[str, Place]]
"""What a stream is made of: the resources that are watched, and the servers that have sessions of their own."""


@dataclass(eq=False, slots=True)
class _Stream:
    """An open stream, the resources that it watches as yet, and the servers whose own streams are open for it."""

    watches: tuple[str, ...] | None = None
    hears: set[str] = field(default_factory=set[str])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    caught_up: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def hear(self, server: str) -> None:
        """Note that a server's own stream is open."""
        async with self.caught_up:
            self.hears.add(server)
            self.caught_up.notify_all()

    def is_up_to(self, state: State) -> bool:
        """Whether it watches and hears all that a session says."""
        return self.watches == state.watched and self.hears >= set(state.upstreams)


class Listening:
    """Keeps the streams."""

    def __init__(
        self,
        identity: Identity,
        methods: Methods,
        subscriptions: Subscriptions,
        states: States,
        relay: Relay,
        leaving: asyncio.Event,
    ) -> None:
        """`leaving` is set when the gateway ends: streams then end as well."""
        self._leaving = leaving
        self._identity = identity
        self._methods = methods
        self._subscriptions = subscriptions
        self._states = states
        self._relay = relay
        # What a server asks on its own account has to find somebody who listens.
        relay.when_begun(self.caught_up)
        self._open: dict[str, set[_Stream]] = {}

    async def serve(self, exchange: Exchange, session: Session, principal: Principal, credential: Credential) -> None:
        """Keep a stream until its client, its session or its credential goes."""
        meta = modern_meta(session, None, {})
        ask = Ask(principal, session.server, session.id, LISTEN, params={}, meta=meta)
        await self._methods.snapshot(ask)
        await self._methods.note(ask)
        exchange.noted = True
        stream = _Stream()
        self._open.setdefault(session.id, set()).add(stream)
        await exchange.start_events()
        try:
            async with watched(self._identity, credential, session.tenant, self._leaving, session.server) as ended:
                await exchange.while_connected(self._keep(exchange, session, ask, stream, ended))
            await exchange.end_events()
        except Cancelled:
            return
        except TauseError as error:
            # What a stream ends with, its client hears when it comes again.
            logger.debug("a stream ended", reason=error.message)
            await exchange.end_events()
        finally:
            self._open[session.id].discard(stream)
            if not self._open[session.id]:
                del self._open[session.id]

    async def caught_up(self, session: Session) -> None:
        """Wait until this gateway's streams of a session watch and hear what it says now, but not for ever."""
        state = await self._states.of(session)
        for stream in list(self._open.get(session.id, ())):
            stream.changed.set()
            try:
                async with asyncio.timeout(CATCH_UP_SECONDS), stream.caught_up:
                    await stream.caught_up.wait_for(lambda stream=stream: stream.is_up_to(state))
            except TimeoutError:
                logger.info("a stream lags behind", session=session.id)

    async def _keep(
        self, exchange: Exchange, session: Session, ask: Ask, stream: _Stream, ended: asyncio.Task[None]
    ) -> None:
        last = AsyncExitStack()
        try:
            while True:
                state = await self._states.of(session)
                snapshot = await self._methods.snapshot(ask)
                sources = _sources(session, state, snapshot)
                # The next ones listen before the last ones end, so that nothing falls in between.
                following = AsyncExitStack()
                try:
                    feed = await self._listen(following, session, ask, snapshot, sources, stream)
                finally:
                    last, before = following, last
                    await before.aclose()
                async with stream.caught_up:
                    stream.watches = state.watched
                    stream.caught_up.notify_all()
                await self._tell(exchange, session, ask, stream, feed, sources, ended)
                if ended.done():
                    return
        finally:
            await last.aclose()

    async def _listen(
        self,
        stack: AsyncExitStack,
        session: Session,
        ask: Ask,
        snapshot: TenantSnapshot,
        sources: Sources,
        stream: _Stream,
    ) -> Feed:
        """Open what a stream is made of; the stack closes it."""
        watches, places = sources
        wanted: dict[str, Any] = {**dict.fromkeys(LISTS.values(), True), "resourceSubscriptions": list(watches)}
        feed = await stack.enter_async_context(
            self._subscriptions.open(ask, snapshot, wanted, without=frozenset(places))
        )
        following = [asyncio.create_task(self._follow(session, place, feed, stream)) for place in places.values()]

        async def stop() -> None:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

        stack.push_async_callback(stop)
        return feed

    async def _follow(self, session: Session, place: Place, feed: Feed, stream: _Stream) -> None:
        """Pass on what one server tells in the client's session there, and listen again when it breaks off."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with aclosing(self._relay.listen(session, place)) as messages:
                    async for message in messages:
                        pause = FIRST_PAUSE_SECONDS
                        if message is None:
                            await stream.hear(place.installation.name)
                        else:
                            feed.tell(message)
            except (TauseError, WireError) as error:
                logger.info("a server does not tell", server=place.installation.name, error=str(error))
            await stream.hear(place.installation.name)  # one that has no such stream is not waited for
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

    async def _tell(
        self,
        exchange: Exchange,
        session: Session,
        ask: Ask,
        stream: _Stream,
        feed: Feed,
        sources: Sources,
        ended: asyncio.Task[None],
    ) -> None:
        """Send what comes, until the stream has to be made of something else."""
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while True:
            news = asyncio.ensure_future(feed.waiting.get())
            changed = asyncio.ensure_future(stream.changed.wait())
            try:
                done, _ = await asyncio.wait(
                    {news, changed, ended}, timeout=FRESH_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                news.cancel()
                changed.cancel()
            if ended in done:
                ended.result()
                return
            if news in done:
                await exchange.event(orjson.dumps(news.result()))
                quiet_since = loop.time()
                continue
            stream.changed.clear()
            if loop.time() - quiet_since > KEEPALIVE_SECONDS:
                await exchange.chunk(b": still here\n\n")
                quiet_since = loop.time()
            if _sources(session, await self._states.of(session), await self._methods.snapshot(ask)) != sources:
                return


def _sources(session: Session, state: State, snapshot: TenantSnapshot) -> Sources:
    """Return what a session's stream is made of; a server's own endpoint listens to it from the start."""
    places = opened(state, snapshot)
    if session.server is not None and session.server in snapshot.installations:
        one = snapshot.installations[session.server]
        places = [Place(one, snapshot.epoch)] if one.earlier is not None else []
    return state.watched, {place.installation.name: place for place in places}
