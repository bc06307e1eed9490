"""Where the stack is reached is not for a request to say."""

from __future__ import annotations

from typing import Any
from unittest.mock import create_autospec
from urllib.parse import quote

import pytest

from tausestack.errors import Forbidden, NotFound, Unauthenticated
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.http.line import Line
from tausestack_runtime.gateway.oauth.bases import Bases

pytestmark = pytest.mark.covers("oauth:metadata")

PUBLIC = "https://tools.acme.co"


def exchange(host: str, path: str = "/tenants/acme/mcp", **headers: str) -> Exchange:
    named = [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    return Exchange(Head("POST", quote(path).encode(), named), create_autospec(Line, inside=False), b"")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000"])
def test_this_machines_own_names_are_a_base(host: str) -> None:
    assert Bases(None).of(exchange(host)) == f"http://{host.lower()}"
    assert Bases(PUBLIC).of(exchange(host)) == PUBLIC


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:8000@evil", '127.0.0.1:1", x="', "", "127.0.0.2", "a b"],
)
def test_no_other_name_is_a_base_unless_the_operator_says_so(host: str) -> None:
    assert Bases(None).of(exchange(host)) is None
    assert Bases(PUBLIC).of(exchange(host)) == PUBLIC
    assert not Bases(None).owns(f"http://{host}")
    challenge = Bases(None).challenge(exchange(host), Unauthenticated("no"))
    assert challenge == b'Bearer realm="tausestack"'


def test_tokens_of_the_public_address_are_ours_and_no_others() -> None:
    bases = Bases(PUBLIC)
    assert bases.owns(PUBLIC)
    for other in ("http://127.0.0.1:8000", "https://tools.acme.co.evil", "https://tools.acme.co/", "tausestack"):
        assert not bases.owns(other)
    assert bases.owns("tausestack:")


def test_a_challenge_says_what_would_help() -> None:
    bases, metadata = Bases(PUBLIC), f'resource_metadata="{PUBLIC}/.well-known/oauth-protected-resource'

    def told(error: Any, path: str, **headers: str) -> str:
        return (bases.challenge(exchange("x", path, **headers), error) or b"").decode()

    assert told(Unauthenticated("no"), "/tenants/a/mcp") == f'Bearer realm="tausestack", {metadata}/tenants/a/mcp"'
    assert 'error="invalid_token"' in told(Unauthenticated("no"), "/tenants/a/mcp", authorization="Bearer x")
    assert f"{metadata}/tenants/a/servers/b/mcp" in told(Unauthenticated("no"), "/tenants/a/servers/b/mcp")
    assert f"{metadata}/tenants/a/mcp" in told(Unauthenticated("no"), "/api/v2/tenants/a/tools/b/c")
    assert "metadata" not in told(Unauthenticated("no"), '/tenants/a"b/mcp')
    lacking = told(Forbidden("no", scope="tools:call:b/c"), "/tenants/a/mcp")
    assert 'error="insufficient_scope", scope="tools:call:b/c"' in lacking
    for error in (NotFound("no"), Forbidden("no", scope="system"), Forbidden("no", scope="origin")):
        assert told(error, "/tenants/a/mcp") == ""
