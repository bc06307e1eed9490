"""The talkative server over streamable HTTP of an earlier version: sessions, streams, and streams that break."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parent))

from talkative import Talker

CUT = object()


class Stream:
    """What goes over one stream, kept so that it can be taken up again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept: list[Any] = []
        self.more = asyncio.Event()
        self.ended = False

    async def send(self, message: dict[str, Any]) -> None:
        self.put({"jsonrpc": "2.0", **message})

    def put(self, message: Any) -> None:
        self.kept.append(message)
        self.more.set()

    async def events(self, start: int) -> AsyncGenerator[str]:
        yield f"id: {self.name}/{start}\nretry: 10\ndata:\n\n"
        while True:
            while start < len(self.kept):
                message = self.kept[start]
                start += 1
                if message is CUT:
                    yield f"id: {self.name}/{start}\ndata:\n\n"
                    return
                yield "event: heartbeat\ndata: {}\n\ndata: {}\n\ndata: still here\n\n"
                yield f": a comment\nevent: message\nid: {self.name}/{start}\ndata: {json.dumps(message)}\n\n"
            if self.ended:
                return
            self.more.clear()
            await self.more.wait()


class Server:
    """Every session, and what was asked of the server over HTTP."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[Talker, dict[str, Stream]]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.headers: dict[str, str] = {}
        """What a request has to bear."""
        self.flood = False
        """Whether every answer is an event without an end."""
        self.moved = "/moved"
        """Where requests for `/moved` are sent."""
        every = ["GET", "POST", "DELETE"]
        # Starlette itself sends `/mcp/` to `/mcp`, as many servers do.
        self.app = Starlette(
            routes=[Route("/mcp", self.serve, methods=every), Route("/moved", self.elsewhere, methods=every)]
        )

    async def elsewhere(self, request: Request) -> Response:
        self.requests.append((request.method, dict(request.headers)))
        return Response(status_code=308, headers={"location": self.moved})

    async def endless(self) -> AsyncGenerator[bytes]:
        yield b"data: "
        while True:
            yield b"x" * 1024
            await asyncio.sleep(0)

    async def serve(self, request: Request) -> Response:
        self.requests.append((request.method, dict(request.headers)))
        if self.flood:
            return StreamingResponse(self.endless(), media_type="text/event-stream")
        if any(request.headers.get(name) != value for name, value in self.headers.items()):
            return Response(status_code=401)
        number = request.headers.get("mcp-session-id", "")
        message = await request.json() if request.method == "POST" else {}
        if message.get("method") == "initialize":
            number = str(uuid.uuid4())
            self.sessions[number] = (Talker(), {"apart": Stream("apart")})
        elif "mcp-session-id" not in request.headers:
            return JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "Which?"}}, 400)
        if number not in self.sessions:
            return Response("Session not found", 404)
        if request.method == "DELETE":
            del self.sessions[number]
            return Response(status_code=204)
        return await self.answer(number, message, request)

    async def answer(self, number: str, message: dict[str, Any], request: Request) -> Response:
        talker, streams = self.sessions[number]
        if request.method == "GET":
            name, _, start = request.headers.get("last-event-id", "apart/0").partition("/")
            return StreamingResponse(streams[name].events(int(start)), media_type="text/event-stream")
        if "id" not in message or "method" not in message:
            await talker.received(message, streams["apart"].send, streams["apart"].send)
            return Response(status_code=202)
        name = f"{uuid.uuid4()}"
        stream = streams[name] = Stream(name)
        if message.get("method") == "initialize":
            await talker.received(message, stream.send, stream.send)
            return JSONResponse(stream.kept[0], headers={"mcp-session-id": number})
        if (message.get("params") or {}).get("name") == "steps":
            stream.put(CUT)
        serving = asyncio.create_task(talker.received(message, stream.send, streams["apart"].send))
        serving.add_done_callback(lambda _: (setattr(stream, "ended", True), stream.more.set()))
        return StreamingResponse(stream.events(0), media_type="text/event-stream")
