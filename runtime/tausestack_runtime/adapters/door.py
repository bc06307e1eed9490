"""The host's own door: each installed server as though it spoke the modern protocol itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from tausestack.contract import Principal
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
from tausestack.tenancy import cache_key
from tausestack_runtime.adapters.asked import Answered, Asked, check, read
from tausestack_runtime.adapters.hosted import Hosted
from tausestack_runtime.adapters.launches import Launch, Remote, parse_launch
from tausestack_runtime.asgi import Receive, Scope, Send, read_body, while_connected

MAX_BODY_BYTES = 8 * 1024 * 1024
_PATH = re.compile(r"/servers/([a-z0-9][a-z0-9-]{0,39})/mcp/?$")


class Door:
    """An ASGI app: POST `/servers/{name}/mcp`, a JSON-RPC request in, JSON or an event stream out."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = _Reply(send)
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            principal = self._service.authenticate(headers)
            found = _PATH.search(scope["path"])
            if found is None or scope["method"] != "POST":
                raise NotFound
            asked = read(await read_body(receive, MAX_BODY_BYTES), _who(principal))
            reply.number = asked.number
            check(asked)
            assertion = headers["authorization"].partition(" ")[2].strip()
            work = self._answer(reply, principal.tenant, assertion, found[1], asked)
            await while_connected(work, receive)
        except Cancelled:
            return
        except Answered as error:
            await reply.end({"error": error.error}, error.status)
        except TauseError as error:
            await reply.end({"error": to_jsonrpc(error)}, _status(error))

    async def _answer(self, reply: _Reply, tenant: str, assertion: str, name: str, asked: Asked) -> None:
        hosted: Hosted = self._service.state

        try:
            registry = _Registry(self._service, tenant, assertion, asked.call)
            result = await hosted.request(name, asked, registry, reply.event)
        except Answered as error:
            await reply.end({"error": error.error}, error.status)
        except TauseError as error:
            await reply.end({"error": to_jsonrpc(error)}, _status(error))
        except Exception:  # noqa: BLE001 the door's own edge: whatever went wrong is answered, and logged with its trace
            structlog.get_logger("adapter").exception("a request failed", server=name)
            await reply.end({"error": to_jsonrpc(InternalError())}, 500)
        else:
            await reply.end({"result": result})


@dataclass(frozen=True)
class _Registry:
    """The tenant's registry, as the call that is being served may ask it."""

    service: Service
    tenant: str
    assertion: str
    call: str | None

    async def launch(self, name: str) -> Launch | Remote:
        return parse_launch(await self._ask("registry/launch", {"server": name}))

    async def observed(self, name: str, tools: list[dict[str, Any]], left_out: list[dict[str, str]]) -> None:
        await self._ask("registry/observed", {"server": name, "tools": tools, "left_out": left_out})

    async def _ask(self, address: str, arguments: dict[str, Any]) -> Any:
        return await self.service.call_gateway(self.tenant, address, arguments, bearer=self.assertion, parent=self.call)


class _Reply:
    """One reply: JSON, or an event stream from the first notification on."""

    def __init__(self, send: Send) -> None:
        self.number: Any = None
        self._send = send
        self._streams = False

    async def event(self, message: dict[str, Any]) -> None:
        if not self._streams:
            self._streams = True
            headers = [
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, outcome: dict[str, Any], status: int = 200) -> None:
        message = {"jsonrpc": "2.0", "id": self.number, **outcome}
        if self._streams:
            await self.event(message)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body = orjson.dumps(message)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _who(principal: Principal) -> str:
    return cache_key(principal.tenant, principal.id, "", principal.agent or "", principal.run or "")


def _status(error: TauseError) -> int:
    return error.status if isinstance(error, Unauthenticated | InvalidRequest) else 200
