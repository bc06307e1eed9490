"""A tenant's third-party servers: which run, how they are started, and what they may be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tausestack.contract import META_CALL, META_PREFIX, tool_policy
from tausestack.errors import Conflict, InDoubt, NotFound, TauseError, Unavailable, UpstreamError, tree
from tausestack.raw import as_object
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.pinning import digest
from tausestack_runtime.adapters.process import Launch, Log
from tausestack_runtime.adapters.session import Answered, Broken, Progress, Session

LaunchOf = Callable[[], Awaitable[Launch]]
"""Asks the registry how an installed server is started."""

ASKED = frozenset(
    {
        "tools/list", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/templates/list",
        "resources/read", "completion/complete",
    }
)  # fmt: skip
"""The methods that are passed on."""

_PROTOCOL_META = ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/client")


class Hosted:
    """The sessions of one tenant's servers, each started on its first request and again after its end."""

    def __init__(self, store: Path, wish: sandbox.Wish, log: Log, *, idle_seconds: float = 300.0) -> None:
        self._store, self._log, self._idle = store, log, idle_seconds
        self._wish: sandbox.Wish = wish
        self._sessions: dict[str, Session] = {}
        self._launches: dict[str, Launch] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def request(
        self, name: str, method: str, params: dict[str, Any], launch_of: LaunchOf, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Pass a request on to an installed server and return its raw result, complete in the modern sense.

        Raises `InDoubt` where the server broke off in the middle of a tool that does more than read, and `Answered`
        for an error of the server's own.
        """
        session = await self._session(name, launch_of)
        tool = _approved(session, params) if method == "tools/call" else None
        try:
            result = await session.request(method, _translated(params), progress)
        except Broken as error:
            if tool is None or tool_policy(_unsigned(tool)).retriable:
                raise Unavailable(f"{error}; nothing was changed") from error
            raise InDoubt(f"{error}: the call may or may not have taken effect") from error
        return _modern(result)

    async def probe(self, name: str, launch: Launch) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Start a server once, as it would be installed, and return what it says of itself and its raw tools."""
        session = self._start(name, launch)
        try:
            await session.ready()
            return session.initialized, session.tools
        finally:
            await session.stop()

    async def stop(self, name: str) -> bool:
        """End a server and forget how it is started; return whether it ran."""
        async with self._turn(name):
            self._launches.pop(name, None)
            session = self._sessions.pop(name, None)
        if session is None:
            return False
        ran = session.alive
        await session.stop()
        return ran

    async def aclose(self) -> None:
        """End every server."""
        await asyncio.gather(*(self.stop(name) for name in list(self._sessions)))

    def tier(self) -> sandbox.Tier:
        """Return the sandbox that servers run in, or raise `Unavailable` where there is none."""
        return sandbox.choose(self._wish)

    def running(self) -> dict[str, int]:
        """Return the process ids of the running servers by name."""
        found = {name: session.pid for name, session in self._sessions.items() if session.alive}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def _session(self, name: str, launch_of: LaunchOf) -> Session:
        async with self._turn(name):
            session = self._sessions.get(name)
            if session is None or not session.alive:
                launch = self._launches.get(name)
                if launch is None:
                    launch = self._launches[name] = await launch_of()
                session = self._sessions[name] = self._start(name, launch)
        await session.ready()
        return session

    def _start(self, name: str, launch: Launch) -> Session:
        return Session(name, launch, store=self._store, tier=self.tier(), log=self._log, idle_seconds=self._idle)

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())


def upstream_error(error: Answered) -> dict[str, Any]:
    """Return the JSON-RPC error of a server as it may leave: as it came, but never as one of our own."""
    raw = error.error
    code = (as_object(raw.get("data")) or {}).get("code")
    known = {kind.code for kind in tree(TauseError)}
    if isinstance(code, str) and code in known:
        return {**raw, "data": {"code": UpstreamError.code, "upstream": raw}}
    return raw


def _approved(session: Session, params: dict[str, Any]) -> dict[str, Any]:
    name = params.get("name")
    tool = next((tool for tool in session.tools if tool["name"] == name), None)
    if tool is None:
        raise NotFound(f"{session.name} has no tool of that name")
    pins = session.launch.pins
    if pins is not None and pins.get(str(name)) != digest(tool):
        raise Conflict(f"{session.name} now defines {name} otherwise than what was approved: approve it again")
    return tool


def _unsigned(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "_meta": _foreign(as_object(tool.get("_meta")) or {})}


def _foreign(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}


def _translated(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without what only the modern protocol or we put into `_meta`."""
    meta = {
        key: value
        for key, value in _foreign(as_object(params.get("_meta")) or {}).items()
        if not key.startswith(_PROTOCOL_META) and key != "progressToken"
    }
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return {**rest, "_meta": meta} if meta else rest


def _modern(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result as the modern protocol has it, with nothing in it that speaks in our name."""
    meta = as_object(result.get("_meta"))
    if meta is not None and any(key.startswith(META_PREFIX) for key in meta):
        result = {**result, "_meta": _foreign(meta)}
    return result if "resultType" in result else {**result, "resultType": "complete"}


def call_id(params: dict[str, Any]) -> str | None:
    """Return the gateway's id of the call that a request serves."""
    found = (as_object(params.get("_meta")) or {}).get(META_CALL)
    return found if isinstance(found, str) else None
