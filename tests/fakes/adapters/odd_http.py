"""A server of an earlier version that does one thing oddly, which the official SDKs' clients put up with."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ODDITIES = (
    "text ids", "an empty last cursor", "no capabilities", "capabilities of null", "no notifications", "compression",
    "a capital media type", "no content",
)  # fmt: skip
PAGES = 3
SCHEMA = {"type": "object", "properties": {}}


class Server:
    """Answers every path alike."""

    def __init__(self) -> None:
        self.odd = ""
        self.tasks = False
        """Whether its first tool is one that it takes as a task alone, which ends once it is cancelled."""
        self.sessions = False
        """Whether it has sessions, and says 404 with each error."""
        self.calls = 0
        self.waited, self.cancelled = asyncio.Event(), asyncio.Event()
        self.app = Starlette(routes=[Route("/mcp", self.serve, methods=["POST"])])

    async def serve(self, request: Request) -> Response:
        message = await request.json()
        if "id" not in message:
            return Response(status_code=404 if self.odd == "no notifications" else 202)
        if message["method"] == "tasks/result":
            self.waited.set()
            await self.cancelled.wait()
        said = {"jsonrpc": "2.0", "id": message["id"], **self._answer(message)}
        if self.odd == "text ids":
            said["id"] = str(said["id"])
        body, headers = json.dumps(said).encode(), {"content-type": "application/json"}
        if self.odd == "a capital media type":
            body, headers = b"data: " + body + b"\n\n", {"content-type": "Text/Event-Stream; Charset=UTF-8"}
        if self.odd == "compression" and request.headers.get("accept-encoding") != "identity":
            body, headers = gzip.compress(body), {**headers, "content-encoding": "gzip"}
        if self.sessions and message["method"] == "initialize":
            headers["mcp-session-id"] = "s-1"
        self.calls += message["method"] == "tools/call"
        return Response(body, 404 if self.sessions and "error" in said else 200, headers)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        method, params = message["method"], message.get("params") or {}
        if method == "initialize":
            offered: dict[str, Any] = {"tools": {}}
            offered = {"no capabilities": {}, "capabilities of null": {"tools": None}}.get(self.odd, offered)
            said = {"protocolVersion": "2025-06-18", "capabilities": offered}
            return {"result": {**said, "serverInfo": {"name": "odd", "version": "1"}}}
        if method == "tools/list":
            page = int(params.get("cursor") or 0)
            tool: dict[str, Any] = {"name": f"tool-{page}", "description": "Do it.", "inputSchema": SCHEMA}
            if self.tasks and page == 0:
                tool["execution"] = {"taskSupport": "required"}
            last = "" if self.odd == "an empty last cursor" else None
            return {"result": {"tools": [tool], "nextCursor": str(page + 1) if page + 1 < PAGES else last}}
        if method == "tools/call" and "task" in params:
            return {"result": {"task": {"taskId": "task-1", "status": "working"}}}
        if method == "tasks/cancel" and params["taskId"] == "task-1":
            self.cancelled.set()
            return {"result": {"taskId": "task-1", "status": "cancelled"}}
        if method == "tools/call" and params["name"] == "tool-0":
            content: dict[str, Any] = {"content": [{"type": "text", "text": "done"}]}
            return {"result": {"structuredContent": {"done": True}, **({} if self.odd == "no content" else content)}}
        return {"error": {"code": -32601}}
