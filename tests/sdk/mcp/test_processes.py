"""The sample server as a process: crashes, signals, callers that leave, its HTTP bindings, its calls to others."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

import tausestack as ts
from tausestack.contract import Principal
from tausestack.errors import ApprovalRequired, Forbidden, InDoubt, ToolFailed, Unauthenticated, Unavailable
from tausestack.mcp.gateway import GatewaySocket, NestedCall
from tausestack.names import Address
from tausestack.scopes import ROLES

pytestmark = pytest.mark.anyio
KEY = {"pro.tause/idempotency-key": "k1"}


@pytest.mark.covers("kit:write-once")
def test_a_keyed_write_is_done_once_however_its_process_dies(processes: Any) -> None:
    process = processes.over_socket()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        processes.call("add_and_die", {"text": "milk"}, **KEY)
    assert process.wait() == -signal.SIGKILL
    process = processes.over_socket()
    first = processes.call("add_and_die", {"text": "milk"}, **KEY)
    assert first["count"] == 1
    process.kill()
    process.wait()
    processes.over_socket()
    assert processes.call("add_and_die", {"text": "milk"}, **KEY) == first
    assert processes.call("list", {}) == {"result": ["milk"]}


@pytest.mark.covers("kit:sigterm")
def test_a_call_in_flight_ends_after_sigterm_and_the_process_exits_0(processes: Any) -> None:
    process = processes.over_socket()
    with contextlib.closing(processes.request("wait", {}, assertion=processes.assertion())) as connection:
        processes.wait_for((processes.data / "waiting").exists, process)
        process.send_signal(signal.SIGTERM)
        processes.wait_for(lambda: not _accepts(processes), process)
        (processes.data / "go").touch()
        assert processes.reply(connection)["structuredContent"] == {"result": "went"}
    assert process.wait(timeout=60) == 0
    assert (processes.data / "ended").exists()
    assert not processes.socket.exists()


@pytest.mark.covers("kit:broken")
def test_a_service_whose_own_work_breaks_ends_rather_than_fail_every_call(processes: Any) -> None:
    prop = processes.data / "prop"
    prop.parent.mkdir(parents=True, exist_ok=True)
    prop.touch()
    process = processes.over_socket()
    assert processes.call("list", {}) == {"result": []}
    prop.unlink()
    assert process.wait(timeout=60) == 1


def _accepts(processes: Any) -> bool:
    return processes.healthy(processes.connection())


@pytest.mark.covers("kit:cancel")
def test_a_caller_that_leaves_cancels_its_call(processes: Any) -> None:
    process = processes.over_socket()
    connection = processes.request("wait", {}, assertion=processes.assertion())
    processes.wait_for((processes.data / "waiting").exists, process)
    connection.close()
    processes.wait_for((processes.data / "cancelled").exists, process)
    assert processes.call("list", {}) == {"result": []}


@pytest.mark.covers("kit:assertions")
def test_a_refused_call_is_a_401_that_says_how(processes: Any, refused: Any) -> None:
    processes.over_socket()
    with contextlib.closing(processes.request("list", {}, assertion=None)) as connection:
        reply = connection.getresponse()
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(reply.read())["error"]["data"]["code"] == "unauthenticated"
    with pytest.raises(refused) as answer:
        processes.call("list", {"x": 1})
    assert answer.value.error["code"] == -32602
    assert answer.value.error["data"]["code"] == "invalid_arguments"


@pytest.mark.covers("kit:both-eras")
async def test_clients_of_an_earlier_protocol_are_served(processes: Any) -> None:
    command = StdioServerParameters(command=processes.python, args=["-m", "kit_notes"], env=processes.environment())
    async with Client(command, mode="legacy") as client:
        assert "add" in {tool.name for tool in (await client.list_tools()).tools}
        meta: Any = {"pro.tause/assertion": processes.assertion()}
        result = await client.call_tool("greet", {}, meta=meta)
        assert result.structured_content == {"result": "hello acme"}


@pytest.mark.covers("kit:one-tenant-process")
async def test_a_process_of_one_tenant_refuses_every_other(notes: ts.mcp.Server) -> None:
    async with ts.testing.stack(notes, tenant="acme") as stack:
        assert await stack.acme.call("greet") == {"result": "hello acme"}
        with pytest.raises(Unauthenticated):
            await stack.globex.call("greet")


@pytest.mark.covers("kit:own-scopes")
async def test_what_is_for_our_own_processes_is_refused_to_tenants(stack: ts.testing.Stack) -> None:
    assert await stack.system.call("inside") == {"result": "gateway"}
    for caller in (stack.acme, stack.operator, stack.caller(Principal("acme", "key:x", frozenset()))):
        with pytest.raises(Forbidden):
            await caller.call("inside")
        assert (await caller.http("GET", "inside")).status_code == 403
    bounded = Principal("acme", "key:x", ROLES["admin"] | {"system"}, bounds=frozenset({"tools:call"}))
    with pytest.raises(Forbidden):
        await stack.caller(bounded).call("inside")


@pytest.mark.covers("kit:http-binding")
async def test_bindings_are_bound_to_the_tenant_and_write_all_or_nothing(stack: ts.testing.Stack) -> None:
    assert (await stack.acme.http("POST", "import", content=b"milk\neggs")).json() == {"done": True}
    spoiled = await stack.acme.http("POST", "import", content=b"flour\nbad")
    assert (spoiled.status_code, spoiled.json()["code"]) == (400, "invalid_request")
    assert (await stack.acme.http("GET", "export/may")).text == "may of acme: eggs,milk"
    assert (await stack.globex.http("GET", "export/may")).text == "may of globex: "
    bare = await stack.http.get("/http/export/may")
    assert (bare.status_code, bare.headers["www-authenticate"]) == (401, "Bearer")
    assert bare.headers["content-type"] == "application/problem+json"


@pytest.mark.covers("kit:nested-calls")
async def test_nested_calls_carry_their_parent_and_keys_that_a_retry_makes_again(stack: ts.testing.Stack) -> None:
    stack.answer("oracle/answer", lambda arguments: {"answer": f"{arguments['question']}?"})
    stack.answer("registry/reveal", lambda arguments: {"secrets": dict.fromkeys(arguments["names"], "s3cret")})
    asked = await stack.acme.call("ask", {"question": "why"}, idempotency_key="k1", call_id="c1")
    assert asked == {"answer": "why?", "secret": "s3cret"}
    said = stack.calls
    assert {(each.tenant, each.parent) for each in said} == {("acme", "c1")}
    assert said[-1].arguments == {"server": "notes", "names": ["TOKEN"]}
    keys = [each.idempotency_key for each in said[:3]]
    assert len(set(keys)) == 3
    assert None not in keys
    async with ts.testing.stack(stack.server) as retried:
        retried.answer("oracle/answer", lambda _: {"answer": ""})
        retried.answer("registry/reveal", lambda _: {"secrets": {}})
        await retried.acme.call("ask", {"question": "why"}, idempotency_key="k1")
        assert [each.idempotency_key for each in retried.calls[:3]] == keys


@pytest.mark.covers("kit:nested-calls")
@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        ({"error": {"code": -32063, "message": "wait", "data": {"code": "approval_required"}}}, ApprovalRequired),
        ({"result": {"isError": True, "content": [{"type": "text", "text": "no"}]}}, ToolFailed),
        (None, InDoubt),
    ],
)
async def test_a_nested_call_fails_as_the_gateway_says(
    tmp_path: Path, reply: dict[str, Any] | None, raised: type[Exception]
) -> None:
    async with _gateway(tmp_path / "g.sock", reply) as requests:
        gateway = GatewaySocket(str(tmp_path / "g.sock"), "own-credential", "notes")
        call = NestedCall("acme", Address("billing", "pay"), {"a": "ñ"}, "the-assertion", "c1", "k1", "a1")
        with pytest.raises(raised):
            await gateway.call(call)
        await gateway.aclose()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().splitlines()
    assert lines[0] == "post /tenants/acme/servers/billing/mcp http/1.1"
    assert {"authorization: bearer the-assertion", "x-tausestack-process: own-credential", "mcp-name: pay"} <= {*lines}
    params = json.loads(body)["params"]
    assert params["arguments"] == {"a": "ñ"}
    named = {name: params["_meta"][f"pro.tause/{name}"] for name in ("parent", "idempotency-key", "approval")}
    assert named == {"parent": "c1", "idempotency-key": "k1", "approval": "a1"}


async def test_without_a_gateway_nothing_was_done(tmp_path: Path) -> None:
    gateway = GatewaySocket(str(tmp_path / "none.sock"), None, "notes")
    with pytest.raises(Unavailable):
        await gateway.call(NestedCall("acme", Address("billing", "pay"), {}, "x"))
    await gateway.aclose()


@contextlib.asynccontextmanager
async def _gateway(path: Path, reply: dict[str, Any] | None) -> Any:
    """Answer each request with one reply, or break off where there is none; yield the raw requests."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        requests.append(head + await reader.readexactly(length))
        if reply is not None:
            body = json.dumps({"jsonrpc": "2.0", "id": "1", **reply}).encode()
            start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            writer.write(start % len(body) + body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        yield requests
