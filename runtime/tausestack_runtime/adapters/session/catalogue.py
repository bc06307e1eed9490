"""The tools that a server offers, as it defines them now, and which of them may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tausestack.errors import Conflict, NotFound, UpstreamError
from tausestack.raw import objects_in
from tausestack_runtime.adapters.bounds import MAX_TOOLS, trouble, within_bounds
from tausestack_runtime.adapters.pinning import digest
from tausestack_runtime.adapters.session.peer import Peer


@dataclass(frozen=True)
class _Definition:
    raw: dict[str, Any]
    trouble: str | None
    sha256: str


class Catalogue:
    """A server's tools, read when it starts and again when it says that they have changed."""

    def __init__(self, peer: Peer, pins: Mapping[str, str] | None) -> None:
        self._peer, self._pins = peer, pins
        self._tools: dict[str, _Definition] = {}
        self._stale = self._untold = False
        self.listed: list[dict[str, Any]] = []
        """The raw definitions, every one, in the server's order."""

    def changed(self) -> None:
        """Read the definitions again before the next call."""
        self._stale = True

    async def read(self) -> None:
        """Ask the server for its definitions; raises `UpstreamError` where there are too many."""
        self._stale = False
        found = await read_all(self._peer, "tools/list", "tools", MAX_TOOLS)
        if len(found) > MAX_TOOLS:
            raise UpstreamError(f"it lists more than {MAX_TOOLS} tools")
        self.listed = found
        self._tools = {str(tool.get("name")): _defined(tool) for tool in found}
        self._untold = any(self._is_new(name, tool) for name, tool in self._tools.items())

    def news(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]] | None:
        """Return what the server has now, and what of it is left out, once where it is not all as it was approved."""
        if not self._untold:
            return None
        self._untold = False
        return within_bounds(self.listed)

    async def fresh(self) -> None:
        """Read the definitions again where the server has said that they have changed."""
        if self._stale:
            await self.read()

    async def approved(self, name: Any) -> dict[str, Any]:
        """Return the definition of a tool that is about to be called, or raise why it may not be."""
        await self.fresh()
        tool = self._tools.get(str(name))
        if tool is None:
            raise NotFound(f"{self._peer.name} has no tool of that name")
        if tool.trouble is not None:
            raise Conflict(f"{self._peer.name} can't be asked for {str(name)[:80]}: {tool.trouble}")
        if self._pins is not None and self._pins.get(str(name)) != tool.sha256:
            raise Conflict(f"{self._peer.name} now defines {name} otherwise than what was approved: approve it again")
        return tool.raw

    def within_bounds(self, result: dict[str, Any]) -> dict[str, Any]:
        """Take a page of `tools/list`, and return it without the tools that are out of bounds."""
        page = [_defined(tool) for tool in objects_in(result.get("tools"))[:MAX_TOOLS]]
        fine = [one.raw for one in page if one.trouble is None]
        for one in page:
            name = str(one.raw.get("name"))
            if len(self._tools) < MAX_TOOLS or name in self._tools:
                self._untold = self._untold or (self._tools.get(name) != one and self._is_new(name, one))
                self._tools[name] = one
        return {**result, "tools": fine}

    def _is_new(self, name: str, tool: _Definition) -> bool:
        return self._pins is not None and self._pins.get(name) != tool.sha256


def _defined(tool: dict[str, Any]) -> _Definition:
    return _Definition(tool, trouble(tool), digest(tool))


async def read_all(peer: Peer, method: str, field: str, most: int) -> list[dict[str, Any]]:
    """Return the items of every page of a list, or of as many as it takes to have more than `most`.

    An empty cursor is one like others, but some servers mean the end by it: they then begin anew. Raises
    `UpstreamError` where a page points to one that was there already, and where there are more pages than items are
    taken.
    """
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    seen: set[str] = set()
    while True:
        page = await peer.call(method, params)
        items = objects_in(page.get(field))
        if params.get("cursor") == "" and items == found[: len(items)]:
            return found
        found += items
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or len(found) > most:
            return found
        if cursor in seen:
            raise UpstreamError(f"the pages of its {method} go round in a circle")
        if len(seen) > most:
            raise UpstreamError(f"the pages of its {method} do not end")
        seen.add(cursor)
        params = {"cursor": cursor}
