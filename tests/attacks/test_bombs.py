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
}


def bombs_cost_nothing(stack: Stack, body: Path, seconds: float, calls: int) -> None:
    attacker = stack.tenant()
    for path in (f"/tenants/{attacker.name}/mcp", f"/api/v2/tenants/{attacker.name}/tools/storage/put_json"):
        attack = ["bombs", stack.url, path, attacker.key, str(body)]
        said = cost(stack, attack, seconds, calls, about=f"bombs of '{body.name}' at {path.split('/')[-1]}")
        assert set(said) == {"400"}


@pytest.mark.covers("attacks:bombs")
@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bombs_cost_another_tenant_nothing(stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    bombs_cost_nothing(stack, tmp_path / name, 1, 100)


@pytest.mark.soak
@pytest.mark.covers("attacks:bombs")
@pytest.mark.parametrize("name", BOMBS)
def test_a_minute_of_bombs_costs_another_tenant_nothing(stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    bombs_cost_nothing(stack, tmp_path / name, 30, 2_000)
