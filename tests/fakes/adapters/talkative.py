"""A third-party server of an earlier version that uses all of it: it asks its client, logs, and tells of changes.

Run as it is it speaks over stdio, with nothing but the standard library; `talkative_http.py` serves it over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

VERSION = "2025-11-25"
CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "completions": {},
    "logging": {},
    "tasks": {"list": {}},
}
FORM = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
PAGE = {"mode": "url", "message": "Sign in", "url": "https://example.com/in", "elicitationId": "e-1"}
MESSAGES = {"messages": [{"role": "user", "content": {"type": "text", "text": "2+2"}}], "maxTokens": 9}
TOOLS = [
    "form",
    "page",
    "all",
    "twice",
    "visit",
    "log",
    "grow",
    "touch",
    "seen",
    "wait",
    "steps",
    "with_tools",
    "roots",
    "cut",
    "nan",
]

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Talker:
    """One session with one client."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.tools = list(TOOLS)
        self.visited = False
        self.roots: Any = None
        """What it was told of its client's folders, which it asks again when they change."""
        self._numbers = 0
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def received(self, message: dict[str, Any], send: Send, apart: Send) -> None:
        """Serve one message; what belongs to it goes by `send`, all else by `apart`."""
        method, number, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method is None:
            waiting = self._waiting.pop(str(number), None)
            if waiting is not None:
                waiting.set_result(message)
            return
        if params.get("name") != "seen":
            self.seen.append([method, {key: value for key, value in params.items() if key != "_meta"}])
        if method == "notifications/roots/list_changed" and self.roots is not None:
            self.roots = (await self.ask(apart, "roots/list")).get("roots", self.roots)
        if number is None:
            return
        try:
            outcome = {"result": await self._result(method, params, send, apart)}
        except KeyError as error:
            outcome = {"error": {"code": -32601, "message": f"no {error}"}}
        except LookupError as error:
            outcome = {"error": error.args[0]}
        await send({"id": number, **outcome})

    async def ask(self, send: Send, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._numbers += 1
        number = f"ask-{self._numbers}"
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await send({"id": number, "method": method, **({} if params is None else {"params": params})})
        answer = await self._waiting[number]
        return answer["result"] if "result" in answer else {"refused": answer["error"]}

    async def _result(  # noqa: C901 a list of methods
        self, method: str, params: dict[str, Any], send: Send, apart: Send
    ) -> dict[str, Any]:
        if method == "initialize":
            info = {"name": "talkative", "version": "1"}
            said = {"capabilities": CAPABILITIES, "serverInfo": info, "instructions": "Talk."}
            return {"protocolVersion": VERSION, **said}
        if method in {"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}:
            if params.get("uri") == "note://none":
                raise LookupError({"code": -32002, "message": "Resource not found"})
            return {}
        if method == "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]}
        if method == "tools/call":
            return await self._call(params["name"], params.get("arguments") or {}, params, send, apart)
        if method == "prompts/list":
            return {"prompts": [{"name": "greet"}]}
        if method == "prompts/get":
            who = await self.ask(send, "elicitation/create", FORM)
            return {"messages": [{"role": "user", "content": {"type": "text", "text": json.dumps(who)}}]}
        if method == "resources/list":
            at = int(params.get("cursor") or 0)
            page: dict[str, Any] = {"resources": [{"uri": f"note://{at}", "name": str(at)}]}
            return {**page, "nextCursor": str(at + 1)} if at < 2 else page
        if method == "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": "note://{n}", "name": "note"}]}
        if method == "resources/read":
            if params["uri"] == "note://none":
                raise LookupError({"code": -32002, "message": "Resource not found", "data": {"uri": params["uri"]}})
            return {"contents": [{"uri": params["uri"], "text": "a note"}]}
        if method == "completion/complete":
            return {"completion": {"values": [params["argument"]["value"] + "!"]}}
        raise KeyError(method)

    async def _call(  # noqa: C901 a list of tools
        self, name: str, arguments: dict[str, Any], params: dict[str, Any], send: Send, apart: Send
    ) -> dict[str, Any]:
        found: Any = None
        if name == "form":
            found = await self.ask(send, "elicitation/create", FORM)
        elif name == "page":
            found = await self.ask(send, "elicitation/create", PAGE)
        elif name == "with_tools":
            found = await self.ask(send, "sampling/createMessage", {**MESSAGES, "tools": []})
        elif name == "all":
            asked = [("elicitation/create", FORM), ("sampling/createMessage", MESSAGES), ("roots/list", None)]
            found = await asyncio.gather(*(self.ask(send, method, about) for method, about in asked))
        elif name == "twice":
            found = [await self.ask(send, "elicitation/create", FORM) for _ in range(2)]
        elif name == "visit":
            if not self.visited:
                self.visited = True
                raise LookupError({"code": -32042, "message": "Visit first", "data": {"elicitations": [PAGE]}})
        elif name == "log":
            for level in ("debug", "info", "error"):
                told = {"level": level, "logger": "talk", "data": level}
                await send({"method": "notifications/message", "params": told})
        elif name == "grow":
            self.tools.append("grown")
            await apart({"method": "notifications/tools/list_changed"})
        elif name == "touch":
            await apart({"method": "notifications/resources/updated", "params": {"uri": arguments["uri"]}})
        elif name == "steps":
            token = params["_meta"]["progressToken"]
            for step in (1, 2):
                told = {"progressToken": token, "progress": step}
                await send({"method": "notifications/progress", "params": told})
        elif name == "roots":
            if self.roots is None:
                self.roots = (await self.ask(send, "roots/list")).get("roots")
            found = self.roots
        elif name == "cut":
            return {"content": [{"type": "text", "text": "half of \ud83d"}]}
        elif name == "nan":
            return {"content": [], "structuredContent": {"ratio": float("nan")}}
        elif name == "seen":
            found = self.seen
        elif name == "wait":
            await asyncio.Event().wait()
        return {"content": [{"type": "text", "text": json.dumps(found)}]}


async def serve() -> None:
    loop, talker = asyncio.get_running_loop(), Talker()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def send(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        task = asyncio.create_task(talker.received(json.loads(line), send, send))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()


def main() -> None:
    asyncio.run(serve())


if __name__ == "__main__":
    main()
