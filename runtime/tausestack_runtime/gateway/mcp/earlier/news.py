"""What a session is told on its own account: gathered once from all who tell it, and given to one stream at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from tausestack.errors import TauseError
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.earlier.relay import Relay, opened
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.store import FRESH_SECONDS, State, States
from tausestack_runtime.gateway.mcp.earlier.upstream import Place
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import LISTS, MAX_WAITING, Feed, Subscriptions
from tausestack_runtime.gateway.upstreams.wire import WireError

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0

logger = structlog.get_logger("gateway")

Message = dict[str, Any]


@dataclass(eq=False, slots=True)
class Stream:
    """A stream that a client keeps open, as whom it was opened, and what waits to be sent on it."""

    ask: Ask
    waiting: deque[Message] = field(default_factory=deque[Message])
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: Message) -> None:
        """Have a message wait; a reader that is very slow misses what only says that something changed."""
        if len(self.waiting) < MAX_WAITING:
            self.waiting.append(message)
            self.told.set()


@dataclass(frozen=True, slots=True)
class _Sources:
    """Who tells a session: the resources that it watches and as whom, and the servers that have sessions of its own."""

    ask: Ask
    watches: tuple[str, ...]
    places: dict[str, Place]

    def has_feed_of(self, other: _Sources) -> bool:
        """Whether another's feed tells the same."""
        mine, theirs = self.ask.principal, other.ask.principal
        return (
            mine.limits == theirs.limits and self.watches == other.watches and self.places.keys() == other.places.keys()
        )


