"""Bodies that are bombs: refused, fast, and nobody else waits for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from attackers import cost
from stack import Stack

DEEP = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
BOMBS = {
    "deep": DEEP,
    "brackets": b'{"key":[' + b"{}," * 1_300_000 + b"0]}",
    "twice": b'{"key":1,' + b'"key":1,' * 10_000 + b'"value":1}',
    "numbers": b'{"key":[' + b"1," * 2_000_000 + b"0]}",
    "keys": b"{" + b",".join(b'"k%d":0' % number for number in range(300_000)) + b"}",
}


FAULTS = b'{"tools":[' + b"1," * 90_000 + b"0]}"
"""As many wrong arguments as a request has room for."""
PIECES = b"1\r\nx\r\n" * 1_000_000
"""A body, a byte a piece."""


def bombs_cost_nothing(stack: Stack, body: Path, seconds: float, calls: int) -> None:
    attacker = stack.tenant()
    for path in (f"/tenants/{attacker.name}/mcp", f"/api/v2/tenants/{attacker.name}/tools/storage/put_json"):
        attack = ["bombs", stack.url, path, attacker.key, str(body)]
        said = cost(stack, attack, seconds, calls, about=f"bombs of '{body.name}' at {path.split('/')[-1]}")
        assert set(said) == {"400"}


def faults_cost_nothing(stack: Stack, body: Path, seconds: float, calls: int) -> None:
    attacker = stack.tenant()
    path = f"/api/v2/tenants/{attacker.name}/tools/agents/allow_tools"
    refused = attacker.client.post("/tools/agents/allow_tools", content=FAULTS)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments"), refused.text
    assert "among its more than 1000 values" in refused.json()["detail"]
    attack = ["bombs", stack.url, path, attacker.key, str(body)]
    assert set(cost(stack, attack, seconds, calls, about="90,000 wrong arguments")) == {"422"}


def pieces_cost_nothing(stack: Stack, body: Path, seconds: float, calls: int) -> None:
    attacker = stack.tenant()
    refused = attacker.client.post("/tools/storage/put_json", content=iter([b"x"] * 20_000))
    assert (refused.status_code, refused.text.endswith("send larger ones.")) == (400, True), refused.text
    attack = ["pieces", stack.url, f"/tenants/{attacker.name}/mcp", attacker.key, str(body)]
    assert set(cost(stack, attack, seconds, calls, about="bodies of a million pieces")) == {"400"}


@pytest.mark.covers("attacks:bombs")
@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bombs_cost_another_tenant_nothing(stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    bombs_cost_nothing(stack, tmp_path / name, 1, 100)


@pytest.mark.covers("attacks:bombs")
def test_a_few_requests_of_nothing_but_faults_cost_another_tenant_nothing(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "faults").write_bytes(FAULTS)
    faults_cost_nothing(stack, tmp_path / "faults", 1, 100)


@pytest.mark.covers("attacks:bombs")
def test_a_few_bodies_of_a_million_pieces_cost_another_tenant_nothing(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "pieces").write_bytes(PIECES)
    pieces_cost_nothing(stack, tmp_path / "pieces", 1, 100)


@pytest.mark.soak
@pytest.mark.covers("attacks:bombs")
def test_a_minute_of_faults_and_of_pieces_costs_another_tenant_nothing(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "faults").write_bytes(FAULTS)
    faults_cost_nothing(stack, tmp_path / "faults", 30, 2_000)
    (tmp_path / "pieces").write_bytes(PIECES)
    pieces_cost_nothing(stack, tmp_path / "pieces", 30, 2_000)


@pytest.mark.soak
@pytest.mark.covers("attacks:bombs")
@pytest.mark.parametrize("name", BOMBS)
def test_a_minute_of_bombs_costs_another_tenant_nothing(stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    bombs_cost_nothing(stack, tmp_path / name, 30, 2_000)
