"""Every request of a good credential, by whichever door and whatever comes of it, leaves one end in the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from stack import Stack, Tenant

ENDS = {"result", "denied"}
EARLIER = "2025-11-25"


def entries(tenant: Tenant, key: str | None = None) -> list[dict[str, Any]]:
    """Return the tenant's ledger, the newest line first."""
    reply = tenant.client.get("/audit", params={"limit": 500})
    assert reply.status_code == 200, reply.text
    return reply.json()["entries"]


def left_by(tenant: Tenant, ask: Callable[[], Any]) -> list[dict[str, Any]]:
    """Return the ends that something leaves, the oldest first; looking leaves one of its own."""
    before = max((entry["seq"] for entry in entries(tenant)), default=0)
    ask()
    newer = [entry for entry in entries(tenant) if entry["seq"] > before + 1]
    return [entry for entry in reversed(newer) if entry["kind"] in ENDS]


def mcp(tenant: Tenant, body: bytes | dict[str, Any], key: str | None = None, **headers: str) -> httpx2.Response:
    """POST something to the merged endpoint, which need not be MCP."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "Authorization": f"Bearer {key or tenant.key}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        **headers,
    }
    return httpx2.post(
        f"{tenant.url}/tenants/{tenant.name}/mcp", content=raw, headers=sent, trust_env=False, timeout=60
    )


METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "discover": ("server/discover", {}),
    "tools": ("tools/list", {}),
    "a cursor that is none": ("tools/list", {"cursor": "!"}),
    "resources": ("resources/list", {}),
    "templates": ("resources/templates/list", {}),
    "prompts": ("prompts/list", {}),
    "a resource that is not there": ("resources/read", {"uri": "tausestack://storage/nothing"}),
    "a prompt that is not there": ("prompts/get", {"name": "storage__nothing"}),
    "completion": ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {}}),
    "a task that is not there": ("tasks/get", {"taskId": "storage.nothing"}),
    "a method that is none": ("nothing/such", {}),
    "a tool": ("tools/call", {"name": "storage__list_keys", "arguments": {}}),
    "wrong arguments": ("tools/call", {"name": "storage__get_json", "arguments": {"kee": 1}}),
    "arguments that are none": ("tools/call", {"name": "storage__get_json", "arguments": []}),
    "a tool that fails": ("tools/call", {"name": "storage__get_json", "arguments": {"key": "none"}}),
    "a tool that is not there": ("tools/call", {"name": "nothing__such", "arguments": {}}),
    "a name that is none": ("tools/call", {"name": 7}),
    "a write": ("tools/call", {"name": "storage__put_json", "arguments": {"key": "k", "value": {}}}),
}


@pytest.mark.covers("completeness:mcp")
def test_every_method_of_mcp_leaves_one_end_whatever_comes_of_it(tenant: Tenant) -> None:
    wrong: dict[str, Any] = {}
    for what, (method, params) in METHODS.items():
        for server in (None, "storage"):
            ends = left_by(tenant, lambda: tenant.rpc(method, params, server=server))  # noqa: B023 asked at once
            shown = [(end["tool"], end["decision"], end["outcome"], end["rule"]) for end in ends]
            if len(ends) != 1 or ends[0]["principal"] == "" or ends[0]["trace"] == "" or ends[0]["door"] != "mcp":
                wrong[f"{what} at {server}"] = shown
    assert wrong == {}


@pytest.mark.covers("completeness:mcp")
def test_what_is_no_request_of_mcp_leaves_one_end(tenant: Tenant) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    good = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    modern = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    asked: dict[str, Callable[[], Any]] = {
        "no JSON": lambda: mcp(tenant, b"{", **modern),
        "a key twice": lambda: mcp(tenant, b'{"id":1,"id":2}', **modern),
        "no method": lambda: mcp(tenant, {"jsonrpc": "2.0", "id": 1}, **modern),
        "headers that differ": lambda: mcp(tenant, good, **{**modern, "Mcp-Method": "prompts/list"}),
        "a version that is none": lambda: mcp(tenant, good, **{**modern, "MCP-Protocol-Version": "1999-01-01"}),
        "too large": lambda: mcp(tenant, b" " * (4 * 1024 * 1024 + 1), **modern),
        "a session that is none": lambda: mcp(tenant, {**good, "params": {}}, **{"Mcp-Session-Id": "none"}),
        "a GET": lambda: tenant.client.get(f"{tenant.url}/tenants/{tenant.name}/mcp", headers={"Mcp-Session-Id": "x"}),
    }
    ends = {what: left_by(tenant, ask) for what, ask in asked.items()}
    assert {what: len(found) for what, found in ends.items()} == dict.fromkeys(asked, 1)
    assert {found[0]["decision"] for found in ends.values()} == {"deny"}
    assert {found[0]["rule"] for found in ends.values()} <= {"form", "installed"}


@pytest.mark.covers("completeness:streams")
def test_a_stream_leaves_one_end_when_it_opens(tenant: Tenant) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {"notifications": {"toolsListChanged": True}, "_meta": meta},
    }
    headers = {
        **tenant.headers,
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }

    def listen() -> None:
        path = f"{tenant.url}/tenants/{tenant.name}/mcp"
        with httpx2.stream("POST", path, json=body, headers=headers, trust_env=False, timeout=60) as reply:
            assert next(line for line in reply.iter_lines() if line.startswith("data:"))

    [end] = left_by(tenant, listen)
    assert (end["tool"], end["outcome"]) == ("subscriptions/listen", "done")


@pytest.mark.covers("completeness:earlier")
def test_an_earlier_clients_requests_leave_one_end_each(tenant: Tenant) -> None:
    begin = {"protocolVersion": EARLIER, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    reply: dict[str, httpx2.Response] = {}

    def ask(method: str, params: dict[str, Any]) -> httpx2.Response:
        session = {"Mcp-Session-Id": reply["initialize"].headers["mcp-session-id"]} if reply else {}
        body = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
        reply[method] = mcp(tenant, body, **{"MCP-Protocol-Version": EARLIER, **session})
        return reply[method]

    expected = {
        "initialize": begin,
        "tools/list": {},
        "prompts/list": {},
        "tools/call": {"name": "storage__list_keys", "arguments": {}},
        "logging/setLevel": {"level": "nothing"},
        "resources/subscribe": {"uri": "x"},
        "nothing/such": {},
    }
    ends = {method: left_by(tenant, lambda: ask(method, params)) for method, params in expected.items()}  # noqa: B023 asked at once
    assert {method: len(found) for method, found in ends.items()} == dict.fromkeys(expected, 1)
    assert left_by(tenant, lambda: ask("ping", {})) == []  # which asks for nothing


@pytest.mark.covers("completeness:rest")
def test_every_request_over_rest_leaves_one_end(tenant: Tenant) -> None:
    client = tenant.client
    asked: dict[str, Callable[[], httpx2.Response]] = {
        "the tools": lambda: client.get("/tools"),
        "a search": lambda: client.get("/tools", params={"search": "documentos"}),
        "the document": lambda: client.get("/openapi.json"),
        "a page that is none": lambda: client.get("/tools", params={"cursor": "x"}),
        "the servers": lambda: client.get("/servers"),
        "a server": lambda: client.get("/servers/storage"),
        "a server that is not there": lambda: client.get("/servers/nothing"),
        "usage": lambda: client.get("/usage"),
        "approvals": lambda: client.get("/approvals"),
        "a route that is none": lambda: client.get("/nothing/such"),
        "a tool": lambda: client.post("/tools/storage/list_keys", json={}),
        "a tool that fails": lambda: client.post("/tools/storage/get_json", json={"key": "none"}),
        "wrong arguments": lambda: client.post("/tools/storage/get_json", json={"kee": 1}),
        "no JSON": lambda: client.post("/tools/storage/get_json", content=b"{"),
        "a tool that is not there": lambda: client.post("/tools/nothing/such", json={}),
        "a run that is not there": lambda: client.get("/runs/nothing/events"),
    }
    ends = {what: left_by(tenant, ask) for what, ask in asked.items()}
    assert {what: len(found) for what, found in ends.items()} == dict.fromkeys(asked, 1)


@pytest.mark.covers("completeness:refused")
def test_who_is_not_known_leaves_nothing_and_another_tenants_key_leaves_its_line_with_its_own(
    stack: Stack, tenant: Tenant
) -> None:
    other, viewer = stack.tenant(), tenant.must("auth/create_api_key", {"name": "reads", "role": "viewer"})["api_key"]
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for path in (f"/tenants/{tenant.name}/mcp", f"/api/v2/tenants/{tenant.name}/tools"):
        for key, there, here in (("tsk_nobody_" + "x" * 40, 0, 0), (other.key, 0, 1)):

            def ask(path: str = path, key: str = key) -> None:
                sent = {"Authorization": f"Bearer {key}"}
                method = "POST" if path.endswith("mcp") else "GET"
                body = {"json": listing} if method == "POST" else {}
                reply = httpx2.request(method, tenant.url + path, headers=sent, trust_env=False, timeout=60, **body)
                assert reply.status_code in {401, 404}

            assert len(left_by(tenant, ask)) == there
            ends = left_by(other, ask)
            assert len(ends) == here
            assert tenant.name not in str(ends[0]["tool"] if ends else "")
            assert all((end["decision"], end["rule"]) == ("deny", "tenant") for end in ends)
    refused = {"Authorization": f"Bearer {viewer}"}
    [end] = left_by(tenant, lambda: tenant.client.post("/tools/storage/put_json", json={"key": "a"}, headers=refused))
    assert (end["decision"], end["rule"], end["amount_minor"]) == ("deny", "role:viewer", 0)


@pytest.mark.covers("completeness:nested")
def test_the_ledger_is_whole_and_its_sums_are_its_lines(tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "k", "value": {}}, key="once")
    run = tenant.client.post("/runs", json={"agent": "concierge", "input": "¿qué documentos hay?", "wait": 30})
    assert run.status_code in {200, 202}, run.text
    verified = tenant.client.get("/audit/verify").json()
    assert verified["ok"] is True, verified
    found = entries(tenant)
    ended = [entry for entry in found if entry["kind"] in ENDS]
    assert len({entry["call"] for entry in ended}) == len(ended)
    assert all(entry["price_version"] and entry["currency"] for entry in found if entry["outcome"] == "done")
    usage = tenant.client.get("/usage").json()
    results = [entry for entry in entries(tenant) if entry["kind"] == "result"]
    assert usage["lines"] == len(results) - 1  # the look at the usage itself is a line by now
    for group in ("tools", "principals", "days"):
        assert sum(row["calls"] for row in usage[group]) == usage["lines"]
    assert usage["amounts"]["COP"] == sum(entry["amount_minor"] for entry in results)
