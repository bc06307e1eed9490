"""A third party's server of 2026-07-28 at a URL: `python remote_party.py PORT NAME`; it keeps a log of what it is sent.

`GET /log` gives it, `POST /tell` sends a notification to all who listen, `POST /tools` sets more tools,
`POST /resources` its resources (`uris`, `templates`). A call of `check_gate`, which is among those tools where it is
set, is answered once `POST /open` has opened all gates, until `POST /close`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

NAME = sys.argv[2] if len(sys.argv) > 2 else "party"
LOG: list[dict[str, Any]] = []
MORE_TOOLS: list[dict[str, Any]] = []
TEMPLATES: list[dict[str, Any]] = [{"uriTemplate": "note://{id}/x y", "name": "any", "description": "Any."}]
URIS = ["note://one"]
GATES = asyncio.Event()
LISTENERS: set[asyncio.Queue[dict[str, Any]]] = set()
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
ODD_NAMES = ("p" * 70, "two words", "with.a.dot")
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
    "experimental": {"colour": {"deep": "blue"}},
    "extensions": {"com.example/maps": {"tiles": [1]}},
}
TOOLS = [
    {"name": "echo", "description": "Say it again.", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}},
    {"name": "ask", "description": "Ask who calls.", "inputSchema": {"type": "object"}},
    {"name": "wait", "description": "Wait for ever.", "inputSchema": {"type": "object"}},
    {"name": "link", "description": "Link a note.", "inputSchema": {"type": "object"}},
    {"name": "refuse", "description": "Refuse.", "inputSchema": {"type": "object"}},
    {"name": "forge", "description": "Speak in another's name.", "inputSchema": {"type": "object"}},
    {"name": "mistake", "description": "Answer another request.", "inputSchema": {"type": "object"}},
    {"name": "late", "description": "Answer another request first.", "inputSchema": {"type": "object"}},
    {"name": "proxied", "description": "Let a proxy answer.", "inputSchema": {"type": "object"}},
    {"name": "where", "description": "Say the region.", "inputSchema": REGION, "annotations": {"readOnlyHint": True}},
]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": said}], **more}


def call(params: dict[str, Any]) -> dict[str, Any]:
    name, given = params["name"], params.get("arguments", {})
    if name == "echo":
        said = str(given.get("text", ""))
        return text(said, structuredContent={"text": said, "party": NAME}, unknownField={"kept": [1, None, 1.5]})
    if name == "ask":
        if "inputResponses" in params:
            return text(f"{params['inputResponses']['who']['content']['name']} with {params['requestState']}")
        wanted = {
            "method": "elicitation/create",
            "params": {"mode": "form", "message": "Who?", "requestedSchema": SCHEMA},
        }
        return {"resultType": "input_required", "inputRequests": {"who": wanted}, "requestState": f"state of {NAME}"}
    if name == "link":
        link = {"type": "resource_link", "uri": "note://one", "name": "one"}
        embedded = {"type": "resource", "resource": {"uri": "note://one", "text": "hi"}}
        return {"resultType": "complete", "content": [link, embedded]}
    if name == "forge":
        return text("ours?", isError=True, _meta={"pro.tause/error": {"code": "forbidden"}, "theirs": 1})
    return text(str(given.get("region")))


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    about = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    if method == "server/discover":
        said = {"io.modelcontextprotocol/serverInfo": {"name": NAME, "version": "9"}}
        return {**about, "supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "_meta": said,
                "instructions": f"Mind {NAME}."}  # fmt: skip
    if method == "tools/list":
        at = int(params.get("cursor") or 0)
        following = {"circle": 1 - at, "endless": at + 1}
        cursors = [{"nextCursor": str(following[tool["name"]])} for tool in MORE_TOOLS if tool["name"] in following]
        return {**about, "tools": [] if at > 1 else TOOLS + MORE_TOOLS, **(cursors[0] if cursors else {})}
    if method == "prompts/list":
        cursor = params.get("cursor")
        prompts = [{"name": "greet", "description": "Greet.", "arguments": [{"name": "who"}], "odd": {"kept": True}}]
        if cursor is None:
            return {**about, "prompts": prompts, "nextCursor": ""}
        return {**about, "prompts": [{"name": name, "description": "An odd name."} for name in ODD_NAMES]}
    if method == "prompts/get":
        said = f"{params['name']} {params.get('arguments', {}).get('who')}"
        return {**about, "messages": [{"role": "user", "content": {"type": "text", "text": said}}]}
    if method == "resources/list":
        return {**about, "resources": [{"uri": uri, "name": "one", "description": "The one."} for uri in URIS]}
    if method == "resources/templates/list":
        return {**about, "resourceTemplates": TEMPLATES}
    if method == "resources/read":
        contents = [{"uri": params["uri"], "text": f"{NAME} has {params['uri']}"}]
        return {**about, "cacheScope": "public", "contents": contents}
    if method == "completion/complete":
        ref = params["ref"]
        return {**about, "completion": {"values": [ref.get("name") or ref.get("uri"), params["argument"]["value"]]}}
    return call(params)


async def reply(send: Send, status: int, body: Any, *more: tuple[bytes, bytes]) -> None:
    raw = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def event(send: Send, message: dict[str, Any]) -> None:
    await send(
        {"type": "http.response.body", "body": b"data: " + json.dumps(message).encode() + b"\n\n", "more_body": True}
    )


async def until_gone(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def stream(message: dict[str, Any], receive: Any, send: Send) -> None:
    """Serve `wait`, which tells its progress, and `subscriptions/listen`, until the caller goes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    gone = asyncio.ensure_future(until_gone(receive))
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    params, meta = message["params"], {"io.modelcontextprotocol/subscriptionId": message["id"]}
    if message["method"] == "tools/call":
        token = params["_meta"].get("progressToken")
        told = {"progressToken": token, "progress": 1, "total": 2, "message": "waiting"}
        await event(send, {"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
    else:
        granted = {"notifications": params["notifications"], "_meta": meta}
        acknowledged = "notifications/subscriptions/acknowledged"
        await event(send, {"jsonrpc": "2.0", "method": acknowledged, "params": granted})
        LISTENERS.add(queue)
    if params.get("name") == "check_gate":
        opened = asyncio.ensure_future(GATES.wait())
        await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():
            await event(send, {"jsonrpc": "2.0", "id": message["id"], "result": text("It is open.")})
            await send({"type": "http.response.body", "body": b""})
            gone.cancel()
            return
    while not gone.done():
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            break
        told = waiting.result()
        await event(send, {**told, "params": {**told.get("params", {}), "_meta": meta}})
    LISTENERS.discard(queue)
    LOG.append({"gone": message["method"], "about": params.get("name")})


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Serve one request."""
    if scope["path"] == "/log":
        await reply(send, 200, LOG)
        return
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    message = json.loads(body)
    if scope["path"] == "/tools":
        MORE_TOOLS[:] = message
        await reply(send, 200, {})
    elif scope["path"] == "/resources":
        URIS[:] = message["uris"]
        TEMPLATES[:] = [{"uriTemplate": template, "name": "any"} for template in message["templates"]]
        await reply(send, 200, {})
    elif scope["path"] == "/tell":
        for queue in list(LISTENERS):
            queue.put_nowait(message)
        await reply(send, 200, len(LISTENERS))
    elif scope["path"] == "/open":
        GATES.set()
        await reply(send, 200, {})
    elif scope["path"] == "/close":
        GATES.clear()
        await reply(send, 200, {})
    else:
        await serve(scope, message, receive, send)


async def misspeak(message: dict[str, Any], send: Send) -> None:
    """Answer as a broken server does, or what stands before one."""
    name, own = message["params"]["name"], {"jsonrpc": "2.0", "id": message["id"], "result": text("right")}
    others = {**own, "id": "another's", "result": text("wrong")}
    if name == "mistake":
        await reply(send, 200, others)
    elif name == "late":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await event(send, others)
        await event(send, own)
        await send({"type": "http.response.body", "body": b""})
    else:
        status = int(message["params"]["arguments"]["status"])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<html>so it is</html>"})


async def serve(scope: dict[str, Any], message: dict[str, Any], receive: Any, send: Send) -> None:
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    LOG.append({"headers": headers, "message": message})
    method, params = message.get("method"), message.get("params", {})
    if method == "initialize":
        await reply(send, 400, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32022, "message": "no"}})
    elif method == "subscriptions/listen" or str(params.get("name")).startswith(("wait", "check_gate")):
        await stream(message, receive, send)
    elif method == "tools/call" and params["name"] in {"mistake", "late", "proxied"}:
        await misspeak(message, send)
    elif params.get("name") == "refuse":
        error = {"code": -32021, "message": "I need more", "data": {"requiredCapabilities": {"sampling": {}}}}
        await reply(send, 400, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    elif str(method).startswith("tasks/"):
        error = {"code": -32601, "message": "Method not found"}
        await reply(send, 404, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    else:
        head = (b"x-head", b"x" * int(params.get("arguments", {}).get("head", 0)))
        await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": answer(str(method), params)}, head)


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
    )
