"""One request of the modern protocol, as a caller made it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from tausestack.contract import MCP_CAPABILITIES_META, MCP_VERSION_META, META_CALL, PROTOCOL_VERSION
from tausestack.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    InvalidRequest,
)
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.nesting import loads

LOG_LEVEL_META = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_META = "io.modelcontextprotocol/subscriptionId"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

_STATUS: dict[int, int] = {
    METHOD_NOT_FOUND: 404, HEADER_MISMATCH: 400, MISSING_CLIENT_CAPABILITY: 400, UNSUPPORTED_PROTOCOL_VERSION: 400,
}  # fmt: skip

Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Sends a notification to the caller, ahead of the result."""


class Answered(Exception):
    """The answer is a JSON-RPC error; `error` is the raw object, `status` what HTTP says with it.

    `spoken` is the HTTP status where a remote server said no more than that.
    """

    def __init__(self, error: dict[str, Any], status: int | None = None, *, spoken: int | None = None) -> None:
        super().__init__(str(error.get("message", "")))
        self.error = error
        self.spoken = spoken
        self.status: int = _STATUS.get(error.get("code", 0), 200) if status is None else status


@dataclass(frozen=True)
class Asked:
    """A request: who made it, what it asks, and what its `_meta` says of the caller."""

    number: str | int
    method: str
    params: dict[str, Any]
    principal: str
    """Who asks, in one word that no two principals share."""

    @property
    def meta(self) -> dict[str, Any]:
        """The request's `_meta`."""
        return object_at(self.params, "_meta")

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the caller can be asked for in turn."""
        return object_at(self.meta, MCP_CAPABILITIES_META)

    @property
    def token(self) -> str | int | None:
        """The token under which the caller wants to hear of progress."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str) or type(token) is int else None

    @property
    def level(self) -> int | None:
        """The least severe log message that the caller wants, as a place in `LEVELS`."""
        level = self.meta.get(LOG_LEVEL_META)
        return LEVELS.index(level) if level in LEVELS else None

    @property
    def call(self) -> str | None:
        """The gateway's id of the call that this serves."""
        found = self.meta.get(META_CALL)
        return found if isinstance(found, str) else None


def read(body: bytes, principal: str) -> Asked:
    """Return the request in a body, or raise what is wrong with it."""
    try:
        message = as_object(loads(body))
    except orjson.JSONDecodeError as error:
        raise Answered({"code": PARSE_ERROR, "message": "the body is no JSON"}, 400) from error
    if message is None:
        raise InvalidRequest("the body is no JSON-RPC request")
    number, method = message.get("id"), message.get("method")
    if not isinstance(method, str) or not (isinstance(number, str) or type(number) is int):
        raise InvalidRequest("the body is no JSON-RPC request")
    return Asked(number, method, as_object(message.get("params")) or {}, principal)


def check(asked: Asked) -> None:
    """Raise `Answered` where a request does not say what every request of the modern protocol has to."""
    version = asked.meta.get(MCP_VERSION_META)
    if not isinstance(version, str):
        raise Answered(_invalid(f"a request says its protocol version in _meta: {MCP_VERSION_META}"), 400)
    if version != PROTOCOL_VERSION:
        supported = {"supported": [PROTOCOL_VERSION], "requested": version[:40]}
        unsupported = {"code": UNSUPPORTED_PROTOCOL_VERSION, "message": "Unsupported protocol version"}
        raise Answered({**unsupported, "data": supported})
    if as_object(asked.meta.get(MCP_CAPABILITIES_META)) is None:
        raise Answered(_invalid(f"a request says what its client can do in _meta: {MCP_CAPABILITIES_META}"), 400)
    if LOG_LEVEL_META in asked.meta and asked.level is None:
        raise Answered(_invalid(f"{LOG_LEVEL_META} is one of {', '.join(LEVELS)}"))


def unknown(method: str) -> Answered:
    """Return the answer to a method that is not offered."""
    return Answered({"code": METHOD_NOT_FOUND, "message": f"{method[:80]} is not offered here"})


def invalid(message: str) -> Answered:
    """Return the answer to parameters that are wrong."""
    return Answered(_invalid(message))


def _invalid(message: str) -> dict[str, Any]:
    return {"code": INVALID_PARAMS, "message": message}
