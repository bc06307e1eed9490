"""The asynchronous client against a gateway in another process."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tausestack import errors
from tausestack.client import Client, connect, connect_operator

pytestmark = pytest.mark.anyio


@pytest.mark.covers("client:call")
async def test_a_call_returns_the_structured_result(acme: Client) -> None:
    found = await acme.call("demo/echo", {"city": "Bogotá"}, idempotency_key="order-77")
    assert found["arguments"] == {"city": "Bogotá"}
    assert found["key"] == "order-77"


@pytest.mark.covers("client:typed-errors")
async def test_a_failed_tool_raises_its_text_and_its_cause(acme: Client) -> None:
    with pytest.raises(errors.ToolFailed, match="There is no such invoice") as caught:
        await acme.call("demo/fail", {})
    assert caught.value.data["cause"] == "not_found"


@pytest.mark.covers("client:typed-errors")
async def test_a_call_that_waits_for_a_person_names_its_approval_and_takes_it(acme: Client) -> None:
    with pytest.raises(errors.ApprovalRequired) as caught:
        await acme.call("demo/spend", {"amount": 5})
    found = await acme.call("demo/spend", {"amount": 5}, approval=caught.value.data["approval"])
    assert found["arguments"] == {"amount": 5}


@pytest.mark.covers("client:typed-errors")
async def test_another_tenant_and_an_unknown_one_raise_the_same(gateway_url: str) -> None:
    said: list[tuple[type, str]] = []
    for tenant in ("globex", "nobody"):
        async with connect(tenant, "tsk_acme", gateway_url) as client:
            with pytest.raises(errors.NotFound) as caught:
                await client.tools()
            said.append((type(caught.value), caught.value.message))
    assert said[0] == said[1]


@pytest.mark.covers("client:typed-errors")
async def test_a_bad_key_is_unauthenticated(gateway_url: str) -> None:
    async with connect("acme", "tsk_wrong", gateway_url) as client:
        with pytest.raises(errors.Unauthenticated):
            await client.tools()


@pytest.mark.parametrize("key", ["", "tsk_a\r\nx-evil: 1", "tsk a", "clé"])
async def test_a_key_that_could_not_be_one_is_never_sent(key: str) -> None:
    with pytest.raises(errors.Unauthenticated):
        connect("acme", key)


@pytest.mark.parametrize("address", ["echo", "demo/../x", "Demo/echo", "demo/echo?x=1"])
async def test_what_is_no_address_is_refused_before_sending(acme: Client, address: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        await acme.call(address, {})


@pytest.mark.parametrize("odd", ["a\u200b1", "año-7", "a\r\nx-more: 1"])
async def test_what_no_header_holds_is_refused_before_sending(acme: Client, odd: str) -> None:
    for asked in ({"idempotency_key": odd}, {"approval": odd}):
        with pytest.raises(errors.InvalidRequest, match="printable ASCII"):
            await acme.call("demo/echo", {}, **asked)


async def test_arguments_that_are_not_json_are_refused_before_sending(acme: Client) -> None:
    with pytest.raises(errors.InvalidRequest, match="not JSON"):
        await acme.call("demo/echo", {"when": float("nan")})


@pytest.mark.covers("client:retry-keyed")
async def test_a_keyed_write_that_broke_is_sent_again_and_happens_once(acme: Client) -> None:
    found = await acme.call("demo/keyed", {"break_once": "keyed"})
    again = await acme.call("demo/keyed", {"break_once": "keyed"}, idempotency_key=found["key"])
    assert again["effects"] == found["effects"] == 1


@pytest.mark.covers("client:retry-keyed")
async def test_a_read_that_broke_is_sent_again(acme: Client) -> None:
    assert (await acme.call("demo/echo", {"break_once": "read"}))["arguments"] == {"break_once": "read"}


@pytest.mark.covers("client:in-doubt")
async def test_a_write_that_keeps_no_key_is_in_doubt_and_not_repeated(acme: Client) -> None:
    with pytest.raises(errors.InDoubt):
        await acme.call("demo/plain", {"break_once": "plain"})
    assert (await acme.call("demo/plain", {}))["effects"] == 2


@pytest.mark.covers("client:retry-keyed")
async def test_a_gateway_that_is_not_there_yet_is_tried_again_until_it_is(gateway_url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tried = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\n" + b'{"servers": [{"name": "a"}]}')
        await writer.drain()
        writer.close()
        tried.set()

    async with connect("acme", "tsk_acme", f"http://127.0.0.1:{port}") as client:
        asking = asyncio.create_task(client.servers())
        await asyncio.to_thread(_refuses, port)
        server = await asyncio.start_server(relay, "127.0.0.1", port)
        assert await asking == [{"name": "a"}]
        assert tried.is_set()
        server.close()


async def test_a_gateway_that_stays_away_is_unavailable_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with Client("acme", "tsk_acme", url, patience=0.1) as client:
            with pytest.raises(errors.Unavailable, match="tausestack up"):
                await client.servers()


async def test_progress_is_told_while_a_call_runs(acme: Client) -> None:
    told: list[dict[str, Any]] = []
    assert await acme.call("demo/slow", {}, on_progress=told.append) == {"done": True}
    assert [one["progress"] for one in told] == [1, 2]


async def test_tools_are_listed_over_every_page_and_searched(acme: Client) -> None:
    assert len(await acme.tools()) == 8
    assert [tool["name"] for tool in await acme.tools("slow")] == ["slow"]


async def test_a_server_is_planned_installed_listed_and_uninstalled(acme: Client) -> None:
    assert (await acme.plan("pypi:time"))["hash"] == "abc123"
    installed = await acme.install("pypi:time", config={"tz": "UTC"}, approve="abc123")
    assert installed["given"] == {"ref": "pypi:time", "config": {"tz": "UTC"}, "approve": "abc123"}
    assert [server["name"] for server in await acme.servers()] == ["time"]
    assert (await acme.update("time", default=True))["default"] is True
    assert (await acme.approve("time", "abc123"))["approve"] == "abc123"
    assert (await acme.uninstall("time", purge=True))["purged"] is True


async def test_the_operator_makes_tenants_and_keys_and_opens_sessions(gateway_url: str) -> None:
    async with connect_operator("tsk_operator_" + "0" * 64, gateway_url) as operator:
        made = await operator.create_tenant("initech", plan="premium")
        assert made["tenant"]["plan"] == "premium"
        key = await operator.create_key("initech", role="viewer", expires_days=3)
        assert (await operator.keys("initech"))[0]["id"] == key["id"]
        assert (await operator.revoke_key("initech", key["id"]))["revoked"] is True
        token = (await operator.session("initech"))["token"]
        with pytest.raises(errors.Conflict):
            await operator.create_tenant("initech")
    async with connect("initech", token, gateway_url) as client:
        assert await client.servers() == []


def _refuses(port: int) -> None:
    """Return once the port has been seen to refuse."""
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
