"""The host's own door: each installed server as though it spoke the modern protocol itself."""

from __future__ import annotations

import re
from typing import Any

import orjson
import structlog

from tausestack.errors import (
    Cancelled,
    InternalError,
    InvalidRequest,
    NotFound,
    TauseError,
    Unauthenticated,
    to_jsonrpc,
)
from tausestack.mcp import Service
from tausestack.raw import as_object
from tausestack_runtime.adapters.hosted import ASKED, Hosted, call_id, upstream_error
from tausestack_runtime.adapters.process import Launch
from tausestack_runtime.adapters.session import Answered, Progress
from tausestack_runtime.asgi import Receive, Scope, Send, read_body, while_connected

MAX_BODY_BYTES = 8 * 1024 * 1024
_PATH = re.compile(r"/servers/([a-z0-9][a-z0-9-]{0,39})/mcp/?$")


class Door:
    """An ASGI app: POST `/servers/{name}/mcp`, a JSON-RPC request in, JSON or an event stream out."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        number: Any = None
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            principal = self._service.authenticate(headers)
            found = _PATH.search(scope["path"])
            if found is None or scope["method"] != "POST":
                raise NotFound
            message = _request(await read_body(receive, MAX_BODY_BYTES))
            number = message["id"]
            exchange = _Exchange(number, send, streams=_token(message) is not None)
            assertion = headers["authorization"].partition(" ")[2].strip()
            work = self._answer(exchange, principal.tenant, assertion, found[1], message)
            await while_connected(work, receive)
        except Cancelled:
            return
        except TauseError as error:
            await _reply(send, _status(error), {"jsonrpc": "2.0", "id": number, "error": to_jsonrpc(error)})

    async def _answer(
        self, exchange: _Exchange, tenant: str, assertion: str, name: str, message: dict[str, Any]
    ) -> None:
        hosted: Hosted = self._service.state
        params = as_object(message.get("params")) or {}

        async def launch() -> Launch:
            spec = await self._service.call_gateway(
                tenant, "registry/launch", {"server": name}, bearer=assertion, parent=call_id(params)
            )
            return parse_launch(spec)

        try:
            result = await hosted.request(name, message["method"], params, launch, _progress(exchange, message))
        except Answered as error:
            await exchange.end({"error": upstream_error(error)})
        except TauseError as error:
            await exchange.end({"error": to_jsonrpc(error)}, _status(error))
        except Exception:  # noqa: BLE001 the door's own edge: whatever went wrong is answered, and logged with its trace
            structlog.get_logger("adapter").exception("a request failed", server=name)
            await exchange.end({"error": to_jsonrpc(InternalError())}, 500)
        else:
            await exchange.end({"result": result})


class _Exchange:
    """One reply: JSON, or an event stream where progress was asked for."""

    def __init__(self, number: Any, send: Send, *, streams: bool) -> None:
        self._number, self._send, self._streams = number, send, streams
        self._started = False

    async def event(self, message: dict[str, Any]) -> None:
        if not self._started:
            self._started = True
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, outcome: dict[str, Any], status: int = 200) -> None:
        message = {"jsonrpc": "2.0", "id": self._number, **outcome}
        if not self._streams:
            await _reply(self._send, status, message)
            return
        await self.event(message)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def parse_launch(spec: Any) -> Launch:
    """Return how a server is started, from the registry's words, or raise `InvalidRequest`."""
    raw = as_object(spec)
    if raw is None or not raw.get("argv") or raw.get("registryType") != "pypi":
        raise InvalidRequest("a server is started from a package of the Python index, by its entry point")
    variables: dict[str, Any] = {**(as_object(raw.get("env")) or {}), **(as_object(raw.get("secrets")) or {})}
    pins = as_object(raw.get("pins"))
    return Launch(
        registry_type=str(raw["registryType"]),
        identifier=str(raw.get("identifier", "")),
        version=str(raw.get("version", "")),
        argv=tuple(str(word) for word in raw["argv"]),
        store=str(raw.get("store", "")),
        env={name: str(value) for name, value in variables.items()},
        pins=None if pins is None else {name: str(sha256) for name, sha256 in pins.items()},
    )


def _progress(exchange: _Exchange, message: dict[str, Any]) -> Progress | None:
    token = _token(message)
    if token is None:
        return None

    async def tell(params: dict[str, Any]) -> None:
        told = {"progressToken": token, **params}
        await exchange.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})

    return tell


def _token(message: dict[str, Any]) -> str | int | None:
    token = (as_object((as_object(message.get("params")) or {}).get("_meta")) or {}).get("progressToken")
    return token if isinstance(token, str | int) else None


def _request(body: bytes) -> dict[str, Any]:
    try:
        message = as_object(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the body is no JSON") from error
    if message is None or not isinstance(message.get("method"), str) or not isinstance(message.get("id"), str | int):
        raise InvalidRequest("the body is no JSON-RPC request")
    if message["method"] not in ASKED:
        raise NotFound(f"{message['method'][:80]} is not offered here")
    return message


def _status(error: TauseError) -> int:
    return error.status if isinstance(error, Unauthenticated | InvalidRequest) else 200


async def _reply(send: Send, status: int, message: dict[str, Any]) -> None:
    body = orjson.dumps(message)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
