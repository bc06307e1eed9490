"""The raw upstream: an MCP server that costs almost nothing, so that what stands before it is what is measured.

Run as `python -m benchmarks._rig.upstream PORT`. It speaks 2026-07-28, and the handshake of earlier versions
without sessions; `/mcp` has the tool `add` alone, `/many/mcp` has a thousand tools, `GET /counts` gives the requests so
far by method.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any, cast

import httptools
import orjson
import uvloop

MANY = 1000
MODERN = "2026-07-28"
EARLIER = ("2025-11-25", "2025-06-18", "2025-03-26")
SERVER = {"name": "raw", "version": "1.0.0"}
_NUMBER = {"type": "integer"}


def tool(name: str) -> dict[str, Any]:
    """Return the definition of a tool that adds two numbers."""
    return {
        "name": name,
        "title": f"Add, as {name}",
        "description": f"Adds two integers and returns their sum, which is all that {name} does for anybody.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": _NUMBER, "b": _NUMBER},
            "required": ["a", "b"],
        },
        "outputSchema": {"type": "object", "properties": {"result": _NUMBER}, "required": ["result"]},
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
    }


def listing(count: int) -> bytes:
    """Return the `tools/list` result of a server with so many tools, `add` among them."""
    tools = [tool("add"), *(tool(f"add_{number:04}") for number in range(1, count))]
    return orjson.dumps({"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public", "tools": tools})


class Upstream:
    """What the server says, and how often it was asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._listings = {"/mcp": listing(1), "/many/mcp": listing(MANY)}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return the status and body of a reply."""
        if path == "/counts":
            return 200, orjson.dumps(self.counts)
        if method != "POST" or path not in self._listings:
            self.counts[method] += 1
            return 405, b""
        message = orjson.loads(body)
        self.counts[message["method"]] += 1
        if "id" not in message:
            return 202, b""
        result = self._result(message["method"], message.get("params", {}), path)
        if result is None:
            return 404, orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "error": _NO_METHOD})
        return 200, b'{"jsonrpc":"2.0","id":' + orjson.dumps(message["id"]) + b',"result":' + result + b"}"

    def _result(self, method: str, params: dict[str, Any], path: str) -> bytes | None:
        if method == "tools/call":
            total = params["arguments"]["a"] + params["arguments"]["b"]
            return (
                b'{"resultType":"complete","content":[{"type":"text","text":"%d"}],"structuredContent":{"result":%d}}'
                % (total, total)
            )
        if method == "tools/list":
            return self._listings[path]
        if method == "server/discover":
            return orjson.dumps(
                {
                    "resultType": "complete",
                    "supportedVersions": [MODERN, *EARLIER],
                    "capabilities": {"tools": {}},
                    "ttlMs": 60_000,
                    "cacheScope": "public",
                    "_meta": {"io.modelcontextprotocol/serverInfo": SERVER},
                }
            )
        if method == "initialize":
            asked = params.get("protocolVersion")
            version = asked if asked in EARLIER else EARLIER[0]
            return orjson.dumps({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": SERVER})
        return b"{}" if method == "ping" else None


_REPLY = b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_NO_METHOD = {"code": -32601, "message": "Method not found"}


class Door(asyncio.Protocol):
    """One connection to the upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        status, body = self._upstream.answer(self._parser.get_method().decode(), self._url.decode(), self._body)
        self._transport.write(
            b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            + body
        )


async def serve(port: int) -> None:
    """Serve on a loopback port until the process is ended."""
    upstream = Upstream()
    server = await asyncio.get_running_loop().create_server(lambda: Door(upstream), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
