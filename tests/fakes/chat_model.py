"""A language model on loopback that says what a test wrote."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class FakeModel:
    """Speaks OpenAI's chat completions on loopback; each request is answered by the next of `script`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.script: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, request: Request) -> Response:
        asked = await request.json()
        self.asked.append(asked)
        message = self.script[len(self.asked) - 1](asked)
        ended = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": ended}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
        return JSONResponse({**head, "choices": [choice], "usage": usage})
