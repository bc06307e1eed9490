"""A session with one hosted server: owned by one task, spoken to by many callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tausestack.errors import TauseError, Unavailable, UpstreamError
from tausestack_runtime.adapters.asked import Answered, Asked, Tell
from tausestack_runtime.adapters.session.catalogue import Catalogue, read_all
from tausestack_runtime.adapters.session.greeting import START_SECONDS, greeted
from tausestack_runtime.adapters.session.peer import Broken, Link, Peer
from tausestack_runtime.adapters.session.tongue import Said, Tongue
from tausestack_runtime.adapters.session.waiting import WaitingRoom
from tausestack_runtime.adapters.stdio.process import Log

Connect = Callable[[], Awaitable[Link]]
"""Opens the way to the server, or raises `Unavailable`."""


class Session:
    """A server from its first request to its last."""

    def __init__(
        self, name: str, connect: Connect, *, log: Log, room: WaitingRoom, pins: Mapping[str, str] | None = None,
        is_modern: bool | None = None, idle_seconds: float = 300.0,
    ) -> None:  # fmt: skip
        self.name = name
        self._connect, self._log, self._room, self._pins = connect, log, room, pins
        self._is_modern, self._idle = is_modern, idle_seconds
        self._peer: Peer | None = None
        self._tongue: Tongue | None = None
        self._ready: asyncio.Future[Tongue] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._gracefully = self._ran_out = False
        self._why = "it ended"
        self._owner = asyncio.create_task(self._own(), name=f"adapter {name}")

    @property
    def alive(self) -> bool:
        """Whether new requests may be sent to it."""
        return not self._owner.done() and not self._stopping.is_set()

    @property
    def ended_unasked(self) -> bool:
        """Whether it ended on its own before it was ready."""
        return self._tongue is None and self._ran_out

    @property
    def pid(self) -> int | None:
        """The process, where it is one and runs."""
        return None if self._peer is None else self._peer.link.pid

    @property
    def url(self) -> str | None:
        """Where it was found at last, where it is at a URL."""
        return None if self._peer is None else self._peer.link.url

    @property
    def said(self) -> Said:
        """What the server said of itself, once it is ready."""
        return Said() if self._tongue is None else self._tongue.said

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The raw tool objects that it offers, once it is ready."""
        return [] if self._tongue is None else self._tongue.catalogue.listed

    @property
    def killed(self) -> bool:
        """Whether it ended by being killed from outside, which is no defect of its own; known once it was stopped."""
        return self._peer is not None and self._peer.link.killed

    async def ready(self) -> Tongue:
        """Wait until the server has said what it offers, or raise `Unavailable` saying why it does not."""
        return await asyncio.shield(self._ready)

    async def stop(self) -> None:
        """End the server; requests in flight fail as `Broken`."""
        self._why, self._gracefully = "it was stopped", True
        self._stopping.set()
        await asyncio.shield(self._owner)

    async def request(self, asked: Asked, tell: Tell) -> dict[str, Any]:
        """Have the server serve a request and return its modern result; cancelling the caller cancels it there too.

        Raises `Answered` for an error of the server's own, `Broken` where the session ended first, and `Unavailable`
        where nothing was sent.
        """
        tongue = await self.ready()
        if not self.alive:
            raise Unavailable(f"{self.name} has just stopped")
        return await tongue.request(asked, tell)

    async def settled(self) -> None:
        """Read the tools again where the server has told that they have changed."""
        if self._tongue is not None:
            await self._tongue.catalogue.fresh()

    def news(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]] | None:
        """Return its tools, and those that are left out, once where they are not all as they were approved."""
        return None if self._tongue is None else self._tongue.catalogue.news()

    async def offered(self, method: str, field: str, most: int) -> list[dict[str, Any]]:
        """Return the first items of a list that the server offers beside its tools."""
        assert self._peer is not None
        return await read_all(self._peer, method, field, most)

    async def _own(self) -> None:
        try:
            link = await self._connect()
        except TauseError as error:
            self._fail_start(error)
            return
        except BaseException:
            self._fail_start(Unavailable(f"{self.name} can't be started"))
            raise
        self._peer = peer = Peer(self.name, link)
        try:
            await self._live(peer)
        finally:
            self._stopping.set()
            if self._tongue is not None:
                self._tongue.end(gracefully=self._gracefully)
            await peer.end(self._why)
            state = await asyncio.shield(asyncio.create_task(link.stop()))
            self._log.info("stopped", server=self.name, why=self._why, state=state)
            words = link.last_words if self._ran_out else ""
            why = f"{self._why}: {words}" if words else self._why
            self._fail_start(Unavailable(f"{self.name} does not start: {why}"))

    async def _live(self, peer: Peer) -> None:
        greeting = asyncio.create_task(self._greet(peer))
        tasks: list[asyncio.Task[None]] = [
            greeting,
            asyncio.create_task(self._run(peer)),
            asyncio.create_task(self._wait_for_idle(peer)),
            asyncio.create_task(self._wait_for_stop()),
        ]
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if done != {greeting}:
                    return
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._log.info("session failed", server=self.name, error=repr(outcome))

    async def _run(self, peer: Peer) -> None:
        why = await peer.link.run()
        if not self._stopping.is_set():
            self._why, self._ran_out = why, True

    async def _greet(self, peer: Peer) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                self._tongue = await greeted(peer, Catalogue(peer, self._pins), self._room, self._is_modern)
        except TimeoutError:
            self._give_up(f"it said nothing within {START_SECONDS:.0f} s")
        except Answered as error:
            self._give_up(f"it refused to start: {error}")
        except (Broken, UpstreamError, Unavailable) as error:
            self._give_up(str(error))
        else:
            if not self._ready.done():
                self._ready.set_result(self._tongue)

    def _give_up(self, why: str) -> None:
        if not self._stopping.is_set():
            self._why = why[:300]
            self._stopping.set()

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _wait_for_idle(self, peer: Peer) -> None:
        while True:
            peer.touched.clear()
            if peer.flights or (self._tongue is not None and self._tongue.listeners):
                await peer.touched.wait()
                continue
            try:
                await asyncio.wait_for(peer.touched.wait(), self._idle)
            except TimeoutError:
                self._why, self._gracefully = "it was idle", True
                return

    def _fail_start(self, error: TauseError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # seen, even where nobody waits
