"""Writes: once a key, all or nothing, each tenant's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

import tausestack as ts
from tausestack.contract import Principal
from tausestack.errors import Conflict, InternalError, KeyReused
from tausestack.scopes import ROLES

pytestmark = pytest.mark.anyio


@pytest.mark.covers("kit:write-once")
async def test_a_keyed_write_happens_once(stack: ts.testing.Stack) -> None:
    first = await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1")
    assert await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1") == first
    assert await stack.acme.call("list") == {"result": ["milk"]}
    assert (await stack.acme.call("add", {"text": "milk"}, idempotency_key="k2"))["count"] == 2


@pytest.mark.covers("kit:write-once")
async def test_twins_that_come_together_happen_once(stack: ts.testing.Stack) -> None:
    found: list[Any] = []

    async def call() -> None:
        found.append(await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(call)
    assert found == [found[0]] * 10
    assert await stack.acme.call("list") == {"result": ["milk"]}


@pytest.mark.covers("kit:write-once")
async def test_a_tool_that_swallows_exceptions_is_replayed_all_the_same(stack: ts.testing.Stack) -> None:
    found: list[Any] = []

    async def call() -> None:
        found.append(await stack.acme.call("add_stubbornly", {"text": "milk"}, idempotency_key="k1"))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(call)
    assert found == [found[0]] * 4
    assert found[0]["count"] == 1


@pytest.mark.covers("kit:key-reused")
async def test_a_key_with_other_arguments_is_refused(stack: ts.testing.Stack) -> None:
    await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1")
    with pytest.raises(KeyReused):
        await stack.acme.call("add", {"text": "eggs"}, idempotency_key="k1")
    other = stack.caller(Principal("acme", "key:other", ROLES["admin"]))
    with pytest.raises(KeyReused):
        await other.call("add", {"text": "milk"}, idempotency_key="k1")
    assert await stack.acme.call("list") == {"result": ["milk"]}


@pytest.mark.covers("kit:tenants-apart")
async def test_tenants_share_neither_rows_nor_keys(stack: ts.testing.Stack) -> None:
    await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1")
    theirs = await stack.globex.call("add", {"text": "eggs"}, idempotency_key="k1")
    assert theirs["count"] == 1
    assert await stack.acme.call("list") == {"result": ["milk"]}
    assert await stack.globex.call("list") == {"result": ["eggs"]}


@pytest.mark.covers("kit:all-or-nothing")
async def test_a_write_that_fails_leaves_nothing_and_keeps_no_key(stack: ts.testing.Stack) -> None:
    with pytest.raises(Conflict, match="the page is full") as failed:
        await stack.acme.call("add_and_fail", {"text": "milk"}, idempotency_key="k1")
    assert failed.value.data == {"page": 7}
    with pytest.raises(InternalError) as broken:
        await stack.acme.call("add_and_break", {"text": "hush"}, idempotency_key="k2")
    assert "hush" not in str(broken.value)
    assert await stack.acme.call("list") == {"result": []}
    with pytest.raises(Conflict):
        await stack.acme.call("add_and_fail", {"text": "milk"}, idempotency_key="k1")


@pytest.mark.covers("kit:all-or-nothing")
async def test_writes_and_reads_of_one_call_share_a_transaction(stack: ts.testing.Stack) -> None:
    assert await stack.acme.call("add_twice", {"text": "milk"}) == {"id": "both", "count": 2}
    assert await stack.acme.call("list") == {"result": ["milk", "milk"]}


@pytest.mark.covers("kit:reads-cannot-write")
async def test_a_tool_that_reads_can_not_write(stack: ts.testing.Stack) -> None:
    await stack.acme.call("add", {"text": "milk"})
    with pytest.raises(InternalError):
        await stack.acme.call("meddle")
    assert await stack.acme.call("list") == {"result": ["milk"]}


@pytest.mark.covers("kit:unkeyed-results")
async def test_a_tool_may_keep_no_result_under_its_key(stack: ts.testing.Stack, notes: ts.mcp.Server) -> None:
    first = await stack.acme.call("mint", idempotency_key="k1")
    assert await stack.acme.call("mint", idempotency_key="k1") != first
    policies = {each["name"]: each["_meta"]["pro.tause/tool"] for each in notes.definitions()}
    assert policies["add"]["keyed"]
    assert not policies["mint"]["keyed"]
    assert not policies["list"]["keyed"]


@pytest.mark.covers("kit:write-once")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_keyed_write_survives_a_restart(
    notes: ts.mcp.Server, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    async with ts.testing.stack(notes, data=tmp_path, database_url=url) as stack:
        first = await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1")
    async with ts.testing.stack(notes, data=tmp_path, database_url=url) as stack:
        assert await stack.acme.call("add", {"text": "milk"}, idempotency_key="k1") == first
        assert await stack.acme.call("list") == {"result": ["milk"]}
        assert await stack.globex.call("list") == {"result": []}
