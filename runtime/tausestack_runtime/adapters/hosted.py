"""A tenant's third-party servers: which run, how they are started, and what they may be asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tausestack.contract import PROTOCOL_VERSION, tool_policy
from tausestack.errors import InDoubt, TauseError, Unavailable
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.again import stored
from tausestack_runtime.adapters.asked import Answered, Asked, Tell
from tausestack_runtime.adapters.bounds import MAX_OFFER_BYTES, MAX_OFFERED, capped, within_bounds
from tausestack_runtime.adapters.folders import Folders
from tausestack_runtime.adapters.launches import Launch, Remote, is_modern
from tausestack_runtime.adapters.remote.link import RemoteLink
from tausestack_runtime.adapters.session.peer import Broken, Expired
from tausestack_runtime.adapters.session.session import Connect, Session
from tausestack_runtime.adapters.session.waiting import WAIT_SECONDS, YIELD_SECONDS, WaitingRoom
from tausestack_runtime.adapters.stdio.link import StdioLink
from tausestack_runtime.adapters.stdio.process import Child, Log
from tausestack_runtime.adapters.translation.requests import foreign
from tausestack_runtime.egress import Egress

MAX_KILLED = 2
"""How many times in a row a server that is killed while it starts is started again before its caller is told."""
_LISTED = (
    ("prompts", "prompts/list"),
    ("resources", "resources/list"),
    ("resourceTemplates", "resources/templates/list"),
)


class Registry(Protocol):
    """The registry, as it may be asked and told within one request."""

    async def launch(self, name: str) -> Launch | Remote:
        """Return how an installed server is started."""
        ...

    async def observed(self, name: str, tools: list[dict[str, Any]], left_out: list[dict[str, str]]) -> None:
        """Tell the tools that a server has now."""
        ...


class Unasked(Unavailable):
    """The registry could not say how a server is started, in the course of one caller's request."""


@dataclass(frozen=True)
class Probe:
    """What a server said when it was started, or reached, once."""

    server: dict[str, Any]
    tools: list[dict[str, Any]]
    protocols: list[str]
    offer: dict[str, Any]
    left_out: list[dict[str, str]]
    """Its tools that are out of bounds: name and reason."""
    url: str | None
    """Where it was found, where it is at a URL: it may have moved within its origin."""


