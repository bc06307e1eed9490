"""One schema, every door: the same tool gives the same result, decision and ledger line, whichever door it came by."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import openapi_spec_validator
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import tausestack as ts
from stack import Stack, Tenant
from tausestack_runtime.gateway.rest.endpoint import ROUTES
from tausestack_runtime.gateway.rest.resources import RESOURCES

ADDRESS = "storage/put_json"
ARGUMENTS = {"key": "parity", "value": {"n": 1, "ñ": "Bogotá"}}


def through_rest(tenant: Tenant, stack: Stack) -> Any:
    return tenant.must("storage/get_json", {"key": "parity"})


def through_merged(tenant: Tenant, stack: Stack) -> Any:
    reply = tenant.rpc("tools/call", {"name": "storage__get_json", "arguments": {"key": "parity"}})
    return reply.json()["result"]["structuredContent"]


def through_server(tenant: Tenant, stack: Stack) -> Any:
    reply = tenant.rpc("tools/call", {"name": "get_json", "arguments": {"key": "parity"}}, server="storage")
    return reply.json()["result"]["structuredContent"]


def through_sdk(tenant: Tenant, stack: Stack) -> Any:
    with ts.connect_sync(tenant=tenant.name, api_key=tenant.key, url=stack.url) as client:
        return client.call("storage/get_json", {"key": "parity"})


def through_cli(tenant: Tenant, stack: Stack) -> Any:
    arguments = json.dumps({"key": "parity"})
    return stack.cli_json("call", "storage/get_json", "--tenant", tenant.name, "--args", arguments, key=tenant.key)


def through_official_client(tenant: Tenant, stack: Stack) -> Any:
    async def call() -> Any:
        async with (
            httpx2.AsyncClient(headers=tenant.headers, timeout=60, trust_env=False, verify=False) as http,
            Client(streamable_http_client(f"{stack.url}/tenants/{tenant.name}/mcp", http_client=http)) as client,
        ):
            listed = await client.list_tools()
            assert "storage__get_json" in {tool.name for tool in listed.tools}
            return (await client.call_tool("storage__get_json", {"key": "parity"})).structured_content

    return asyncio.run(call())


DOORS = [through_rest, through_merged, through_server, through_sdk, through_cli, through_official_client]


@pytest.mark.covers("doors:parity")
def test_every_door_gives_the_same_result(stack: Stack, tenant: Tenant) -> None:
    tenant.must(ADDRESS, ARGUMENTS)
    results = {door.__name__: door(tenant, stack) for door in DOORS}
    assert all(result == results["through_rest"] for result in results.values()), results
    assert results["through_rest"]["value"] == ARGUMENTS["value"]
    lines = [
        entry
        for entry in tenant.client.get("/audit").json()["entries"]
        if entry["tool"] == "get_json" and entry["server"] == "storage"
    ]
    assert len(lines) == len(DOORS)
    same = {(one["decision"], one["outcome"], one["arguments_digest"], one["result_digest"]) for one in lines}
    assert len(same) == 1, same
    assert {one["door"] for one in lines} == {"rest", "mcp"}


@pytest.mark.covers("doors:ledger")
def test_the_ledger_counts_each_call_once_and_its_chain_holds(tenant: Tenant) -> None:
    for n in range(3):
        tenant.must("storage/put_json", {"key": f"k{n}", "value": {}})
    tenant.call("storage/get_json", {"key": "missing"})
    tenant.call("storage/nothing", {})
    usage = tenant.client.get("/usage").json()
    by_tool = {f"{one['server']}/{one['tool']}": one for one in usage["tools"]}
    assert by_tool["storage/put_json"]["calls"] == 3
    assert "storage/nothing" not in by_tool
    verified = tenant.client.get("/audit/verify").json()
    assert verified["ok"] is True
    entries = tenant.client.get("/audit?limit=500").json()["entries"]
    intents = [one for one in entries if one["kind"] == "intent" and one["tool"] == "put_json"]
    assert len(intents) == 3
    assert any(one["tool"] == "nothing" and one["outcome"] == "denied" for one in entries)


@pytest.mark.covers("doors:openapi")
def test_the_openapi_document_is_valid_and_lists_what_mcp_lists(tenant: Tenant) -> None:
    tenant.install("colombia")
    found = tenant.client.get("/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    openapi_spec_validator.validate(found)
    listed = tenant.rpc("tools/list", {}).json()["result"]["tools"]
    called = [path for at, path in found["paths"].items() if f"/tenants/{tenant.name}/tools/" in at]
    assert {path["post"]["operationId"] for path in called} == {tool["name"] for tool in listed}
    by_name = {tool["name"]: tool for tool in listed}
    rest = tenant.client.get("/tools").json()["tools"]
    assert {tool["address"].replace("/", "__"): tool["input_schema"] for tool in rest} == {
        name: tool["inputSchema"] for name, tool in by_name.items()
    }


@pytest.mark.covers("doors:openapi-routes")
def test_the_openapi_document_has_every_route_to_a_tool_that_its_reader_sees(stack: Stack, tenant: Tenant) -> None:
    found = tenant.client.get("/openapi.json").json()
    below = f"/api/v2/tenants/{tenant.name}/"
    shown = {(method.upper(), at.removeprefix(below)) for at, path in found["paths"].items() for method in path}
    table = {(route.method, route.path) for route in (*RESOURCES, *ROUTES)} - {("POST", "tools/{server}/{tool}")}
    assert table <= shown
    assert {at for _, at in shown - table if "tools/" not in at} == {"docs", "/health", "/health/ready", "/metrics"}
    names = [path[method]["operationId"] for path in found["paths"].values() for method in path]
    assert len(names) == len(set(names))

    started = found["paths"][f"{below}runs"]["post"]
    body = started["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["agent", "input"]
    assert {"200", "202", "default"} == started["responses"].keys()
    decided = found["paths"][f"{below}approvals/{{id}}"]["post"]
    assert [one["name"] for one in decided["parameters"] if one["in"] == "path"] == ["id"]
    assert "id" not in decided["requestBody"]["content"]["application/json"]["schema"]["properties"]
    listed = found["paths"][f"{below}runs"]["get"]
    assert {one["name"] for one in listed["parameters"] if one["in"] == "query"} == {"limit", "status"}

    key = tenant.must("auth/create_api_key", {"role": "agent"})["api_key"]
    url = f"{tenant.url}/api/v2/tenants/{tenant.name}/openapi.json"
    narrower = httpx2.get(url, headers={"authorization": f"Bearer {key}"}).json()
    openapi_spec_validator.validate(narrower)
    assert f"{below}keys" not in narrower["paths"]
    assert {"get", "post"} == narrower["paths"][f"{below}runs"].keys()


@pytest.mark.covers("doors:search")
def test_tools_are_found_in_spanish_and_in_english(tenant: Tenant) -> None:
    tenant.install("colombia")
    for query in ("validar NIT de una empresa", "is a company's NIT valid"):
        found = tenant.client.get("/tools", params={"search": query}).json()["tools"]
        assert found[0]["address"] == "colombia/validate_nit", query


@pytest.mark.covers("doors:paging")
def test_the_list_of_tools_pages_without_loss(tenant: Tenant) -> None:
    whole = [tool["address"] for tool in tenant.client.get("/tools").json()["tools"]]
    paged: list[str] = []
    cursor = None
    while True:
        reply = tenant.client.get("/tools", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        paged += [tool["address"] for tool in reply["tools"]]
        cursor = reply["next_cursor"]
        if cursor is None:
            break
    assert paged == whole
    assert len(whole) > 6
    assert tenant.client.get("/tools", params={"cursor": "-1"}).status_code == 400


@pytest.mark.covers("doors:foreign-cursors")
@pytest.mark.parametrize("cursor", ["²", "٣", "9" * 5_000, "-1", "1 000", "x", "\0"])
def test_a_cursor_that_is_no_number_is_refused_over_rest(tenant: Tenant, cursor: str) -> None:
    assert tenant.client.get("/tools", params={"cursor": cursor}).status_code == 400
    assert tenant.client.get("/audit", params={"cursor": cursor}).status_code == 422


@pytest.mark.covers("doors:idempotency-key")
def test_the_same_key_is_one_write_and_other_arguments_are_refused(tenant: Tenant) -> None:
    first = tenant.call("billing/create_invoice", _invoice("uno"), key="order-77")
    again = tenant.call("billing/create_invoice", _invoice("uno"), key="order-77")
    assert first.status_code == again.status_code == 200, first.text
    assert first.json() == again.json()
    other = tenant.call("billing/create_invoice", _invoice("dos"), key="order-77")
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(tenant.must("billing/list_invoices", {})["invoices"]) == 1


@pytest.mark.covers("doors:progress")
def test_rest_streams_a_result_as_events(tenant: Tenant) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"Accept": "text/event-stream", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    with tenant.client.stream("POST", "/tools/storage/list_keys", json={}, headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        text = reply.read().decode()
    assert text.startswith("event: result\n")
    assert trace in {entry["trace"] for entry in tenant.client.get("/audit").json()["entries"]}
    failed = tenant.client.post("/tools/storage/nothing", json={}, headers={"Accept": "text/event-stream"})
    assert "event: error" in failed.text
    assert '"code":"not_found"' in failed.text


@pytest.mark.covers("doors:operations")
def test_health_readiness_metrics_and_the_api_page_answer(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/list_keys", {})
    health = httpx2.get(f"{stack.url}/health", timeout=60, trust_env=False, verify=False).json()
    assert health["status"] == "healthy"
    assert health["workers"]["working"] <= health["workers"]["wanted"] == 1
    assert (
        httpx2.get(f"{stack.url}/health/ready", timeout=60, trust_env=False, verify=False).json()["status"] == "ready"
    )
    metrics = httpx2.get(f"{stack.url}/metrics", timeout=60, trust_env=False, verify=False).text
    assert 'tausestack_calls_total{gateway="1",outcome="done",service="storage"}' in metrics
    assert tenant.name not in metrics
    page = httpx2.get(f"{stack.url}/api/v2/tenants/{tenant.name}/docs", timeout=60, trust_env=False, verify=False)
    assert "<title>TauseStack API</title>" in page.text


def _invoice(description: str) -> dict[str, Any]:
    return {"customer_id": "c1", "items": [{"description": description, "quantity": 1, "unit_price_minor": 1000}]}
