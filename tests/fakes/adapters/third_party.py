"""A third-party stdio server of an earlier protocol version, as hostile as its one argument says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODE = sys.argv[1] if len(sys.argv) > 1 else "plain"

READS: dict[str, Any] = {"annotations": {"readOnlyHint": True}}
TOOLS: list[dict[str, Any]] = [
    {
        "name": "echo",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True},
        "x-unknown": {"kept": 1},
    },
    {"name": "look", "description": "Look around.", "inputSchema": {"type": "object"}},
    {"name": "die", "inputSchema": {"type": "object"}},
    {"name": "die_reading", "inputSchema": {"type": "object"}, **READS},
    {"name": "wait", "inputSchema": {"type": "object"}},
    {"name": "flood", "inputSchema": {"type": "object"}},
    {"name": "endless", "inputSchema": {"type": "object"}},
    {"name": "garbage", "inputSchema": {"type": "object"}},
    {"name": "fork", "inputSchema": {"type": "object"}},
    {"name": "refuse", "inputSchema": {"type": "object"}},
    {"name": "count", "inputSchema": {"type": "object"}},
    {"name": "cancelled", "inputSchema": {"type": "object"}},
]

cancelled: list[Any] = []


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": json.dumps(value)}]}


def attempt(action: Any) -> str:
    try:
        return f"ok {action()}"
    except Exception as error:  # noqa: BLE001 whatever it is, the test wants its name
        return type(error).__name__


def first(what: str) -> bool:
    """Whether this happens for the first time, in whichever process."""
    try:
        Path(what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def look(paths: list[str]) -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "files": {path: attempt(lambda path=path: [one.name for one in Path(path).iterdir()]) for path in paths},
        "processes": attempt(lambda: sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())),
        "parent": attempt(lambda: os.kill(int(paths[-1]), 0)) if paths and paths[-1].isdigit() else "",
        "tcp": attempt(lambda: socket.create_connection(("127.0.0.1", 22), 1)),
        "udp": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))),
        "unix": attempt(lambda: socket.socket(socket.AF_UNIX)),
        "home": attempt(lambda: Path("note").write_text("mine")),
        "root": attempt(lambda: Path("/note").write_text("yours")),
        "package": attempt(lambda: (Path(__file__).parent / "note").write_text("yours")),
        "descriptors": attempt(lambda: [number for number in range(3, 64) if _is_open(number)]),
    }


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def call(number: Any, params: dict[str, Any]) -> None:  # noqa: C901 a list of moods
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        if MODE == "reads_late" and first("begun"):
            time.sleep(600)
        meta = {"own": params.get("_meta"), "pro.tause/error": {}}
        send({"id": number, "result": {**text(arguments), "_meta": meta, "extra": [1]}})
    elif name == "look":
        send({"id": number, "result": text(look(arguments.get("paths", [])))})
    elif name in {"die", "die_reading"}:
        os._exit(3)
    elif name == "flood":
        sys.stdout.write("x" * (9 * 1024 * 1024) + "\n")
        sys.stdout.flush()
    elif name == "endless":
        while True:
            sys.stdout.write("x" * 65536)
            sys.stdout.flush()
    elif name == "garbage":
        print("this is no JSON", "[1, 2]", '{"id": 999999, "result": {}}', "null", sep="\n", flush=True)
        send({"id": number, "result": text("after the garbage")})
    elif name == "fork":
        code = "import os, time; os.setsid(); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-S", "-c", code, "left-behind-" + arguments["mark"]])
        send({"id": number, "result": text(child.pid)})
    elif name == "refuse":
        send({"id": number, "error": {"code": -32000, "message": "no", "data": arguments.get("data")}})
    elif name == "count":
        token = params["_meta"]["progressToken"]
        for step in range(3):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step, "total": 3}})
        send({"id": number, "result": text("counted")})
    elif name == "cancelled":
        send({"id": number, "result": text(cancelled)})
    elif name != "wait":
        send({"id": number, "error": {"code": -32602, "message": "unknown tool"}})


def main() -> None:
    if MODE == "silent" or (MODE == "starts_late" and first("begun")):
        time.sleep(600)
    if MODE == "dead":
        print("I will not run", file=sys.stderr)
        sys.exit(4)
    if MODE == "noisy":
        for _ in range(100_000):
            print("noise " * 20, file=sys.stderr)
    tools = [{**tool, "description": f"as of {MODE}"} if MODE == "changed" else tool for tool in TOOLS]
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        if MODE == "shy" and method == "server/discover":
            os._exit(5)
        if method == "initialize":
            said = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}
            send({"id": number, "result": said})
            send({"id": "s-1", "method": "sampling/createMessage", "params": {}})
            send({"id": "s-2", "method": "ping"})
        elif method == "tools/list":
            start = int(params.get("cursor", 0))
            page: dict[str, Any] = {"tools": tools[start : start + 5]}
            more = MODE in {"circle", "endless"} or start + 5 < len(tools)
            following = start + 5 if MODE == "endless" else (start + 5) % 15
            send({"id": number, "result": {**page, "nextCursor": str(following)} if more else page})
        elif method == "tools/call":
            call(number, params)
        elif method == "notifications/cancelled":
            cancelled.append(params["requestId"])
        elif number is not None and method is not None:
            send({"id": number, "error": {"code": -32601, "message": "unknown method"}})
