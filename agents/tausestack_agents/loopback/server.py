"""The ASGI application that speaks both vendors' wire formats on loopback, and a thread that serves it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from tausestack.raw import as_object
from tausestack_agents.loopback import anthropic, openai
from tausestack_agents.loopback.answers import Answer, Asked, Wire
from tausestack_agents.loopback.traffic import Recorded

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply: its body comes in pieces, and an exception in their midst cuts the connection."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]


Respond = Callable[[Asked], Awaitable[Answer | Recorded | Reply]]


class ModelServer:
    """Answers `/v1/chat/completions` and `/v1/messages` (with or without the `/v1`) by a function."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        assert scope["type"] == "http"
        wire = _wire(str(scope["path"]))
        body = as_object(json.loads(await _body(receive) or b"{}")) or {}
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if wire is None or scope["method"] != "POST":
            await _send(send, Reply(404, {"content-type": "application/json"}, _once(b'{"error": {"message": "No"}}')))
            return
        asked = Asked(wire, body, headers)
        found = await self._respond(asked)
        await _send(send, found if isinstance(found, Reply) else reply(found, asked))


def reply(answer: Answer | Recorded, asked: Asked) -> Reply:
    """Return an answer as the vendor would send it."""
    if isinstance(answer, Recorded):
        return Reply(answer.status, answer.headers, _once(answer.body.encode()))
    vendor = openai if asked.wire == "openai" else anthropic
    json_type = {"content-type": "application/json"}
    if answer.status != 200:
        more = {"retry-after": answer.retry_after} if answer.retry_after else {}
        return Reply(answer.status, {**json_type, **more}, _once(json.dumps(vendor.error(answer)).encode()))
    if asked.streams:
        return Reply(200, {"content-type": "text/event-stream; charset=utf-8"}, each(vendor.frames(answer, asked)))
    return Reply(200, json_type, _once(json.dumps(vendor.whole(answer, asked)).encode()))


@contextmanager
def serving(respond: Respond) -> Generator[str]:
    """Serve on a free port of 127.0.0.1 for as long as it is used; gives the URL, without the `/v1`."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        ModelServer(respond), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


async def each(frames: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield what is at hand, asynchronously."""
    for frame in frames:
        yield frame


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _wire(path: str) -> Wire | None:
    if path.endswith(openai.PATH.removeprefix("/v1")):
        return "openai"
    return "anthropic" if path.endswith(anthropic.PATH.removeprefix("/v1")) else None


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _send(send: Send, found: Reply) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers.items()]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    async for piece in found.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
