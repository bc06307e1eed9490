"""A third-party stdio server that speaks 2026-07-28 itself, with nothing but the standard library."""

from __future__ import annotations

import json
import sys
from typing import Any

NAMES = ("echo", "name", "log", "grow", "seen", "wait")
META = "io.modelcontextprotocol/"
FRESH = {"ttlMs": 7, "cacheScope": "public"}
seen: list[Any] = []
listening: dict[Any, dict[str, Any]] = {}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: Any) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": json.dumps(value)}]}


def call(number: Any, params: dict[str, Any]) -> None:
    name = params["name"]
    if name == "name":
        answers = params.get("inputResponses")
        if answers is None:
            ask = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object"}}}
            waits = {"resultType": "input_required", "inputRequests": {"who": ask}, "requestState": "as it is"}
            send({"id": number, "result": waits})
            return
        send({"id": number, "result": text([answers, params["requestState"]])})
    elif name == "log":
        send({"method": "notifications/message", "params": {"level": "info", "data": "logged"}})
        send({"id": number, "result": text(None)})
    elif name == "grow":
        for subscription in listening:
            tagged = {"_meta": {f"{META}subscriptionId": subscription}}
            send({"method": "notifications/tools/list_changed", "params": tagged})
        send({"id": number, "result": text(None)})
    elif name == "echo":
        meta = params["_meta"]
        if "progressToken" in meta:
            told = {"progressToken": meta["progressToken"], "progress": 1}
            send({"method": "notifications/progress", "params": told})
        send({"id": number, "result": {**text(meta), "extra": [1]}})
    elif name == "seen":
        send({"id": number, "result": text(seen)})
    elif name != "wait":
        send({"id": number, "error": {"code": -32602, "message": "unknown tool"}})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        seen.append([method, params.get("requestId")])
        if method == "server/discover":
            meta = {f"{META}serverInfo": {"name": "modern", "version": "2"}}
            capabilities = {"tools": {"listChanged": True}, "logging": {}}
            said = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, **FRESH}
            send({"id": number, "result": {"resultType": "complete", **said, "_meta": meta}})
        elif method == "initialize":
            send({"id": number, "error": {"code": -32602, "message": "I speak 2026-07-28"}})
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
            send({"id": number, "result": {"tools": tools, **FRESH}})
        elif method == "tools/call":
            call(number, params)
        elif method == "subscriptions/listen":
            listening[number] = params["notifications"]
            told = {"_meta": {f"{META}subscriptionId": number}, "notifications": params["notifications"]}
            send({"method": "notifications/subscriptions/acknowledged", "params": told})
        elif method == "notifications/cancelled":
            listening.pop(params["requestId"], None)