class Hosted:
    """The sessions of one tenant's servers, each started on its first request and again after its end."""

    def __init__(
        self, store: Path, wish: sandbox.Wish, log: Log, *, folders: Folders | None = None,
        egress: Egress | None = None, idle_seconds: float = 300.0, wait_seconds: float = WAIT_SECONDS,
        yield_seconds: float = YIELD_SECONDS,
    ) -> None:  # fmt: skip
        self._store, self._log, self._idle, self._folders = store, log, idle_seconds, folders
        self._wish: sandbox.Wish = wish
        self._egress = egress or Egress()
        self._room = WaitingRoom(wait_seconds, yield_seconds)
        self._sessions: dict[str, Session] = {}
        self._launches: dict[str, Launch | Remote] = {}
        self._starting: dict[str, asyncio.Task[Session]] = {}

    async def request(self, name: str, asked: Asked, registry: Registry, tell: Tell) -> dict[str, Any]:
        """Have an installed server serve a request and return its result, complete in the modern sense.

        Where it has other tools than those approved, the registry is told of them first. What only reads is asked once
        more where the server was killed.
        Raises `InDoubt` where the server broke off in the middle of a tool that does more than read, and `Answered`
        for an error of the server's own.
        """
        for again in (True, False):
            session = await self._session(name, registry)
            try:
                return await self._asked(session, asked, registry, tell)
            except Expired as error:
                await session.stop()
                if not again:
                    raise Unavailable(f"{name} ends every session at once") from error
            except Broken as error:
                if not _only_reads(error.tool):
                    raise InDoubt(f"{error}: the call may or may not have taken effect") from error
                await session.stop()
                if not (again and session.killed):
                    raise Unavailable(f"{error}; nothing was changed") from error
        raise AssertionError  # the second time has returned or raised

    async def _asked(self, session: Session, asked: Asked, registry: Registry, tell: Tell) -> dict[str, Any]:
        if asked.method.startswith("tools/"):
            await session.settled()
        news = session.news()
        if news is not None:
            try:
                await registry.observed(session.name, *news)
            except TauseError as error:
                # What was not approved is refused all the same; it is told of again when the server starts again.
                self._log.info("changed tools could not be told", server=session.name, error=error.message)
        return await session.request(asked, tell)

    async def probe(self, name: str, launch: Launch | Remote) -> Probe:
        """Start a server once, or reach it, as it would be installed, and return what it says of itself.

        Raises `Unavailable` for a server that does not start, or that lists more than anybody takes.
        """
        session = await self._started(name, launch, lasting=False)
        protocols = session.said.protocols
        url = session.url
        if isinstance(launch, Remote) and PROTOCOL_VERSION in protocols:
            protocols = [*protocols, *await self._earlier(name, replace(launch, url=url or launch.url))]
        try:
            offer = await _offer(session)
            await session.settled()
            tools, left_out = within_bounds(session.tools)
            return Probe(_initialized(session), tools, _newest_first(protocols), offer, left_out, url)
        finally:
            await session.stop()

    async def stop(self, name: str, *, purge: bool = False) -> bool:
        """End a server and forget how it is started; return whether it ran. `purge` removes what it has written."""
        starting = self._starting.get(name)
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        self._launches.pop(name, None)
        session = self._sessions.pop(name, None)
        ran = session is not None and session.alive
        if session is not None:
            await session.stop()
        if purge and self._folders is not None:
            await self._folders.remove(name)
        return ran

    async def aclose(self) -> None:
        """End every server."""
        await asyncio.gather(*(self.stop(name) for name in {*self._sessions, *self._starting}))
        await self._room.aclose()

    def tier(self) -> sandbox.Tier:
        """Return the sandbox that servers run in, or raise `Unavailable` where there is none."""
        return sandbox.choose(self._wish)

    def running(self) -> dict[str, int]:
        """Return the process ids of the running servers by name."""
        found = {name: session.pid for name, session in self._sessions.items() if session.alive}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def _session(self, name: str, registry: Registry) -> Session:
        session = self._sessions.get(name)
        if session is not None and session.alive:
            return session
        begun = self._starting.get(name)
        if begun is not None:
            with suppress(Unasked):  # it was asked for another caller, whose gateway may have gone: now for this one
                return await _awaited(name, begun)
        starting = self._starting.get(name)
        if starting is None:
            starting = self._starting[name] = asyncio.create_task(self._start(name, registry))
            starting.add_done_callback(lambda _: self._starting.pop(name, None))
        return await _awaited(name, starting)

    async def _start(self, name: str, registry: Registry) -> Session:
        try:
            launch = self._launches.get(name) or await registry.launch(name)
        except (InDoubt, Unavailable) as error:
            raise Unasked(f"how {name} is started could not be asked: {error.message}") from error
        session = self._sessions[name] = await self._started(name, launch, lasting=True)
        # How it speaks is asked once.
        self._launches[name] = replace(launch, protocols=tuple(session.said.protocols))
        return session

    async def _started(self, name: str, launch: Launch | Remote, *, lasting: bool, killed: int = 0) -> Session:
        speaks = is_modern(launch)
        connect = await self._connect(name, launch, lasting=lasting)
        session = self._open(name, connect, launch, speaks)
        try:
            await session.ready()
        except BaseException as error:
            await session.stop()
            if isinstance(error, Unavailable) and session.killed and killed < MAX_KILLED:
                return await self._started(name, launch, lasting=lasting, killed=killed + 1)
            if not isinstance(error, Unavailable) or speaks is not None or not session.ended_unasked:
                raise
            # It may be one that can't bear to be asked how it speaks.
            return await self._started(name, replace(launch, protocols=("",)), lasting=lasting)
        return session

    async def _earlier(self, name: str, launch: Remote) -> list[str]:
        """Return the earlier version that a modern server at a URL speaks too, where it does, in sessions.

        One that keeps none can't ask its client anything in it, which it can in the modern version.
        """
        link = RemoteLink(launch, self._egress)

        async def reached() -> RemoteLink:
            return link

        session = self._open(name, reached, launch, False)
        try:
            await session.ready()
            return session.said.protocols if link.keeps_session else []
        except Unavailable:
            return []
        finally:
            await session.stop()

    def _open(self, name: str, connect: Connect, launch: Launch | Remote, speaks: bool | None) -> Session:
        return Session(
            name, connect, log=self._log, room=self._room, pins=launch.pins, is_modern=speaks, idle_seconds=self._idle
        )

    async def _connect(self, name: str, launch: Launch | Remote, *, lasting: bool) -> Connect:
        if isinstance(launch, Remote):
            return partial(_reached, launch, self._egress)
        tier = self.tier()
        folder = await self._folders.make(name) if lasting and self._folders is not None else None

        async def connected() -> StdioLink:
            return StdioLink(await Child.start(await stored(self._store, launch), self._store, tier, self._log, folder))

        return connected


async def _awaited(name: str, starting: asyncio.Task[Session]) -> Session:
    """Wait for a start, which a caller's going away does not end: others wait for it too."""
    await asyncio.wait({starting})
    if starting.cancelled():
        raise Unavailable(f"{name} was stopped")
    return starting.result()


def _only_reads(tool: dict[str, Any] | None) -> bool:
    """Return whether a request may be made again: it calls no tool, or one that says so."""
    return tool is None or tool_policy({**tool, "_meta": foreign(tool.get("_meta") or {})}).retriable


async def _reached(launch: Remote, egress: Egress) -> RemoteLink:
    return RemoteLink(launch, egress)


def _newest_first(protocols: list[str]) -> list[str]:
    return sorted(set(protocols), reverse=True)


def _initialized(session: Session) -> dict[str, Any]:
    """Return what a server says of itself in the words of `initialize`, whichever way it speaks."""
    said = session.said
    told: dict[str, Any] = {
        "protocolVersion": said.protocols[0],
        "capabilities": said.raw.get("capabilities", {}),
        "serverInfo": said.info,
    }
    return told if said.instructions is None else {**told, "instructions": said.instructions}


async def _offer(session: Session) -> dict[str, Any]:
    """Return what a server offers beside its tools, as much as an installation keeps."""
    said = session.said
    offer: dict[str, Any] = {
        "serverInfo": said.info,
        "capabilities": said.capabilities,
        "instructions": None if said.instructions is None else said.instructions[: MAX_OFFER_BYTES // 16],
    }
    for field, method in _LISTED:
        offer[field] = []
        if method.partition("/")[0] in said.capabilities:
            try:
                offer[field] = capped(await session.offered(method, field, MAX_OFFERED), MAX_OFFER_BYTES // 4)
            except (Answered, TauseError, Broken):
                continue  # what it offers but does not list is asked for when somebody wants it
    return offer
