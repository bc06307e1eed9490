"""What a server's reply comes to: an outcome, or the error that it stands for."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tausestack.contract import META_PREFIX
from tausestack.errors import TauseError, UpstreamError, from_data
from tausestack.raw import as_object
from tausestack_runtime.events import event_payloads
from tausestack_runtime.gateway.call import Call, Outcome
from tausestack_runtime.gateway.crowd import LIGHT, Turns
from tausestack_runtime.gateway.nesting import MAX_MARKS, is_vast, loads, says_else
from tausestack_runtime.gateway.upstreams.breaker import Speechless
from tausestack_runtime.gateway.upstreams.wire import Broken, NotSent, Reply

_EVENTS = b"text/event-stream"
_RESPONSE = frozenset({"jsonrpc", "id", "result"})
_SAID = frozenset({"result", "error"})


class Answered(UpstreamError):
    """The server answered with a JSON-RPC error of its own, which goes on as it came, with its HTTP status."""

    def __init__(self, message: str, error: dict[str, Any], http: int) -> None:
        super().__init__(message, upstream=error)
        self.error = error
        self.http = http if 400 <= http < 500 else 200


class Restarting(NotSent):
    """Whatever answers for a server of ours says by HTTP 503 that it will serve later; the message says so to people.

    A third party's 503 is none: some proxies answer so where the server broke off in the middle of a call.
    """


def outcome_at_hand(call: Call, reply: Reply, foreign: bool) -> Outcome | None:
    """Return the outcome in a reply that is there whole, as most are, else None."""
    if reply.headers.get(b"content-type", b"").startswith(_EVENTS):
        return None
    whole = reply.ready()
    if whole is None:
        return None
    return _outcome(call, whole, _read(call, whole, foreign, reply.status), foreign, reply.status)


async def outcome_of(call: Call, reply: Reply, foreign: bool, turns: Turns) -> Outcome:
    """Read a reply to its response, and pass on what the server tells before it; large ones are read in turn."""
    if not reply.headers.get(b"content-type", b"").startswith(_EVENTS):
        raw = await reply.read()
        if reply.open_ended and reply.status < 300:
            check_whole(raw)
        message = await _read_in_turn(call, raw, foreign, turns, reply.status)
        return await _outcome_in_turn(call, raw, message, foreign, reply.status)
    try:
        return await _heard(call, reply, foreign, turns)
    finally:
        await reply.aclose()


async def _read_in_turn(call: Call, raw: bytes, foreign: bool, turns: Turns, status: int = 200) -> dict[str, Any]:
    """Read a message; to gather, to read and to answer with ten megabytes are each as much as others may wait for."""
    if len(raw) > LIGHT:
        await turns.next(call.tenant, raw)
    return _read(call, raw, foreign, status)


async def _outcome_in_turn(
    call: Call, raw: bytes, message: dict[str, Any], foreign: bool, status: int = 200
) -> Outcome:
    if len(raw) <= LIGHT:
        return _outcome(call, raw, message, foreign, status)
    await asyncio.sleep(0)
    outcome = _outcome(call, raw, message, foreign, status)
    await asyncio.sleep(0)
    return outcome


def check_whole(raw: bytes) -> None:
    """Raise `Broken` for what may have been cut: JSON that was is JSON no more."""
    try:
        loads(raw)
    except orjson.JSONDecodeError as error:
        raise Broken("the reply ended with its connection, and is not JSON") from error


async def _heard(call: Call, reply: Reply, foreign: bool, turns: Turns) -> Outcome:
    unread: UpstreamError | None = None
    async for payload in event_payloads(reply.chunks()):
        try:
            message = await _read_in_turn(call, payload, foreign, turns)
        except UpstreamError as error:
            unread = error  # clients pass over what they can't read, unless it was the response
            continue
        if "method" not in message:
            if not _answers(call, message) or _SAID.isdisjoint(message):
                continue  # another request's response, and what is no message, have no place here
            return await _outcome_in_turn(call, payload, message, foreign)
        if call.notify is not None and "id" not in message:
            await call.notify(disowned(message, "params") if foreign else message)
    raise unread or Broken("the stream ended without a response")


def message_of(call: Call, raw: bytes, status: int = 200) -> dict[str, Any]:
    """Return the JSON-RPC message in some bytes, or raise `UpstreamError`.

    An empty one is returned where there is none and the status of its reply has to speak for itself.
    """
    try:
        message = as_object(loads(raw))
        wrong = "a JSON-RPC message"
    except orjson.JSONDecodeError:
        message, wrong = None, "JSON"
    if message is not None:
        return message
    if status < 300:
        raise UpstreamError(f"{call.server} answered with something that is not {wrong}")
    return {}  # a page, or a few words, of whatever stands before the server


def disowned(message: dict[str, Any], part: str) -> dict[str, Any]:
    """Return a third party's message without what speaks in our name in its `_meta`."""
    inner = as_object(message.get(part)) or {}
    meta = as_object(inner.get("_meta"))
    if meta is None or not any(key.startswith(META_PREFIX) for key in meta):
        return message
    kept = {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}
    return {**message, part: {**inner, "_meta": kept}}


