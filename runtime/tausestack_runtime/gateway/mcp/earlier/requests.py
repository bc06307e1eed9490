"""One request of an earlier client: what it means in 2026-07-28, and its answer in the client's own version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import structlog

from tausestack.contract import Principal
from tausestack.errors import INVALID_PARAMS, METHOD_NOT_FOUND, InternalError, InvalidRequest, TauseError, to_jsonrpc
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.call import NAMED, TOOLS_CALL, Outcome
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.discovery import capabilities_of
from tausestack_runtime.gateway.mcp.earlier.listening import Listening
from tausestack_runtime.gateway.mcp.earlier.relay import Relay, Relayed, opened
from tausestack_runtime.gateway.mcp.earlier.rounds import Renew, Rounds
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.store import State, States
from tausestack_runtime.gateway.mcp.earlier.translate import (
    LEVELS,
    RESOURCE_NOT_FOUND,
    earlier_error,
    earlier_result,
    modern_meta,
)
from tausestack_runtime.gateway.mcp.earlier.upstream import Place
from tausestack_runtime.gateway.mcp.earlier.works import Work
from tausestack_runtime.gateway.mcp.envelope import Message, Refused, check_form
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.subscriptions import owner
from tausestack_runtime.gateway.upstreams.replies import Answered

MAX_WATCHED = 256
"""How many resources one session may watch."""

MAX_URI = 8192
"""Characters of the name of a resource that is watched: it is kept with the session."""

_PASSED = frozenset(
    {
        TOOLS_CALL,
        "completion/complete",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "tools/list",
    }
)
_WITH_STATUS = frozenset({401, 403, 413, 429, 503})
"""Refusals that HTTP says too; to everything else an earlier client's transport would do more than it should."""

logger = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks: the session, the principal as of now, how to learn whether it still may, and what it sent."""

    session: Session
    principal: Principal
    renew: Renew
    size: int
    key: str | None
    exchange: Exchange


class Requests:
    """Answers the requests of earlier clients."""

    def __init__(self, methods: Methods, states: States, rounds: Rounds, relay: Relay, listening: Listening) -> None:
        self._methods = methods
        self._states = states
        self._rounds = rounds
        self._relay = relay
        self._listening = listening

    async def answer(self, asking: Asking, work: Work, message: dict[str, Any]) -> None:
        """Answer one request of a work: whatever goes wrong is the response."""
        try:
            request = Message(message, asking.size)
            check_form(request)
            told = {"result": await self._result(asking, work, request)}
        except TauseError as error:
            await self._methods.refuse(asking.exchange, error, str(message["method"]))
            told = {"error": _error(str(message["method"]), error)}
            if error.status in _WITH_STATUS and not work.batch and not isinstance(error, Answered):
                work.refusal = error
        except Exception:
            logger.exception("a request of an earlier client broke", method=str(message["method"])[:120])
            told = {"error": to_jsonrpc(InternalError("Something went wrong on our side; it is in the log"))}
        work.answer(orjson.dumps({"jsonrpc": "2.0", "id": message["id"], **told}))

    async def _result(self, asking: Asking, work: Work, request: Message) -> dict[str, Any]:
        session = asking.session
        if request.method == "ping":
            return {}
        state = await self._states.of(session)
        ask = self._ask(asking, state, work, request)
        if request.method == "logging/setLevel":
            return (await self._methods.own(ask, partial(self._set_level, asking, ask))).result
        if request.method in {"resources/subscribe", "resources/unsubscribe"}:
            return (await self._methods.own(ask, partial(self._watch, asking, ask))).result
        if request.method not in _PASSED:
            raise Refused(METHOD_NOT_FOUND, f"Method not found: {request.method[:120]}", request.id)
        named = NAMED.get(request.method)
        if named is not None and not isinstance(request.params.get(named), str):
            raise Refused(INVALID_PARAMS, f"params.{named} has to be a string", request.id)
        outcome = await self._rounds.answer(ask, work, asking.renew)
        result = outcome.result
        if request.method == "tools/list" and outcome.raw is not None:
            result = object_at(orjson.loads(outcome.raw), "result")
        return earlier_result(request.method, result, session.version)

    def _ask(self, asking: Asking, state: State, work: Work, request: Message) -> Ask:
        assert request.id is not None
        return Ask(
            principal=asking.principal,
            server=asking.session.server,
            id=request.id,
            method=request.method,
            params=request.params,
            meta=modern_meta(asking.session, state.level, request.meta),
            size=request.size,
            notify=work.tell,
            key=asking.key,
            send=self._relay.sender(asking.session, work),
        )

    async def _set_level(self, asking: Asking, ask: Ask) -> Outcome:
        level = ask.params.get("level")
        snapshot = await self._methods.snapshot(ask)
        if "logging" not in capabilities_of(snapshot, ask.server):
            raise Refused(METHOD_NOT_FOUND, "Method not found: logging/setLevel", ask.id)
        if level not in LEVELS:
            raise Refused(INVALID_PARAMS, f"params.level has to be one of {', '.join(LEVELS)}", ask.id)
        state = await self._states.change(asking.session, lambda state: replace(state, level=level))
        for place in opened(state, snapshot):
            if "logging" in place.installation.offer.capabilities:
                await self._relay.ask(asking.session, place, "logging/setLevel", {"level": level})
        return Outcome({})

    async def _watch(self, asking: Asking, ask: Ask) -> Outcome:
        """Answer `resources/subscribe` and `resources/unsubscribe`."""
        uri = ask.params.get("uri")
        if not isinstance(uri, str):
            raise Refused(INVALID_PARAMS, "params.uri has to be a string", ask.id)
        if len(uri) > MAX_URI:
            raise Refused(INVALID_PARAMS, f"params.uri may have {MAX_URI} characters at most", ask.id)
        snapshot = await self._methods.snapshot(ask)
        if object_at(capabilities_of(snapshot, ask.server), "resources").get("subscribe") is not True:
            raise Refused(METHOD_NOT_FOUND, f"Method not found: {ask.method}", ask.id)
        named = owner(ask, snapshot, "resourceSubscriptions", uri)
        if named is None:
            raise Refused(RESOURCE_NOT_FOUND, f"There is no resource '{uri[:200]}' that could be watched", ask.id)
        if named.installation.earlier is not None:
            place = Place(named.installation, snapshot.epoch)
            await self._relay.ask(asking.session, place, ask.method, {"uri": named.name})
        adds = ask.method == "resources/subscribe"

        def edit(state: State) -> State:
            watched = {*state.watched, uri} if adds else {*state.watched} - {uri}
            if len(watched) > MAX_WATCHED:
                raise InvalidRequest(f"A session may watch {MAX_WATCHED} resources at most")
            return replace(state, watched=tuple(sorted(watched)))

        await self._states.change(asking.session, edit)
        await self._listening.caught_up(asking.session)
        return Outcome({})


def _error(method: str, error: TauseError) -> dict[str, Any]:
    """Return an error in the words of the client's version; what a server said in them stays as it came."""
    if isinstance(error, Relayed):
        return error.error
    return earlier_error(method, error.error if isinstance(error, Answered) else to_jsonrpc(error))


def is_request(message: Any) -> bool:
    """Whether a message is a request."""
    one = as_object(message)
    return one is not None and "method" in one and "id" in one
