"""A third party's server of the earlier versions at a URL: `python earlier_party.py PORT NAME`; it logs what it hears.

It keeps sessions, asks its client on the streams of POSTs, tells on streams of GET, and knows no 2026-07-28. `GET /log`
gives the log, `POST /tell` sends a message on every stream that was opened with GET, `POST /forget` ends all sessions.
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
SESSIONS: dict[str, str] = {}
ANSWERS: dict[tuple[str, Any], asyncio.Future[dict[str, Any]]] = {}
CANCELLED: dict[tuple[str, Any], asyncio.Event] = {}
STREAMS: set[asyncio.Queue[dict[str, Any]]] = set()
LISTENING: set[str] = set()
CLOSED: dict[str, dict[str, Any]] = {}
"""Responses that wait for a client to come back for them, by the id of the stream's last event."""
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {},
    "logging": {},
}
NAMES = ("ask", "wait", "close", "who", "listens", "fail", "pose")
TOOLS = [{"name": name, "description": f"Do {name}.", "inputSchema": EMPTY} for name in NAMES]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


async def head(send: Send, status: int, kind: str, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def reply(send: Send, status: int, body: Any, *more: tuple[bytes, bytes]) -> None:
    await head(send, status, "application/json", *more)
    await send({"type": "http.response.body", "body": b"" if body is None else json.dumps(body).encode()})


async def event(send: Send, message: dict[str, Any], identifier: str = "") -> None:
    name = f"id: {identifier}\n" if identifier else ""
    body = f"{name}data: {json.dumps(message)}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b""})


async def call(session: str, message: dict[str, Any], send: Send) -> None:
    """Answer a tool's call on a stream."""
    key, params = (session, message["id"]), message["params"]

    def response(result: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    await head(send, 200, "text/event-stream")
    if params["name"] == "ask":
        # The id of the question is that of the client's own request: the two count apart.
        answer = ANSWERS[key] = asyncio.get_running_loop().create_future()
        asked = {"message": f"{NAME} asks", "requestedSchema": EMPTY}
        await event(send, {"jsonrpc": "2.0", "id": message["id"], "method": "elicitation/create", "params": asked})
        await event(send, response(text(f"{NAME} heard {json.dumps((await answer)['result'])}")))
    elif params["name"] == "listens":
        await event(send, response(text(str(session in LISTENING))))
    elif params["name"] == "wait":
        token = params.get("_meta", {}).get("progressToken")
        told = {"progressToken": token, "progress": 1}
        await event(send, {"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
        await CANCELLED.setdefault(key, asyncio.Event()).wait()
    elif params["name"] == "close":
        identifier = f"{session}-{message['id']}"
        await send({"type": "http.response.body", "body": f"id: {identifier}\nretry: 60\ndata: \n\n".encode(),
                    "more_body": True})  # fmt: skip
        CLOSED[identifier] = response(text("after the break"))
    elif params["name"] == "who":
        await event(send, response(text(SESSIONS[session])))
    elif params["name"] == "pose":
        error = {"code": -32000, "message": "not now", "data": {"code": "unavailable", "theirs": 1}}
        await event(send, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    else:
        error = {"code": -32602, "message": "so it is", "data": {"theirs": 1}}
        await event(send, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    await end(send)


async def request(session: str, message: dict[str, Any], send: Send) -> None:
    method = message["method"]
    if method == "tools/call":
        await call(session, message, send)
        return
    results: dict[str, dict[str, Any]] = {
        "tools/list": {"tools": TOOLS},
        "prompts/list": {"prompts": []},
        "resources/list": {"resources": [{"uri": "note://one", "name": "one"}]},
        "resources/templates/list": {"resourceTemplates": []},
        "resources/read": {"contents": [{"uri": "note://one", "text": f"of {NAME}"}]},
        "logging/setLevel": {},
        "resources/subscribe": {},
        "resources/unsubscribe": {},
        "ping": {},
    }
    if method in results:
        await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": results[method]})
    else:
        await reply(send, 404, {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": method}})


async def begin(message: dict[str, Any], send: Send) -> None:
    params = message["params"]
    session = f"{NAME}-{len(LOG)}"
    SESSIONS[session] = json.dumps([params["clientInfo"]["name"], sorted(params["capabilities"])])
    result = {
        "protocolVersion": min(params["protocolVersion"], "2025-11-25"),
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": NAME, "version": "3"},
    }
    headers = (b"mcp-session-id", session.encode())
    await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, headers)


async def listen(headers: dict[str, str], receive: Any, send: Send) -> None:
    last = headers.get("last-event-id")
    if last is not None:
        await head(send, 200, "text/event-stream")
        await event(send, CLOSED.pop(last), f"{last}-more")
        await end(send)
        return
    await head(send, 200, "text/event-stream")
    await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    STREAMS.add(queue)
    LISTENING.add(headers["mcp-session-id"])
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await event(send, waiting.result())
        else:
            waiting.cancel()
    STREAMS.discard(queue)
    LISTENING.discard(headers["mcp-session-id"])


async def mcp(scope: dict[str, Any], message: Any, receive: Any, send: Send) -> None:
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    LOG.append({"http": scope["method"], "headers": headers, "message": message})
    session = headers.get("mcp-session-id", "")
    if scope["method"] == "POST" and message.get("method") == "initialize":
        await begin(message, send)
    elif not session:
        await reply(send, 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no session"}})
    elif session not in SESSIONS:
        await reply(send, 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "gone"}})
    elif scope["method"] == "GET":
        await listen(headers, receive, send)
    elif scope["method"] == "DELETE":
        del SESSIONS[session]
        await reply(send, 200, None)
    elif "method" in message and "id" in message:
        await request(session, message, send)
    else:
        if message.get("method") == "notifications/cancelled":
            CANCELLED.setdefault((session, message["params"]["requestId"]), asyncio.Event()).set()
        elif "method" not in message:
            ANSWERS[session, message["id"]].set_result(message)
        await reply(send, 202, None)


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Serve one request."""
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    message = json.loads(body) if body else None
    if scope["path"] == "/log":
        await reply(send, 200, LOG)
    elif scope["path"] == "/tell":
        for queue in list(STREAMS):
            queue.put_nowait(message)
        await reply(send, 200, len(STREAMS))
    elif scope["path"] == "/forget":
        SESSIONS.clear()
        await reply(send, 200, {})
    else:
        await mcp(scope, message, receive, send)


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
    )