def _read(call: Call, raw: bytes, foreign: bool, status: int) -> dict[str, Any]:
    if foreign:
        _check_size(call, raw)
    return message_of(call, raw, status) if raw else {}


def _outcome(call: Call, raw: bytes, message: dict[str, Any], foreign: bool, status: int) -> Outcome:
    if message and not _answers(call, message):
        raise UpstreamError(f"{call.server} answered another request than the one that it was sent")
    result = as_object(message.get("result"))
    if result is not None:
        if foreign:
            own = disowned(message, "result") if "_meta" in result else message
            if own is not message or not _RESPONSE.issuperset(message) or says_else(raw, message):
                # The bytes may say something else than what was read: what was read is what is answered and audited.
                return Outcome(own["result"])
        return Outcome(result, raw)
    error = as_object(message.get("error"))
    if error is not None:
        raise _error(call, error, status, foreign)
    if status == 503 and not foreign:
        raise Restarting(f"{call.server} answered with HTTP 503 and no JSON-RPC response")
    raise by_status(call.server, status)


def _check_size(call: Call, raw: bytes) -> None:
    """Raise `UpstreamError` where reading what a third party says would hold up everybody else."""
    if len(raw) > MAX_MARKS and is_vast(raw):
        raise UpstreamError(
            f"the reply of {call.server} is more than is taken: it has more than {MAX_MARKS} brackets, commas and "
            "colons beside its texts"
        )


def by_status(server: str, status: int) -> UpstreamError:
    """Return the error that an HTTP status without a JSON-RPC response stands for."""
    if status in {401, 403}:
        said = f"{server} does not accept the credential that it is installed with (HTTP {status})"
        return Speechless(said, status)
    if 300 <= status < 400:
        return Speechless(f"{server} has moved (HTTP {status}): install it at its new address", status)
    said = f"{server} answered with HTTP {status} and no JSON-RPC response"
    return Speechless(said, status) if status >= 500 else UpstreamError(said)


def _answers(call: Call, message: dict[str, Any]) -> bool:
    """Whether a response is to this call; an error may be to a request whose id was not understood."""
    identifier = message.get("id")
    if identifier is None:
        return "result" not in message
    expected = call.wire_id()
    return type(identifier) is type(expected) and identifier == expected


def _error(call: Call, error: dict[str, Any], status: int, foreign: bool) -> TauseError:
    data = as_object(error.get("data"))
    message = str(error.get("message") or f"{call.server} refused the call")
    if not foreign and data is not None and "code" in data:
        spoken = data.get("http")  # the tenant's host was told no more by a remote server
        if data["code"] == UpstreamError.code and isinstance(spoken, int):
            return by_status(call.server, spoken)
        answered = as_object(data.get("answered"))  # the server's own word, in which it speaks as we do
        if data["code"] == UpstreamError.code and answered is not None:
            return Answered(message, answered, status)
        return from_data(message, data)
    return Answered(message, error if isinstance(error.get("message"), str) else {**error, "message": message}, status)
