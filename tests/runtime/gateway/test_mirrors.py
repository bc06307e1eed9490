"""Headers that mirror arguments, as the official SDKs' clients write them."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack_runtime.gateway.mirrors import minted, mirrors_of, mismatch

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "x-mcp-header": "Text"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
    },
}
MIRRORS = mirrors_of(SCHEMA)


@pytest.mark.covers("remote:mirrors")
@pytest.mark.parametrize(
    ("arguments", "header", "value"),
    [
        ({"text": "a\tb"}, "text", "a\tb"),
        ({"text": "ñ"}, "text", "=?base64?w7E=?="),
        ({"count": 1.0}, "count", "1.0"),
        ({"count": 1.0}, "count", "1"),
        ({"count": 1}, "count", "1.0"),
        ({"count": 9007199254740993}, "count", "9007199254740993"),
        ({"count": 1.5}, "count", "1.5"),
        ({"count": 1e22}, "count", "1e+22"),
    ],
)
def test_a_header_that_says_the_same_agrees(arguments: dict[str, Any], header: str, value: str) -> None:
    assert mismatch(MIRRORS, arguments, {b"mcp-param-" + header.encode(): value.encode()}) is None
    own = dict(minted(MIRRORS, arguments))
    assert mismatch(MIRRORS, arguments, own) is None


@pytest.mark.covers("remote:mirrors")
@pytest.mark.parametrize(
    ("arguments", "header", "value"),
    [
        ({"text": "a\tb"}, "text", "a b"),
        ({"text": "1.0"}, "text", "1"),
        ({"count": 1.0}, "count", "2"),
        ({"count": 9007199254740993}, "count", "9007199254740992"),
        ({"count": 1.5}, "count", "1"),
        ({"count": 1.0}, "count", "one"),
    ],
)
def test_a_header_that_says_something_else_does_not(arguments: dict[str, Any], header: str, value: str) -> None:
    name = "mcp-param-" + header
    assert mismatch(MIRRORS, arguments, {name.encode(): value.encode()}) == name
