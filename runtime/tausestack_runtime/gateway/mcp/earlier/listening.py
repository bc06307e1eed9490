"""The streams that a session's client keeps open with GET: what changed here, and what its servers tell."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import orjson
import structlog

from tausestack.contract import Principal
from tausestack.errors import Cancelled, TauseError
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.identity import Credential, Identity
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier.news import News, Stream
from tausestack_runtime.gateway.mcp.earlier.relay import Relay
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.store import States
from tausestack_runtime.gateway.mcp.earlier.streams import KEEPALIVE_SECONDS
from tausestack_runtime.gateway.mcp.earlier.translate import modern_meta
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import LISTEN, Subscriptions
from tausestack_runtime.gateway.mcp.watching import watched
from tausestack_runtime.gateway.siblings import Siblings

CATCH_UP_SECONDS = 3.0
PATH = "/siblings/streams/"
"""Where another gateway asks whether this one has a session's streams."""

Holds = Literal["none", "opening", "open"]

logger = structlog.get_logger("gateway")


class Listening:
    """Keeps the streams: all of a session's at one gateway, each message on one of them."""

    def __init__(
        self,
        *,
        identity: Identity,
        methods: Methods,
        subscriptions: Subscriptions,
        states: States,
        relay: Relay,
        siblings: Siblings,
        leaving: asyncio.Event,
    ) -> None:
        """`leaving` is set when the gateway ends: streams then end as well."""
        self._leaving = leaving
        self._identity = identity
        self._methods = methods
        self._subscriptions = subscriptions
        self._states = states
        self._relay = relay
        self._siblings = siblings
        # What a server asks on its own account has to find somebody who listens.
        relay.when_begun(self.caught_up)
        self._news: dict[str, News] = {}
        self._opening: Counter[str] = Counter()

    async def serve(self, exchange: Exchange, session: Session, principal: Principal, credential: Credential) -> None:
        """Keep a stream until its client, its session or its credential goes.

        Raises `Elsewhere` where another gateway has a stream of the session: only there is it known which is told what.
        """
        meta = modern_meta(session, None, {})
        ask = Ask(principal, session.server, session.id, LISTEN, params={}, meta=meta)
        await self._methods.snapshot(ask)
        async with self._joined(exchange, session, Stream(ask)) as (stream, gathering):
            await self._methods.note(ask)
            exchange.noted = True
            await exchange.start_events()
            try:
                there = partial(self._methods.snapshot, ask)
                async with watched(
                    self._identity, credential, session.tenant, self._leaving, session.server, there=there
                ) as ended:
                    await exchange.while_connected(_send(exchange, stream, ended, gathering))
                await exchange.end_events()
            except Cancelled:
                return
            except TauseError as error:
                # What a stream ends with, its client hears when it comes again.
                logger.debug("a stream ended", reason=error.message)
                await exchange.end_events()

    async def caught_up(self, session: Session) -> None:
        """Wait until this gateway's streams of a session watch and hear what it says now, but not for ever."""
        state = await self._states.of(session)
        news = self._news.get(session.id)
        if news is not None:
            try:
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    await news.caught_up(state)
            except TimeoutError:
                logger.info("a stream lags behind", session=session.id)

    def holds(self, session: str) -> Holds:
        """Return whether this gateway has streams of a session, or is about to."""
        if session in self._news:
            return "open"
        return "opening" if self._opening[session] else "none"

    @asynccontextmanager
    async def _joined(
        self, exchange: Exchange, session: Session, stream: Stream
    ) -> AsyncGenerator[tuple[Stream, asyncio.Task[None]]]:
        """Have a stream be one of its session's; raises `Elsewhere`."""
        self._opening[session.id] += 1
        try:
            if not exchange.forwarded and session.id not in self._news:
                await self._check_here(session.id)
        finally:
            self._opening -= Counter([session.id])
        news = self._news.get(session.id)
        if news is None:
            news = self._news[session.id] = News(session, self._methods, self._subscriptions, self._states, self._relay)
        try:
            async with news.joined(stream) as gathering:
                yield stream, gathering
        finally:
            if not news.has_streams and self._news.get(session.id) is news:
                del self._news[session.id]

    async def _check_here(self, session: str) -> None:
        """Raise `Elsewhere` where another gateway has a session's streams; of two that begin at once the lower has."""
        others = self._siblings.others
        told = await asyncio.gather(*(self._siblings.ask(number, PATH + session) for number in others))
        for number, holds in zip(others, told, strict=True):
            if holds == b"open" or (holds == b"opening" and number < self._siblings.number):
                self._siblings.check_here(number)


async def _send(exchange: Exchange, stream: Stream, ended: asyncio.Task[None], gathering: asyncio.Task[None]) -> None:
    """Send what comes, until the session or its credential ends; raises what it ends with."""
    while True:
        news = asyncio.ensure_future(stream.told.wait())
        try:
            done, _ = await asyncio.wait(
                {news, ended, gathering}, timeout=KEEPALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            news.cancel()
        if ended in done:
            ended.result()
            return
        if not done:
            await exchange.chunk(b": still here\n\n")
        stream.told.clear()
        while stream.waiting:
            await exchange.event(orjson.dumps(stream.waiting[0]))
            stream.waiting.popleft()  # not before: what a client that goes away has not got, its other stream gets
        if gathering in done:
            gathering.result()
            return