class News:
    """Gathers what a session is told for as long as it has a stream, and gives each message to the newest alone."""

    def __init__(
        self, session: Session, methods: Methods, subscriptions: Subscriptions, states: States, relay: Relay
    ) -> None:
        self._session = session
        self._methods = methods
        self._subscriptions = subscriptions
        self._states = states
        self._relay = relay
        self._streams: list[Stream] = []
        self._sources: _Sources | None = None
        self._hears: set[str] = set()
        self._changed = asyncio.Event()
        self._caught_up = asyncio.Condition()
        self._gathering: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def joined(self, stream: Stream) -> AsyncGenerator[asyncio.Task[None]]:
        """Have a stream told from now on, until another comes; what it leaves unsent goes to the one before it.

        Gives a task that ends with what the session's streams end with.
        """
        self._streams.append(stream)
        self._changed.set()
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._gather())
        try:
            yield self._gathering
        finally:
            self._streams.remove(stream)
            if self._streams:
                for message in stream.waiting:
                    self._tell(message)
                self._changed.set()
            else:
                await self._stop()

    @property
    def has_streams(self) -> bool:
        """Whether any stream is open."""
        return bool(self._streams)

    async def caught_up(self, state: State) -> None:
        """Wait until all is heard that a session's state says."""
        self._changed.set()
        async with self._caught_up:
            await self._caught_up.wait_for(lambda: self._is_up_to(state))

    def _is_up_to(self, state: State) -> bool:
        return (
            self._sources is not None and self._sources.watches == state.watched and self._hears >= {*state.upstreams}
        )

    def _tell(self, message: Message) -> None:
        if self._streams:
            self._streams[-1].tell(message)

    async def _stop(self) -> None:
        """Listen to nobody any more; a stream that comes meanwhile begins anew."""
        gathering, self._gathering, self._sources, self._hears = self._gathering, None, None, set()
        if gathering is not None:
            gathering.cancel()
            await asyncio.wait({gathering})
            if not gathering.cancelled():
                gathering.exception()  # seen: its streams have raised it

    async def _gather(self) -> None:
        """Listen to who tells the session now, and pass it on."""
        followers: dict[str, tuple[Place, asyncio.Task[None]]] = {}
        kept = AsyncExitStack()
        feed: Feed | None = None
        try:
            while True:
                sources = await self._current()
                await self._follow_all(followers, sources)
                if feed is None or self._sources is None or not sources.has_feed_of(self._sources):
                    # The next one listens before the last one ends, so that nothing falls in between.
                    following = AsyncExitStack()
                    before, kept, last = kept, following, feed
                    try:
                        feed = await self._opened(following, sources)
                    finally:
                        await before.aclose()
                    self._pass_over(last, feed)
                async with self._caught_up:
                    self._sources = sources
                    self._caught_up.notify_all()
                await self._pump(feed)
        finally:
            for _, task in followers.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in followers.values()), return_exceptions=True)
            await kept.aclose()

    async def _current(self) -> _Sources:
        """Return who tells the session; a server's own endpoint listens to it from the start."""
        ask = self._streams[-1].ask
        state = await self._states.of(self._session)
        snapshot = await self._methods.snapshot(ask)
        places = opened(state, snapshot)
        if self._session.server is not None and self._session.server in snapshot.installations:
            one = snapshot.installations[self._session.server]
            places = [Place(one, snapshot.epoch)] if one.earlier is not None else []
        return _Sources(ask, state.watched, {place.installation.name: place for place in places})

    async def _opened(self, stack: AsyncExitStack, sources: _Sources) -> Feed:
        wanted: dict[str, Any] = {**dict.fromkeys(LISTS.values(), True), "resourceSubscriptions": [*sources.watches]}
        snapshot = await self._methods.snapshot(sources.ask)
        without = frozenset(sources.places)
        return await stack.enter_async_context(self._subscriptions.open(sources.ask, snapshot, wanted, without=without))

    def _pass_over(self, last: Feed | None, feed: Feed) -> None:
        """Tell what waited in a feed that has ended, and once what both feeds heard."""
        if last is not None:
            told, new = _drained(last.waiting), _drained(feed.waiting)
            for message in [*told, *(each for each in new if each not in told)]:
                self._tell(message)

    async def _pump(self, feed: Feed) -> None:
        """Pass on what a feed tells, until it is time to look who tells the session now."""
        loop = asyncio.get_running_loop()
        until = loop.time() + FRESH_SECONDS
        while not self._changed.is_set() and (left := until - loop.time()) > 0:
            news = asyncio.ensure_future(feed.waiting.get())
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                done, _ = await asyncio.wait({news, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
                changed.cancel()
            if news in done:
                self._tell(news.result())
        self._changed.clear()

    async def _follow_all(self, followers: dict[str, tuple[Place, asyncio.Task[None]]], sources: _Sources) -> None:
        """Have each server's own stream followed, and no others'."""
        stale = {name: one for name, one in followers.items() if sources.places.get(name) != one[0]}
        for name, (_, task) in stale.items():
            task.cancel()
            await asyncio.wait({task})
            del followers[name]
            self._hears.discard(name)
        for name, place in sources.places.items():
            if name not in followers:
                followers[name] = place, asyncio.create_task(self._follow(place))

    async def _follow(self, place: Place) -> None:
        """Pass on what one server tells in the session there, and listen again when it breaks off."""
        name, pause = place.installation.name, FIRST_PAUSE_SECONDS
        while True:
            try:
                async with aclosing(self._relay.listen(self._session, place)) as messages:
                    async for message in messages:
                        pause = FIRST_PAUSE_SECONDS
                        if message is None:
                            await self._hear(name)
                        else:
                            self._tell(message)
            except (TauseError, WireError) as error:
                logger.info("a server does not tell", server=name, error=str(error))
            await self._hear(name)  # one that has no such stream is not waited for
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

    async def _hear(self, server: str) -> None:
        async with self._caught_up:
            self._hears.add(server)
            self._caught_up.notify_all()


def _drained(waiting: asyncio.Queue[Message]) -> list[Message]:
    """Return what waits, and leave nothing."""
    return [waiting.get_nowait() for _ in range(waiting.qsize())]
