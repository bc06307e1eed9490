"""A server of an earlier version whose definitions strict clients refuse to read: `python -m peculiar_party`.

It prints its endpoint. Every tool echoes its arguments, every resource its URI and every prompt its name.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NULLS: dict[str, Any] = dict.fromkeys(("title", "description", "annotations", "icons", "_meta"))
WRONG: dict[str, Any] = {"title": 7, "description": ["?"], "annotations": "none", "icons": {}, "_meta": []}
TOOLS: list[dict[str, Any]] = [
    {"name": "no_type", "inputSchema": {}},
    {"name": "nulls", **NULLS, "outputSchema": None, "inputSchema": {"properties": None, "required": None}},
    {"name": "wrong", **WRONG, "outputSchema": "text", "inputSchema": {"type": "object", "required": ["a", 1]}},
    {"name": "hints", "annotations": {"readOnlyHint": "yes", "title": None}, "inputSchema": {"type": "object"}},
    {"name": "truths", "inputSchema": {"type": "object", "properties": {"a": True, "b": False}}},
    {"name": "a_list", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array", "items": {}}},
]
PROMPTS: list[dict[str, Any]] = [
    {"name": "nulls", **NULLS, "arguments": None},
    {"name": "wrong", **WRONG, "arguments": [None, {"name": 1}, {"name": "a", "required": None, "description": 0}]},
    {"name": None},
]
RESOURCES: list[dict[str, Any]] = [
    {"uri": "note://nulls", "name": None, "mimeType": None, "size": None, **NULLS},
    {"uri": "note://wrong", "mimeType": 1, "size": "big", **WRONG},
    {"uri": "urn:note:a b/ñ?c=d#e", "name": "odd", "annotations": {"audience": "user", "priority": "high"}},
    {"uri": "", "name": "empty"},
    {"name": "none"},
]
TEMPLATES: list[dict[str, Any]] = [{"uriTemplate": "note://{name}", **NULLS}, {"uriTemplate": None, "name": "none"}]
ANSWERS: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
        "serverInfo": {"name": "peculiar", "version": "1"},
    },
    "tools/list": {"tools": TOOLS},
    "prompts/list": {"prompts": PROMPTS},
    "resources/list": {"resources": RESOURCES},
    "resources/templates/list": {"resourceTemplates": TEMPLATES},
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the result or the error of a request."""
    text = {"type": "text", "text": json.dumps(params.get("arguments"))}
    if method in ANSWERS:
        return {"result": ANSWERS[method]}
    if method == "tools/call":
        return {"result": {"content": [text], "structuredContent": [1] if params["name"] == "a_list" else None}}
    if method == "resources/read":
        return {"result": {"contents": [{"uri": params["uri"], "text": params["uri"], "mimeType": None}]}}
    if method == "prompts/get":
        return {"result": {"messages": [{"role": "user", "content": {"type": "text", "text": params["name"]}}]}}
    return {"error": {"code": -32601, "message": "Method not found"}}


class Door(BaseHTTPRequestHandler):
    """Answers POSTs, each by itself."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said: dict[str, Any] | None = None
        if "id" in message:
            said = {"jsonrpc": "2.0", "id": message["id"], **answer(message["method"], message.get("params") or {})}
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(202 if said is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/mcp", flush=True)
        server.serve_forever()
