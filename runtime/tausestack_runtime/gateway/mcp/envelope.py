"""Reading one MCP request: JSON-RPC's form, its era, the headers that mirror the body, the required `_meta`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tausestack.contract import EARLIER_VERSIONS, MCP_CAPABILITIES_META, MCP_VERSION_META, PROTOCOL_VERSION
from tausestack.errors import HEADER_MISMATCH, INVALID_PARAMS, PARSE_ERROR, UNSUPPORTED_PROTOCOL_VERSION, InvalidRequest
from tausestack.raw import as_object, object_in, objects_in
from tausestack_runtime.gateway.call import NAMED
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.mirrors import decoded
from tausestack_runtime.gateway.nesting import check_case, loads_strictly

SUPPORTED = (PROTOCOL_VERSION, *EARLIER_VERSIONS)
SESSION = b"mcp-session-id"
_VERSION = b"mcp-protocol-version"
_CURRENT, _EARLIER = PROTOCOL_VERSION.encode(), frozenset(version.encode() for version in EARLIER_VERSIONS)
_MIRRORED = frozenset({b"mcp-method", b"mcp-name", _VERSION})
_NONE: dict[str, Any] = {}


class Refused(InvalidRequest):
    """The request breaks a rule of the protocol; `rpc` is the code that the protocol gives that."""

    def __init__(self, rpc: int, message: str, request_id: str | int | None = None, **data: Any) -> None:
        super().__init__(message, **data)
        self.rpc = rpc  # pyright: ignore[reportAttributeAccessIssue] one class, the protocol's codes
        self.request_id = request_id


class Message:
    """What a body holds: `one` is None where it is not one message; `params` and `meta` are empty where there are none.

    `size` is in bytes. `id`, None for a notification, and `method` are there once the form was checked.
    """

    __slots__ = ("id", "meta", "method", "one", "params", "size", "value")

    id: str | int | None
    method: str

    def __init__(self, value: Any, size: int) -> None:
        self.value, self.size = value, size
        self.one = one = as_object(value)
        self.params = params = _NONE if one is None else object_in(one, "params")
        self.meta = object_in(params, "_meta")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a request's headers say of what it asks."""

    version: bytes | None
    modern: bool
    """Whether there is one, and it has no sessions."""
    method: str | None
    name: str | None
    """None where there is none, or none that can be read."""
    repeated: bool
    """Whether one of these came more than once."""
    session: bool
    """Whether it names a session, as only earlier clients do."""
    key: str | None
    """The idempotency key."""


def declared(head: Head) -> Declared:
    """Read the headers that say what is asked."""
    version, name = head.headers.get(_VERSION), head.text(b"mcp-name")
    return Declared(
        version=version,
        modern=version is not None and version not in _EARLIER,
        method=head.text(b"mcp-method"),
        name=None if name is None else decoded(name),
        repeated=bool(head.repeated & _MIRRORED),
        session=SESSION in head.headers,
        key=head.text(b"idempotency-key"),
    )


async def read(exchange: Exchange) -> Message:
    """Return the message in the body of an exchange.

    Raises `Refused` where it is not JSON, and `InvalidRequest` where two readers could take it for two things.
    """
    raw = await exchange.body() if exchange.whole is None else exchange.whole
    try:
        message = Message(loads_strictly(raw), len(raw))
    except orjson.JSONDecodeError as error:
        raise Refused(PARSE_ERROR, f"The body is not JSON: {error}") from error
    if message.one is not None:
        check_case(message.one, message.params, message.meta)
    else:
        for each in objects_in(message.value):
            params = object_in(each, "params")
            check_case(each, params, object_in(params, "_meta"))
    return message


def is_earlier(said: Declared, message: Message) -> bool:
    """Whether a message whose headers name no modern version is of an earlier client: with sessions, and `initialize`.

    Before 2025-06-18 nothing but the session and the method's name tells.
    """
    if MCP_VERSION_META in message.meta:
        return False
    if said.version is not None:
        return True
    one = message.one
    if one is None:
        return isinstance(message.value, list)
    return said.session or one.get("method") == "initialize" or "method" not in one


def check_form(message: Message) -> None:
    """Raise `Refused` where a message has not the form of a request or notification."""
    one, params, meta = message.one, message.params, message.meta
    method = None if one is None else one.get("method")
    if one is None or one.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise Refused(InvalidRequest.rpc, "The body has to be one JSON-RPC request or notification")
    request_id = one.get("id")
    if type(request_id) is not int and not isinstance(request_id, str) and "id" in one:
        raise Refused(InvalidRequest.rpc, "A request's id is a string or an integer")
    # Null is what some clients write for none, and the official Python SDK's servers take it for that.
    if one.get("params") is not params and one.get("params") is not None:
        raise Refused(INVALID_PARAMS, "params has to be an object", request_id)
    if params.get("_meta") is not meta and params.get("_meta") is not None:
        raise Refused(INVALID_PARAMS, "_meta has to be an object", request_id)
    message.id, message.method = request_id, method


def check(said: Declared, request: Message) -> None:
    """Raise `Refused` where a request of 2026-07-28 lacks what that version requires of every one."""
    stated = request.meta.get(MCP_VERSION_META)
    if said.version is not None and said.version != _CURRENT:
        _check_other(said.version, stated, request)
    if request.id is None:
        return
    if said.version is None:
        told = f"send {PROTOCOL_VERSION}, or open a session with initialize, as clients of earlier versions do"
        raise _mismatch(request, f"The header MCP-Protocol-Version is missing: {told}")
    if stated is None or not isinstance(request.meta.get(MCP_CAPABILITIES_META), dict):
        raise Refused(INVALID_PARAMS, f"_meta has to hold {MCP_VERSION_META} and {MCP_CAPABILITIES_META}", request.id)
    if said.version != _CURRENT or stated != PROTOCOL_VERSION:
        raise _mismatch(request, "MCP-Protocol-Version differs from the body's")
    _check_mirrors(said, request)


def _check_other(version: bytes, stated: Any, request: Message) -> None:
    """Raise `Refused` where header and body agree on another version, or the header alone names one."""
    requested = version.decode("latin-1")
    if stated is None or stated == requested:
        raise Refused(
            UNSUPPORTED_PROTOCOL_VERSION,
            f"Unsupported protocol version: this endpoint speaks {', '.join(SUPPORTED)}",
            request.id,
            supported=list(SUPPORTED),
            requested=requested,
        )


def _check_mirrors(said: Declared, request: Message) -> None:
    if said.repeated:
        raise _mismatch(request, "A header that mirrors the body is repeated")
    if said.method != request.method:
        raise _mismatch(request, "The header Mcp-Method is missing or differs from the body's method")
    field = NAMED.get(request.method)
    if field is None:
        return
    name = request.params.get(field)
    if not isinstance(name, str):
        raise Refused(INVALID_PARAMS, f"params.{field} has to be a string", request.id)
    if said.name != name:
        raise _mismatch(request, f"The header Mcp-Name is missing or differs from params.{field}")


def _mismatch(request: Message, message: str) -> Refused:
    return Refused(HEADER_MISMATCH, message, request.id)
