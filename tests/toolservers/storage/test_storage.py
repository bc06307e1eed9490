"""JSON documents, through the service's tools."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack import testing
from tausestack.errors import InvalidArguments, KeyReused, NotFound, PayloadTooLarge
from tausestack_toolservers.storage.server import server

pytestmark = pytest.mark.anyio

VALUES = [
    {"a": [1, 2.5, None, True]},
    [],
    "texto con ñ y \x00",
    7,
    None,
    False,
    {"deep": {"deeper": [[[]]]}},
    2**53 - 1,
]


@pytest.mark.covers("storage:documents")
async def test_what_is_put_is_what_is_got(stack: testing.Stack) -> None:
    for number, value in enumerate(VALUES):
        put = await stack.acme.call("put_json", {"key": f"k/{number}", "value": value})
        assert put["created"] is True
        got = await stack.acme.call("get_json", {"key": f"k/{number}"})
        assert got["value"] == value
    again = await stack.acme.call("put_json", {"key": "k/0", "value": "other"})
    assert again["created"] is False
    assert (await stack.acme.call("get_json", {"key": "k/0"}))["value"] == "other"


@pytest.mark.covers("storage:documents")
async def test_a_deleted_document_is_gone(stack: testing.Stack) -> None:
    await stack.acme.call("put_json", {"key": "k", "value": 1})
    assert (await stack.acme.call("delete_json", {"key": "k"}))["deleted"] is True
    assert (await stack.acme.call("delete_json", {"key": "k"}))["deleted"] is False
    with pytest.raises(NotFound):
        await stack.acme.call("get_json", {"key": "k"})


@pytest.mark.covers("storage:isolation")
async def test_another_tenant_sees_and_deletes_nothing(stack: testing.Stack) -> None:
    await stack.acme.call("put_json", {"key": "k", "value": "secret"})
    with pytest.raises(NotFound):
        await stack.globex.call("get_json", {"key": "k"})
    assert (await stack.globex.call("list_keys"))["keys"] == []
    assert (await stack.globex.call("delete_json", {"key": "k"}))["deleted"] is False
    await stack.globex.call("put_json", {"key": "k", "value": "theirs"})
    assert (await stack.acme.call("get_json", {"key": "k"}))["value"] == "secret"


@pytest.mark.covers("storage:keys")
async def test_keys_are_listed_in_order_by_prefix_and_page(stack: testing.Stack) -> None:
    every = ["B", "a", "a_b", "ab", "c/1", "c/2", "c_1"]
    for key in every:
        await stack.acme.call("put_json", {"key": key, "value": 0})
    listed = await stack.acme.call("list_keys")
    assert listed == {"keys": sorted(every), "next": None}
    assert (await stack.acme.call("list_keys", {"prefix": "c/"}))["keys"] == ["c/1", "c/2"]
    assert (await stack.acme.call("list_keys", {"prefix": "a_"}))["keys"] == ["a_b"]
    paged: list[str] = []
    after = ""
    while True:
        page = await stack.acme.call("list_keys", {"limit": 2, "after": after})
        paged += page["keys"]
        if page["next"] is None:
            break
        after = page["next"]
    assert paged == sorted(every)


@pytest.mark.covers("storage:bad-input")
@pytest.mark.parametrize(
    "arguments",
    [
        {"key": "../other", "value": 1},
        {"key": "/etc", "value": 1},
        {"key": "", "value": 1},
        {"key": "a b", "value": 1},
        {"key": "k" * 513, "value": 1},
        {"key": "k\x00", "value": 1},
        {"key": "k"},
        {"key": 5, "value": 1},
        {"key": "k", "value": 1, "more": 1},
    ],
)
async def test_bad_input_is_refused_and_keeps_nothing(arguments: dict[str, Any]) -> None:
    async with testing.stack(server) as stack:
        with pytest.raises(InvalidArguments):
            await stack.acme.call("put_json", arguments)
        assert (await stack.acme.call("list_keys"))["keys"] == []


@pytest.mark.covers("storage:bad-input")
async def test_a_document_that_is_too_large_leaves_what_was_there() -> None:
    async with testing.stack(server) as stack:
        await stack.acme.call("put_json", {"key": "k", "value": "before"})
        with pytest.raises(PayloadTooLarge):
            await stack.acme.call("put_json", {"key": "k", "value": "x" * (4 * 1024 * 1024)})
        assert (await stack.acme.call("get_json", {"key": "k"}))["value"] == "before"


@pytest.mark.covers("storage:keyed-writes")
async def test_a_repeated_write_happens_once(stack: testing.Stack) -> None:
    first = await stack.acme.call("put_json", {"key": "k", "value": 1}, idempotency_key="i1")
    await stack.acme.call("put_json", {"key": "k", "value": 2})
    assert await stack.acme.call("put_json", {"key": "k", "value": 1}, idempotency_key="i1") == first
    assert (await stack.acme.call("get_json", {"key": "k"}))["value"] == 2
    with pytest.raises(KeyReused):
        await stack.acme.call("put_json", {"key": "k", "value": 3}, idempotency_key="i1")
