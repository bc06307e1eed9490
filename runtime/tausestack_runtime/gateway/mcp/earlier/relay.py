"""The relay: an earlier client's requests to a remote server of an earlier version go to it as they are.

Each still goes through the pipeline as a call; what the server asks of its client, and tells it, passes live, its ids
marked with the server's name, so that several servers don't collide and any gateway can take the answer back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import orjson
import structlog

from tausestack.errors import TauseError
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.call import Call, Outcome, Send
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.mcp.earlier.conversation import Conversation
from tausestack_runtime.gateway.mcp.earlier.rounds import INPUT_SECONDS
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.store import State, States
from tausestack_runtime.gateway.mcp.earlier.translate import earlier_meta
from tausestack_runtime.gateway.mcp.earlier.upstream import Follow, Place, UpstreamSessions, own_uri
from tausestack_runtime.gateway.mcp.earlier.works import Work
from tausestack_runtime.gateway.mcp.naming import Outward
from tausestack_runtime.gateway.nesting import loads
from tausestack_runtime.gateway.snapshots import TenantSnapshot
from tausestack_runtime.gateway.upstreams.replies import Answered, disowned
from tausestack_runtime.gateway.upstreams.ways import Ways
from tausestack_runtime.gateway.upstreams.wire import Broken, TimedOut

RELAY_SECONDS = 900.0
"""How long a call may take in all whose server asks its client in between."""

_PREFIX = "s:"

logger = structlog.get_logger("gateway")


class Relayed(Answered):
    """A server of an earlier version answered with an error, in the words of its client's own version."""


class Relay:
    """Sends to servers of earlier versions what concerns them, in the client's sessions there."""

    def __init__(self, ways: Ways, states: States) -> None:
        self._states = states
        self._sessions = UpstreamSessions(ways, states)
        self._conversation = Conversation(self._sessions)

    def sender(self, session: Session, work: Work) -> Send:
        """Return how a call of a session is sent."""

        async def send(call: Call, installation: Installation, epoch: str) -> Outcome:
            return await self._sent(session, work, call, Place(installation, epoch))

        return send

    async def respond(self, session: Session, snapshot: TenantSnapshot, message: dict[str, Any]) -> None:
        """Give a client's response to the server that asked, if one did."""
        name, original = _asked_by(message.get("id"))
        installation = snapshot.installations.get(name)
        if installation is None:
            return
        if name not in (await self._states.of(session)).upstreams:
            self._states.forget(session)  # another gateway may just have begun the session in which it was asked
        if name in (await self._states.of(session)).upstreams:
            await self._conversation.tell(session, Place(installation, snapshot.epoch), {**message, "id": original})

    async def tell_all(self, session: Session, state: State, snapshot: TenantSnapshot, message: dict[str, Any]) -> None:
        """Pass a client's notification on to every server that it has a session at."""
        for place in opened(state, snapshot):
            try:
                await self._conversation.tell(session, place, message)
            except TauseError as error:
                logger.info("a notification was not heard", server=place.installation.name, error=error.message)

    async def ask(self, session: Session, place: Place, method: str, params: dict[str, Any]) -> None:
        """Ask a server for something that has an empty result; raises what it answers instead."""
        response = await self._conversation.ask(session, place, method, params)
        error = as_object(response.get("error"))
        if error is not None:
            raise Relayed(str(error.get("message") or f"{place.installation.name} refuses"), error, 200)

    async def end(self, session: Session, state: State, snapshot: TenantSnapshot) -> None:
        """End a client's sessions at servers."""
        await asyncio.gather(
            *(
                self._sessions.end(session, place, state.upstreams[place.installation.name])
                for place in opened(state, snapshot)
            )
        )

    def when_begun(self, follow: Follow) -> None:
        """Have something done after a session has begun at a server, before anything is asked of it there."""
        self._sessions.follow = follow

    async def listen(self, session: Session, place: Place) -> AsyncGenerator[dict[str, Any] | None]:
        """Yield None once it listens, then what a server tells or asks on its own account, as it leaves here."""
        async with aclosing(self._conversation.listen(session, place)) as messages:
            async for message in messages:
                yield None if message is None else await self._outward(session, place.installation, message)

    async def _sent(self, session: Session, work: Work, call: Call, place: Place) -> Outcome:
        meta = earlier_meta(call.meta)
        params = {**call.params(), **({"_meta": meta} if meta else {})}
        message = {"jsonrpc": "2.0", "id": call.wire_id(), "method": call.method, "params": params}
        latest = _now() + RELAY_SECONDS
        try:
            async with asyncio.timeout_at(call.deadline) as limit:
                found = self._conversation.exchange(session, place, message, latest, work.pause)
                async with aclosing(found) as messages:
                    async for each in messages:
                        if "method" not in each:
                            if each.get("id") == call.wire_id():
                                return _outcome(call, each)
                            continue
                        if "id" in each:  # a person may be asked, who takes the time that people take
                            limit.reschedule(min(_now() + INPUT_SECONDS, latest))
                        await work.tell(await self._outward(session, place.installation, each))
            raise Broken("the exchange ended without a response")
        except TimeoutError as error:
            await self._cancelled(session, call, place)
            raise TimedOut(f"{call.server} did not answer in time") from error
        except asyncio.CancelledError:
            await asyncio.shield(self._cancelled(session, call, place))
            raise

    async def _outward(self, session: Session, installation: Installation, message: dict[str, Any]) -> dict[str, Any]:
        return outward(session, (await self._states.of(session)).watched, installation, message)

    async def _cancelled(self, session: Session, call: Call, place: Place) -> None:
        """Tell a server that nobody waits for its answer any more."""
        params = {"requestId": call.wire_id()}
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        try:
            await self._conversation.tell(session, place, message)
        except TauseError as error:
            logger.info("a cancellation was not heard", server=call.server, error=error.message)


