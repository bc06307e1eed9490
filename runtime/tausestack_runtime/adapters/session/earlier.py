"""Speaking with a server of an earlier version as though it were a modern one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tausestack.errors import (
    INTERNAL_ERROR,
    MISSING_CLIENT_CAPABILITY,
    DeadlineExceeded,
    UpstreamError,
)
from tausestack.raw import as_object, object_at
from tausestack_runtime.adapters.asked import LEVELS, Answered, Asked, Tell, unknown
from tausestack_runtime.adapters.session import attribution
from tausestack_runtime.adapters.session.catalogue import Catalogue
from tausestack_runtime.adapters.session.flight import Flight, Question
from tausestack_runtime.adapters.session.listening import Listeners
from tausestack_runtime.adapters.session.peer import Broken, Peer
from tausestack_runtime.adapters.session.roots import Roots
from tausestack_runtime.adapters.session.tongue import Said
from tausestack_runtime.adapters.session.waiting import WaitingRoom, give_up
from tausestack_runtime.adapters.translation import questions, requests, results

_DECLARED = frozenset({"tools", "prompts", "resources"})
SETTLE_SECONDS = 0.02
"""How long to wait for more questions once a server has asked one, so that they go out together."""


class Earlier:
    """A greeted server of an earlier version."""

    def __init__(self, peer: Peer, said: Said, catalogue: Catalogue, room: WaitingRoom) -> None:
        self._peer, self._room = peer, room
        self.said, self.catalogue = said, catalogue
        self._info = results.short(said.info)
        self._heard, self._roots = Listeners(peer), Roots(peer)
        self._level: int | None = None
        peer.on_request, peer.on_notification = self._questioned, self._noticed

    @classmethod
    async def greet(cls, peer: Peer, catalogue: Catalogue, room: WaitingRoom, seconds: float) -> Earlier:
        """Open the session by `initialize`; raises `UpstreamError` where the server speaks no version that we know."""
        raw = await peer.call("initialize", requests.hello(), seconds)
        version = raw.get("protocolVersion")
        if version not in requests.EARLIER:
            raise UpstreamError(f"it speaks version {str(version)[:40]}, which nobody knows")
        instructions = raw.get("instructions")
        said = Said(
            info=object_at(raw, "serverInfo"),
            capabilities=results.capabilities(object_at(raw, "capabilities")),
            instructions=instructions if isinstance(instructions, str) else None,
            protocols=[str(version)],
            raw=raw,
        )
        made = cls(peer, said, catalogue, room)
        await peer.notify("notifications/initialized")
        if "tools" in said.capabilities:
            await catalogue.read()
        elif not said.capabilities.keys() & _DECLARED:
            await made._ask_for_tools()
        return made

    async def _ask_for_tools(self) -> None:
        """Ask a server that declares nothing for its tools all the same: some have them, and clients find them."""
        with suppress(Answered, DeadlineExceeded):
            await self.catalogue.read()
        if self.catalogue.listed:
            self.said.capabilities["tools"] = {}

    @property
    def listeners(self) -> int:
        """How many callers listen to the server."""
        return len(self._heard)

    def end(self, *, gracefully: bool) -> None:
        """End every stream of notifications."""
        self._heard.end(gracefully=gracefully)

    async def request(self, asked: Asked, tell: Tell) -> dict[str, Any]:
        """Have the server serve a request, and return its modern result."""
        offered = self.said.capabilities
        if asked.method == "server/discover":
            return results.discovered(self._info, offered, self.said.instructions)
        if asked.method == "subscriptions/listen":
            return await self._heard.listen(asked, tell, offered)
        if requests.NEEDS.get(asked.method) not in offered:
            raise unknown(asked.method)
        first = await self._roots.belong(asked)
        if first is not None:
            return self._room.again(self._peer.name, asked, first)
        if "requestState" in asked.params:
            back = await self._room.back(self._peer.name, asked)
            self._roots.given(asked)
            if back is not None:
                return await self._attend(back[0], back[1], asked, tell)
        tool = await self.catalogue.approved(asked.params.get("name")) if asked.method == "tools/call" else None
        if asked.level is not None:
            await self._listen_at(asked.level)
        params = requests.earlier(asked.params)
        if tool is not None and object_at(tool, "execution").get("taskSupport") == "required":
            flight = await self._as_task(params, asked, tool)
        else:
            flight = await self._peer.begin(asked.method, params, asked, tool)
        return await self._attend(self._peer, flight, asked, tell)

    async def _as_task(self, params: dict[str, Any], asked: Asked, tool: dict[str, Any]) -> Flight:
        """Begin a call that its server takes as a task alone, and return the flight of what comes of the task."""
        try:
            made = await self._peer.call("tools/call", {**params, "task": {}})
        except Answered as error:
            raise results.refusal(error, is_modern=False) from error
        except Broken as error:
            raise Broken(str(error), tool) from error
        task = object_at(made, "task").get("taskId")
        if not isinstance(task, str):
            raise UpstreamError(f"{self._peer.name} made no task of a call that it takes as a task alone")
        flight = await self._peer.begin(requests.TASK_RESULT, {"taskId": task}, asked, tool)
        flight.task = task
        return flight

    async def _attend(self, peer: Peer, flight: Flight, asked: Asked, tell: Tell) -> dict[str, Any]:
        try:
            result = await flight.follow(tell)
            if result is None:
                await asyncio.sleep(SETTLE_SECONDS)
                if not flight.done:
                    return self._room.leave(peer.name, peer, flight, asked)
                result = flight.answer.result()
        except Answered as error:
            await give_up(peer, flight, "the call has ended")
            return self._turned_away(error, asked)
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            await give_up(peer, flight, "the caller went away" if gone else "the call can't be kept")
            if isinstance(error, Broken) and flight.tool is not None:
                raise Broken(str(error), flight.tool) from error
            raise
        await give_up(peer, flight, "the call has ended")
        if result.get("nextCursor") == "":
            result = {name: each for name, each in result.items() if name != "nextCursor"}  # they mean the end by it
        if asked.method == "tools/list":
            result = self.catalogue.within_bounds(result)
        return results.complete(asked.method, result, self._info, self.said.capabilities)

    def _turned_away(self, error: Answered, asked: Asked) -> dict[str, Any]:
        """Return what comes of a server's error: where it asks for a page to be visited first, the question."""
        pages = results.urls_to_visit(error.error)
        if not pages:
            raise results.refusal(error, is_modern=False) from error
        wanted = questions.needed(questions.ELICIT, {"mode": "url"})
        if not questions.can_answer(asked.capabilities, wanted):
            missing = {"code": MISSING_CLIENT_CAPABILITY, "message": str(error)}
            raise Answered({**missing, "data": {"requiredCapabilities": wanted}}) from error
        asks = {
            f"question-{number}": questions.as_input_request(questions.ELICIT, {"mode": "url", **page}, {})
            for number, page in enumerate(pages, 1)
        }
        return self._room.again(self._peer.name, asked, asks)

    async def _listen_at(self, level: int) -> None:
        """Have the server log as much as the caller wants, if less is what it does now."""
        heard = [one.asked.level for one in self._peer.flights.values() if one.asked is not None]
        wanted = min([level, *(one for one in heard if one is not None)])
        if "logging" not in self.said.capabilities or wanted == self._level:
            return
        self._level = wanted
        try:
            await self._peer.call("logging/setLevel", {"level": LEVELS[wanted]})
        except (Answered, DeadlineExceeded):
            self._level = None  # the next caller tries again

    async def _questioned(self, method: str, params: dict[str, Any], number: str | int, origin: int | None) -> None:
        if method == "ping":
            await self._peer.reply(number, {"result": {}})
            return
        if method not in questions.KNOWN:
            await self._peer.reply(number, {"error": attribution.unsupported(method)})
            return
        if method == questions.ROOTS and await self._roots.answered(number, origin):
            return
        wanted = questions.needed(method, params)
        found = attribution.whose(self._peer.flights, origin, wanted, method)
        if not isinstance(found, Flight):
            await self._peer.reply(number, {"error": self._busy(found, wanted)})
        elif not found.question(Question(number, method, params)):
            full = {"code": INTERNAL_ERROR, "message": "this call has asked too much already"}
            await self._peer.reply(number, {"error": full})

    def _busy(self, refused: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        """Return what a server gets that can't ask now, and until when, where that is for another's open question."""
        asking = attribution.asking(self._peer.flights, wanted)
        left = self._room.hurry(self._peer, asking) if asking and refused["code"] == INTERNAL_ERROR else None
        if left is None:
            return refused
        told = f"{refused['message']}; another caller's question is open here for up to {left} s: try again then"
        return {**refused, "message": told, "data": {"retry_after": left}}

    def _noticed(self, method: str, params: dict[str, Any], origin: int | None) -> None:
        if method == "notifications/message":
            flight = attribution.hearer(self._peer.flights, origin, params)
            if flight is not None:
                flight.tell({"jsonrpc": "2.0", "method": method, "params": params})
        elif method == "notifications/cancelled":
            for flight in self._peer.flights.values():
                flight.withdraw(params.get("requestId"))
        else:
            if method == "notifications/tools/list_changed":
                self.catalogue.changed()
            self._heard.hear(method, as_object(params) or {})
