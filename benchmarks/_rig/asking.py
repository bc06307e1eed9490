"""What is asked of a system, and whether what came back is right: each call adds its own number to three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from benchmarks._rig.generator import Ask, Check

Question = tuple[Ask, Check]

_META = (
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"benchmark","version":"1.0.0"}}'
)


def mcp_call(path: str, tool: str, key: str | None = None) -> Question:
    """Ask for `tools/call` of a tool that adds."""
    head = _head(path, key, f"mcp-method: tools/call\r\nmcp-name: {tool}\r\n")
    name = tool.encode()

    def ask(number: int) -> bytes:
        return _request(
            head,
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"a":%d,"b":3},%b}}'
            % (number, name, number, _META),
        )

    def right(number: int, reply: Any) -> bool:
        return reply["id"] == number and reply["result"]["structuredContent"] == {"result": number + 3}

    return ask, _checked(right)


def mcp_list(path: str, count: int, key: str | None = None) -> Question:
    """Ask for `tools/list`, which has to give at least so many tools."""
    head = _head(path, key, "mcp-method: tools/list\r\n")

    def ask(number: int) -> bytes:
        return _request(head, b'{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":{%b}}' % (number, _META))

    def check(number: int, status: int, body: bytes) -> bool:
        # Parsing 370 KB takes longer than what is measured: the first reply is parsed, in the others tools are counted.
        if number == 0 and len(orjson.loads(body)["result"]["tools"]) < count:
            return False
        return status == 200 and body.count(b'"inputSchema":{') >= count

    return ask, check


def rest_call(path: str, key: str | None = None) -> Question:
    """Ask by a POST whose body is the arguments; the reply is the result, bare or as `{"result": …}`."""
    head = _head(path, key, "")

    def ask(number: int) -> bytes:
        return _request(head, b'{"a":%d,"b":3}' % number)

    def right(number: int, reply: Any) -> bool:
        return reply in ({"result": number + 3}, number + 3, str(number + 3))

    return ask, _checked(right)


def _checked(right: Callable[[int, Any], bool]) -> Check:
    def check(number: int, status: int, body: bytes) -> bool:
        if status != 200:
            return False
        try:
            return right(number, orjson.loads(body))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False

    return check


def _head(path: str, key: str | None, more: str) -> bytes:
    modern = "mcp-protocol-version: 2026-07-28\r\n" if more else ""
    credential = f"authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"accept: application/json{', text/event-stream' if more else ''}\r\n{modern}{more}{credential}"
    ).encode()


def _request(head: bytes, body: bytes) -> bytes:
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