def opened(state: State, snapshot: TenantSnapshot) -> list[Place]:
    """Return the servers that a client has sessions at."""
    found = (snapshot.installations.get(name) for name in sorted(state.upstreams))
    return [Place(one, snapshot.epoch) for one in found if one is not None and one.earlier is not None]


def outward(
    session: Session, watched: Iterable[str], installation: Installation, message: dict[str, Any]
) -> dict[str, Any]:
    """Return a server's own message as its client gets it, who watches some resources."""
    message = disowned(message, "params")
    params = object_at(message, "params")
    if "id" in message:
        return {**message, "id": _marked(installation, message["id"])}
    if message.get("method") == "notifications/cancelled" and "requestId" in params:
        return {**message, "params": {**params, "requestId": _marked(installation, params["requestId"])}}
    if "uri" in params:
        asked = {own: uri for uri in watched if (own := own_uri(session, installation, uri)) is not None}
        names = Outward(installation.name, plain=session.server is not None or installation.default, asked=asked)
        return {**message, "params": names.resource(params)}
    return message


def _marked(installation: Installation, identifier: Any) -> str:
    return f"{_PREFIX}{installation.name}:{orjson.dumps(identifier).decode()}"


def _asked_by(identifier: Any) -> tuple[str, Any]:
    """Return the server that an id of a question names, and its own id; an empty name where it names none."""
    if not isinstance(identifier, str) or not identifier.startswith(_PREFIX):
        return "", None
    name, _, original = identifier.removeprefix(_PREFIX).partition(":")
    try:
        return name, loads(original.encode())
    except orjson.JSONDecodeError:
        return "", None


def _outcome(call: Call, response: dict[str, Any]) -> Outcome:
    result = as_object(response.get("result"))
    if result is not None:
        return Outcome(object_at(disowned(response, "result"), "result"))
    error = as_object(response.get("error")) or {"code": -32603, "message": f"{call.server} answered nothing"}
    raise Relayed(str(error.get("message") or f"{call.server} refused the call"), error, 200)


def _now() -> float:
    return asyncio.get_running_loop().time()
