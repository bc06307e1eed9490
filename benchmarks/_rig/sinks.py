"""A gateway's internal door with three tools behind it, which counts lastingly what comes in and what takes effect.

`python sinks.py SOCKET FILE [MILLISECONDS]`: `ledger/record_visit` keeps idempotency keys, `post/send_letter` keeps
none, `clinic/check_room` only reads. Each call takes so many milliseconds, and one that an agent's rule holds waits for
an approval. All that is counted is in a SQLite file.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tausestack.errors import ApprovalRequired, to_jsonrpc

NEVER = "2999-01-01T00:00:00+00:00"
TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS arrivals (address TEXT, run TEXT, key TEXT, arguments TEXT, at REAL);
CREATE TABLE IF NOT EXISTS effects (address TEXT, run TEXT, key TEXT, arguments TEXT, at REAL);
CREATE UNIQUE INDEX IF NOT EXISTS once ON effects (key) WHERE address = 'ledger/record_visit';
"""


def tool(address: str, description: str, name: str, **policy: Any) -> dict[str, Any]:
    """Return a tool as `/api/v2` lists it."""
    server, _, own = address.partition("/")
    taken = {"type": "string", "description": f"The {name}.", "examples": [f"{name[0]}-1"]}
    schema = {"type": "object", "properties": {name: taken}, "required": [name], "additionalProperties": False}
    about = {"address": address, "server": server, "name": own, "description": description, "input_schema": schema}
    return {**about, "idempotent": False, "keyed": False, "approval": "never", **policy}


TOOLS = [
    tool("clinic/check_room", "Check whether a room is free.", "room", side_effect="read"),
    tool("ledger/record_visit", "Record a visit of a patient.", "patient", side_effect="write", keyed=True),
    tool("post/send_letter", "Send a letter to a customer.", "customer", side_effect="write"),
]


class Door:
    """The door, over one file."""

    def __init__(self, file: str, seconds: float) -> None:
        self.database = sqlite3.connect(file, isolation_level=None)
        self.database.executescript(TABLES)
        self.seconds = seconds

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/tenants/{tenant}/servers/{server}/mcp", self._mcp, methods=["POST"]),
                Route("/api/v2/tenants/{tenant}/tools", self._list),
                Route("/health", self._list),
            ]
        )

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"tools": TOOLS, "next_cursor": None})

    async def _mcp(self, request: Request) -> Response:
        body = await request.json()
        params = body["params"]
        address = f"{request.path_params['server']}/{params['name']}"
        token = request.headers["authorization"].removeprefix("Bearer ")
        meta = params["_meta"]
        key = meta.get("pro.tause/idempotency-key")
        if meta.get("pro.tause/hold") and not meta.get("pro.tause/approval"):
            held = ApprovalRequired("It waits for a person", approval=f"of-{key}", expires_at=NEVER)
            return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "error": to_jsonrpc(held)}, held.status)
        found = await self._answer(address, token.rpartition(":")[2], key, params["arguments"])
        result = {"content": [{"type": "text", "text": json.dumps(found)}], "structuredContent": found}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": {**result, "isError": False}})

    async def _answer(self, address: str, run: str, key: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
        if address == "platform/delegate":
            self._note(address, arguments["run"])
            return {"token": f"{arguments['tenant']}:{arguments['run']}", "expires_in": 600}
        if address == "registry/find_tools":
            return {"tools": []}
        row = self._note(address, run, key, arguments)
        if address == "agents/run":
            return {"id": "run_0", "status": "pending"}
        if self.seconds:
            await asyncio.sleep(self.seconds)  # what the tool takes
        if address != "clinic/check_room":
            self.database.execute("INSERT OR IGNORE INTO effects VALUES (?, ?, ?, ?, ?)", row)
        return {"done": arguments}

    def _note(self, address: str, run: str, key: str | None = None, arguments: Any = None) -> tuple[Any, ...]:
        row = (address, run, key, json.dumps(arguments), time.time())
        self.database.execute("INSERT INTO arrivals VALUES (?, ?, ?, ?, ?)", row)
        return row


def main(path: str, file: str, milliseconds: str = "0") -> None:
    """Serve on a Unix socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = f"{path}.draft"
    listener.bind(draft)
    listener.listen(256)
    os.replace(draft, path)  # noqa: PTH105 one after the other under one name, and never none
    app = Door(file, float(milliseconds) / 1000).app()
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none")).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
