"""The tools that a server offers, as it defines them now, and which of them may be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tausestack.errors import Conflict, NotFound, UpstreamError
from tausestack.raw import objects_in
from tausestack_runtime.adapters.bounds import MAX_TOOLS, trouble
from tausestack_runtime.adapters.pinning import digest
from tausestack_runtime.adapters.session.peer import Peer


class Catalogue:
    """A server's tools, read when it starts and again when it says that they have changed."""

    def __init__(self, peer: Peer, pins: Mapping[str, str] | None) -> None:
        self._peer, self._pins = peer, pins
        self._tools: dict[str, dict[str, Any]] = {}
        self._stale = False

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The raw definitions, in the server's order."""
        return list(self._tools.values())

    def changed(self) -> None:
        """Read the definitions again before the next call."""
        self._stale = True

    async def read(self) -> None:
        """Ask the server for its definitions; raises `UpstreamError` where there are too many."""
        self._stale = False
        found = await read_all(self._peer, "tools/list", "tools", MAX_TOOLS)
        if len(found) > MAX_TOOLS:
            raise UpstreamError(f"it lists more than {MAX_TOOLS} tools")
        self._tools = {str(tool.get("name")): tool for tool in found}

    async def approved(self, name: Any) -> dict[str, Any]:
        """Return the definition of a tool that is about to be called, or raise why it may not be."""
        if self._stale:
            await self.read()
        tool = self._tools.get(str(name))
        if tool is None:
            raise NotFound(f"{self._peer.name} has no tool of that name")
        wrong = trouble(tool)
        if wrong is not None:
            raise Conflict(f"{self._peer.name} can't be asked this: {wrong}")
        if self._pins is not None and self._pins.get(str(name)) != digest(tool):
            raise Conflict(f"{self._peer.name} now defines {name} otherwise than what was approved: approve it again")
        return tool

    def listed(self, result: dict[str, Any]) -> dict[str, Any]:
        """Take a page of `tools/list`, and return it without the tools that are out of bounds."""
        page = [tool for tool in objects_in(result.get("tools")) if trouble(tool) is None]
        for tool in page:
            if len(self._tools) < MAX_TOOLS or tool["name"] in self._tools:
                self._tools[tool["name"]] = tool
        return {**result, "tools": page[:MAX_TOOLS]}


async def read_all(peer: Peer, method: str, field: str, most: int) -> list[dict[str, Any]]:
    """Return the items of every page of a list, or of as many as it takes to have more than `most`."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for _ in range(most + 1):
        page = await peer.call(method, params)
        found += objects_in(page.get(field))
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or len(found) > most or cursor == params.get("cursor"):
            break
        params = {"cursor": cursor}
    return found
