"""Sessions with servers of a store, without the host around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tausestack.contract import MCP_CAPABILITIES_META, MCP_VERSION_META, PROTOCOL_VERSION
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.asked import Asked
from tausestack_runtime.adapters.launches import Launch, is_modern
from tausestack_runtime.adapters.session.session import Session
from tausestack_runtime.adapters.session.waiting import WaitingRoom
from tausestack_runtime.adapters.stdio.link import StdioLink
from tausestack_runtime.adapters.stdio.process import Child, Log


class SessionCaller:
    """One caller of a session, who asks one thing after another."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.news: list[dict[str, Any]] = []

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.request("tools/call", {"name": name, "arguments": arguments})

    async def request(self, method: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
        own = {MCP_VERSION_META: PROTOCOL_VERSION, MCP_CAPABILITIES_META: {}, **meta}
        return await self.session.request(Asked("r-1", method, {**params, "_meta": own}, "somebody"), self.heard)

    async def heard(self, notification: dict[str, Any]) -> None:
        self.news.append(notification)


def open_session(
    wanted: Launch, store: Path, tier: sandbox.Tier, log: Log, *, idle: float = 60.0, folder: Path | None = None
) -> Session:
    """Start a package of a store."""

    async def connect() -> StdioLink:
        return StdioLink(await Child.start(wanted, store, tier, log, folder))

    return Session(
        wanted.identifier, connect, log=log, room=WaitingRoom(), is_modern=is_modern(wanted), idle_seconds=idle
    )
