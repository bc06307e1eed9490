"""Which names this host goes by, and which pages may call it."""

from __future__ import annotations

import pytest

from tausestack_runtime.gateway.guard import Guard
from tausestack_runtime.gateway.http.head import Head

LOCAL = Guard("127.0.0.1", "https://mcp.example.com")


def status(host: bytes | None, *more: tuple[bytes, bytes]) -> int:
    headers = [*([] if host is None else [(b"host", host)]), *more]
    refused = LOCAL.refusal(Head("POST", b"/tenants/acme/mcp", headers, keeps=True))
    return 200 if refused is None else refused.status


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LocalHost:8000", b"127.0.0.1:8000", b"127.0.0.1", b"[::1]", b"[::1]:8000", b"mcp.example.com:443"],
)
def test_a_name_of_this_host_is_taken_with_any_port(host: bytes) -> None:
    assert status(host) == 200


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize(
    "host",
    [
        None,
        b"",
        b":8000",
        b"evil.example",
        b"localhost.",
        b"127.1",
        b"0.0.0.0",
        b"localhost:8000, evil.example",
        b"localhost:8000@evil.example",
        b"localhost:80:80",
        b"localhost:x",
        b"localhost /",
        b"[::1",
        b"[::1]evil.example",
        b"::1",
        b"\xe2\x84\xaaocalhost",
    ],
)
def test_what_is_no_name_of_this_host_is_another(host: bytes | None) -> None:
    assert status(host) == 421


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        (b"http://localhost:8000", 200),
        (b"http://localhost", 403),
        (b"http://localhost:3000", 403),
        (b"http://localhost:8000.evil.example", 403),
        (b"http://localhost:8000@evil.example", 403),
        (b"http://evil@localhost:8000", 403),
        (b"http://[", 403),
        (b"null", 403),
        (b"", 403),
    ],
)
def test_a_page_may_call_the_host_that_it_is_of(origin: bytes, answer: int) -> None:
    assert status(b"localhost:8000", (b"origin", origin)) == answer


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"http://localhost:8000/tenants/acme/mcp", 200),
        (b"http://LOCALHOST:8000", 200),
        (b"http://evil.example/tenants/acme/mcp", 421),
        (b"http://localhost/tenants/acme/mcp", 421),
        (b"http://localhost:8001/", 421),
        (b"//evil.example/x", 200),  # no authority: a path that begins with two strokes
    ],
)
def test_a_target_that_names_another_host_than_the_header_is_misdirected(target: bytes, answer: int) -> None:
    refused = LOCAL.refusal(Head("POST", target, [(b"host", b"localhost:8000")], keeps=True))
    assert (200 if refused is None else refused.status) == answer


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([(b"content-encoding", b"gzip"), (b"content-length", b"3")], 415),
        ([(b"content-encoding", b"br"), (b"transfer-encoding", b"chunked")], 415),
        ([(b"transfer-encoding", b"gzip, chunked")], 415),
        ([(b"transfer-encoding", b"Chunked")], 200),
        ([(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"content-encoding", b"identity"), (b"content-length", b"3")], 200),
        ([(b"content-encoding", b"gzip")], 200),
    ],
)
def test_a_body_that_is_encoded_is_refused(headers: list[tuple[bytes, bytes]], answer: int) -> None:
    assert status(b"localhost", *headers) == answer


@pytest.mark.covers("doors:guard")
@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization", b"idempotency-key", b"tausestack-approval"])
def test_who_asks_for_what_is_said_once(name: bytes) -> None:
    told = {b"host": b"localhost", b"origin": b"http://localhost"}.get(name, b"x")
    more = [(name, told)] if name == b"host" else [(name, told)] * 2
    assert status(b"localhost", *more) == 400
