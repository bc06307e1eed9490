"""Reading one MCP 2026-07-28 request: JSON-RPC's form, the headers that mirror the body, the required `_meta`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson

from tausestack.contract import MCP_CAPABILITIES_META, MCP_VERSION_META, PROTOCOL_VERSION
from tausestack.errors import HEADER_MISMATCH, INVALID_PARAMS, PARSE_ERROR, UNSUPPORTED_PROTOCOL_VERSION, InvalidRequest
from tausestack.raw import as_object
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.nesting import loads

NAMED_METHODS = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Refused(InvalidRequest):
    """The request breaks a rule of the protocol; `rpc` is the code that the protocol gives that."""

    def __init__(self, rpc: int, message: str, request_id: str | int | None = None, **data: Any) -> None:
        super().__init__(message, **data)
        self.rpc = rpc  # pyright: ignore[reportAttributeAccessIssue] one class, the protocol's codes
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose envelope is good; `id` is None for a notification."""

    id: str | int | None
    method: str
    params: dict[str, Any]
    meta: dict[str, Any]
    size: int


async def read(exchange: Exchange) -> Request:
    """Return the request of an exchange, or raise `Refused`."""
    raw = await exchange.body()
    try:
        message = as_object(loads(raw))
    except orjson.JSONDecodeError as error:
        raise Refused(PARSE_ERROR, f"The body is not JSON: {error}") from error
    method = None if message is None else message.get("method")
    if message is None or message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise Refused(InvalidRequest.rpc, "The body has to be one JSON-RPC request or notification")
    request_id = message.get("id")
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, (str, int))):
        raise Refused(InvalidRequest.rpc, "A request's id is a string or an integer")
    params = as_object(message.get("params", {}))
    if params is None:
        raise Refused(INVALID_PARAMS, "params has to be an object", request_id)
    meta = as_object(params.get("_meta", {}))
    if meta is None:
        raise Refused(INVALID_PARAMS, "_meta has to be an object", request_id)
    request = Request(request_id, method, params, meta, len(raw))
    _check_version(exchange, request)
    if request_id is not None:
        _check_mirrors(exchange, request)
    return request


def _check_version(exchange: Exchange, request: Request) -> None:
    declared = exchange.header(b"mcp-protocol-version")
    stated = request.meta.get(MCP_VERSION_META)
    if request.method == "initialize" or (declared not in {None, PROTOCOL_VERSION} and stated in {None, declared}):
        raise Refused(
            UNSUPPORTED_PROTOCOL_VERSION,
            f"Unsupported protocol version: this endpoint speaks {PROTOCOL_VERSION}",
            request.id,
            supported=[PROTOCOL_VERSION],
            requested=declared or str(request.params.get("protocolVersion", "")),
        )
    if request.id is None:
        return
    if declared is None:
        raise Refused(HEADER_MISMATCH, "The header MCP-Protocol-Version is missing", request.id)
    if stated is None or not isinstance(request.meta.get(MCP_CAPABILITIES_META), dict):
        raise Refused(INVALID_PARAMS, f"_meta has to hold {MCP_VERSION_META} and {MCP_CAPABILITIES_META}", request.id)
    if stated != declared:
        raise Refused(HEADER_MISMATCH, "MCP-Protocol-Version differs from the body's", request.id)


def _check_mirrors(exchange: Exchange, request: Request) -> None:
    if exchange.header(b"mcp-method") != request.method:
        raise Refused(HEADER_MISMATCH, "The header Mcp-Method is missing or differs from the body's method", request.id)
    field = NAMED_METHODS.get(request.method)
    if field is None:
        return
    name = request.params.get(field)
    if not isinstance(name, str):
        raise Refused(INVALID_PARAMS, f"params.{field} has to be a string", request.id)
    header = exchange.header(b"mcp-name")
    if header is None or _decoded(header) != name:
        raise Refused(HEADER_MISMATCH, f"The header Mcp-Name is missing or differs from params.{field}", request.id)
    repeated = {b"mcp-method", b"mcp-name", b"mcp-protocol-version"} & exchange.repeated
    if repeated:
        raise Refused(HEADER_MISMATCH, "A header that mirrors the body is repeated", request.id)


def _decoded(value: str) -> str:
    """Return a mirrored header's text: as it is, or from `=?base64?…?=` where it is not plain ASCII."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value
