"""A third-party stdio server that goes beyond every bound, as its one argument says, or its variable MODE."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MODE = sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]
LINE_BYTES = 600_000_000


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tools() -> list[dict[str, Any]]:
    fine: dict[str, Any] = {"name": "fine", "inputSchema": {"type": "object"}}
    if MODE == "nodes":
        fields = {str(number): {"type": "string"} for number in range(25_000)}
        return [fine, {"name": "many", "inputSchema": {"type": "object", "properties": fields}}]
    if MODE == "depth":
        nested: dict[str, Any] = {"type": "object"}
        for _ in range(40):
            nested = {"type": "object", "properties": {"x": nested}}
        return [fine, {"name": "deep", "inputSchema": nested}]
    if MODE == "bytes":
        return [fine, {"name": "large", "inputSchema": {"type": "object", "title": "x" * 300_000}}]
    if MODE == "words":
        return [fine, {"name": "wordy", "description": "x" * 9_000, "inputSchema": {"type": "object"}}]
    if MODE == "tools":
        return [{**fine, "name": f"fine{number}"} for number in range(1001)]
    if MODE == "growing" and grown:
        return [fine, {**fine, "name": "new"}]
    return [fine]


grown: list[bool] = []


def call(number: int) -> None:
    if MODE == "nested":
        nested = '{"a":' * 100_000 + "1" + "}" * 100_000
        sys.stdout.write(f'{{"jsonrpc":"2.0","id":{number},"result":{nested}}}\n')
        sys.stdout.flush()
    elif MODE == "line":
        sys.stdout.write(f'{{"jsonrpc":"2.0","id":{number},"result":"')
        for _ in range(LINE_BYTES // 1_000_000):
            sys.stdout.write("x" * 1_000_000)
        sys.stdout.flush()
    elif MODE == "notes":
        while True:
            send({"method": "notifications/message", "params": {"level": "error", "data": "x"}})
    elif MODE != "silent":
        if MODE == "growing" and not grown:
            grown.append(True)
            send({"method": "notifications/tools/list_changed"})
        send({"id": number, "result": {"content": [{"type": "text", "text": '"done"'}]}})


def main() -> None:
    offers = {"tools": {"listChanged": True}}
    said = {"protocolVersion": "2025-06-18", "capabilities": offers, "serverInfo": {"name": "unbounded"}}
    for line in sys.stdin:
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            send({"id": number, "result": said})
        elif method == "tools/list":
            send({"id": number, "result": {"tools": tools()}})
        elif method == "tools/call":
            call(number)
        elif number is not None:
            send({"id": number, "error": {"code": -32601, "message": "unknown"}})
