"""Speaking with a server that is modern itself: requests go through nearly as they are."""

from __future__ import annotations

from typing import Any

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_SERVER_META,
    MCP_VERSION_META,
    PROTOCOL_VERSION,
    VERSION,
)
from tausestack.errors import UNSUPPORTED_PROTOCOL_VERSION, Unavailable, UpstreamError
from tausestack.raw import as_array, object_at
from tausestack_runtime.adapters.asked import SUBSCRIPTION_META, Answered, Asked, Tell, unknown
from tausestack_runtime.adapters.session import attribution
from tausestack_runtime.adapters.session.catalogue import Catalogue
from tausestack_runtime.adapters.session.flight import Flight
from tausestack_runtime.adapters.session.listening import MAX_LISTENERS
from tausestack_runtime.adapters.session.peer import LISTEN, Broken, Peer
from tausestack_runtime.adapters.session.tongue import Said
from tausestack_runtime.adapters.translation import requests, results

OWN_META = {
    MCP_VERSION_META: PROTOCOL_VERSION,
    MCP_CAPABILITIES_META: {},
    MCP_CLIENT_META: {"name": "tausestack", "version": VERSION},
}
"""The `_meta` of what the host asks on its own account."""


class Modern:
    """A server that has answered `server/discover`."""

    def __init__(self, peer: Peer, said: Said, catalogue: Catalogue) -> None:
        self._peer = peer
        self.said, self.catalogue = said, catalogue
        self._info = results.short(said.info)
        peer.on_notification = self._noticed

    @classmethod
    async def made(cls, peer: Peer, catalogue: Catalogue, discovered: dict[str, Any]) -> Modern:
        """Take what a server said to `server/discover`, and read its tools."""
        peer.own_meta = OWN_META
        made = cls(peer, said(discovered), catalogue)
        if "tools" in made.said.capabilities:
            await catalogue.read()
        return made

    @property
    def listeners(self) -> int:
        """How many callers listen to the server."""
        return sum(flight.method == LISTEN for flight in self._peer.flights.values())

    def end(self, *, gracefully: bool) -> None:
        """End every stream of notifications."""
        if gracefully:
            for flight in self._peer.flights.values():
                if flight.method == LISTEN:
                    flight.end({"resultType": "complete"})

    async def request(self, asked: Asked, tell: Tell) -> dict[str, Any]:
        """Have the server serve a request, and return its result with the caller's own ids."""
        listens = asked.method == LISTEN
        if not listens and asked.method not in requests.NEEDS and asked.method != "server/discover":
            raise unknown(asked.method)
        if listens and self.listeners >= MAX_LISTENERS:
            raise Unavailable(f"{self._peer.name} has {MAX_LISTENERS} listeners already")
        tool = await self.catalogue.approved(asked.params.get("name")) if asked.method == "tools/call" else None
        flight = await self._peer.begin(asked.method, requests.modern(asked.params), asked, tool)
        try:
            result = await flight.follow(tell)
        except Answered as error:
            raise results.refusal(error, is_modern=True) from error
        except Broken as error:
            raise Broken(str(error), tool) from error
        finally:
            await self._peer.cancel(flight, "the caller went away")
        if result is None:
            raise UpstreamError(f"{self._peer.name} asked back on a way that the modern protocol does not have")
        if asked.method == "tools/list":
            result = self.catalogue.within_bounds(result)
        whole = results.complete(asked.method, result, self._info, self.said.capabilities)
        if listens:
            whole["_meta"] = {**object_at(whole, "_meta"), SUBSCRIPTION_META: asked.number}
        return whole

    def _noticed(self, method: str, params: dict[str, Any], origin: int | None) -> None:
        if method == "notifications/tools/list_changed":
            self.catalogue.changed()
        number = object_at(params, "_meta").get(SUBSCRIPTION_META)
        if type(number) is int:
            self._heard(method, params, self._peer.flights.get(number))
        elif method == "notifications/message":
            flight = attribution.hearer(self._peer.flights, origin, params)
            if flight is not None:
                flight.tell({"jsonrpc": "2.0", "method": method, "params": params})
        elif method == "notifications/cancelled" and type(params.get("requestId")) is int:
            ended = self._peer.flights.get(params["requestId"])
            if ended is not None and ended.method == LISTEN:
                ended.end({"resultType": "complete"})

    def _heard(self, method: str, params: dict[str, Any], flight: Flight | None) -> None:
        if flight is None or flight.method != LISTEN or flight.asked is None:
            return
        meta = {**object_at(params, "_meta"), SUBSCRIPTION_META: flight.asked.number}
        flight.tell({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}})


def said(discovered: dict[str, Any]) -> Said:
    """Return what a result of `server/discover` says, or raise `UpstreamError` where it is none that serves us."""
    versions = [str(version)[:40] for version in (as_array(discovered.get("supportedVersions")) or [])[:32]]
    if PROTOCOL_VERSION not in versions:
        raise UpstreamError(f"it speaks none of our versions, but {', '.join(versions) or 'nothing'}"[:300])
    instructions = discovered.get("instructions")
    return Said(
        info=object_at(discovered, "_meta", MCP_SERVER_META),
        capabilities=object_at(discovered, "capabilities"),
        instructions=instructions if isinstance(instructions, str) else None,
        protocols=sorted(versions, reverse=True),
        raw=discovered,
    )


def answers_modern(outcome: dict[str, Any] | Answered) -> bool:
    """Return whether what came of `server/discover` is a modern server's word, be it an error."""
    if isinstance(outcome, Answered):
        return outcome.error.get("code") == UNSUPPORTED_PROTOCOL_VERSION
    return as_array(outcome.get("supportedVersions")) is not None
