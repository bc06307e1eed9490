"""`subscriptions/listen` for servers that know only subscriptions of a session."""

from __future__ import annotations

import asyncio
from typing import Any

from tausestack.errors import DeadlineExceeded, Unavailable
from tausestack.raw import as_array, object_at
from tausestack_runtime.adapters.asked import SUBSCRIPTION_META, Answered, Asked, Tell
from tausestack_runtime.adapters.session.peer import Broken, Peer

MAX_LISTENERS = 256
MAX_URIS = 256
_LISTS = {"toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources"}


class _Listener:
    """One stream: what it wants to hear, and what it has not been told yet, each once."""

    def __init__(self, lists: set[str], uris: list[str]) -> None:
        self.lists, self.uris = lists, uris
        self.pending: dict[tuple[str, str], dict[str, Any]] = {}
        self.stir = asyncio.Event()

    def hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "notifications/resources/updated":
            uri = str(params.get("uri", ""))
            wanted = any(uri == one or uri.startswith(one.rstrip("/") + "/") for one in self.uris)
        else:
            uri, wanted = "", method in {f"notifications/{name}/list_changed" for name in self.lists}
        if wanted and len(self.pending) < MAX_URIS:
            self.pending[method, uri] = params
            self.stir.set()


class Listeners:
    """Everyone who listens to one server; it hears of each resource once, however many want it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._all: set[_Listener] = set()
        self._counts: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._ended: bool | None = None

    def __len__(self) -> int:
        return len(self._all)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification of the server's."""
        for listener in self._all:
            listener.hear(method, params)

    def end(self, *, gracefully: bool) -> None:
        """End every stream, with its result where the end is the host's own wish."""
        self._ended = gracefully
        for listener in self._all:
            listener.stir.set()

    async def listen(self, asked: Asked, tell: Tell, offered: dict[str, Any]) -> dict[str, Any]:
        """Tell a caller what he wants to hear until he goes away or the server ends; return the stream's result."""
        if len(self._all) >= MAX_LISTENERS:
            raise Unavailable(f"{self._peer.name} has {MAX_LISTENERS} listeners already")
        wanted = object_at(asked.params, "notifications")
        lists = {
            field: kind
            for field, kind in _LISTS.items()
            if wanted.get(field) is True and object_at(offered, kind).get("listChanged") is True
        }
        asked_for = [uri for uri in as_array(wanted.get("resourceSubscriptions")) or [] if isinstance(uri, str)]
        subscribes = object_at(offered, "resources").get("subscribe") is True
        uris = list(dict.fromkeys(asked_for))[:MAX_URIS] if subscribes else []
        listener = _Listener(set(lists.values()), [])
        self._all.add(listener)
        self._peer.touched.set()
        try:
            for uri in uris:
                if await self._subscribe(uri):
                    listener.uris.append(uri)
            agreed: dict[str, Any] = dict.fromkeys(lists, True)
            if listener.uris:
                agreed["resourceSubscriptions"] = listener.uris
            await tell(_tagged("notifications/subscriptions/acknowledged", {"notifications": agreed}, asked))
            return await self._relay(listener, asked, tell)
        finally:
            self._all.discard(listener)
            self._peer.touched.set()
            if self._peer.broken is None and listener.uris:
                self._peer.chore(self._unsubscribe(listener.uris))

    async def _relay(self, listener: _Listener, asked: Asked, tell: Tell) -> dict[str, Any]:
        while True:
            while listener.pending:
                key = next(iter(listener.pending))
                await tell(_tagged(key[0], listener.pending.pop(key), asked))
            if self._ended is True:
                return {"resultType": "complete", "_meta": {SUBSCRIPTION_META: asked.number}}
            if self._ended is False:
                raise Broken(f"{self._peer.name} broke off")
            listener.stir.clear()
            await listener.stir.wait()

    async def _subscribe(self, uri: str) -> bool:
        async with self._turn:
            if uri not in self._counts:
                try:
                    await self._peer.call("resources/subscribe", {"uri": uri})
                except (Answered, DeadlineExceeded):
                    return False  # the acknowledgement says which were agreed to
            self._counts[uri] = self._counts.get(uri, 0) + 1
            return True

    async def _unsubscribe(self, uris: list[str]) -> None:
        for uri in uris:
            async with self._turn:
                self._counts[uri] -= 1
                if self._counts[uri]:
                    continue
                del self._counts[uri]
                try:
                    await self._peer.call("resources/unsubscribe", {"uri": uri})
                except (Answered, DeadlineExceeded, Broken, Unavailable):
                    continue  # it goes on saying what nobody hears


def _tagged(method: str, params: dict[str, Any], asked: Asked) -> dict[str, Any]:
    meta = {**object_at(params, "_meta"), SUBSCRIPTION_META: asked.number}
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}
