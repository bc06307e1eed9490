"""Requests that two readers could take for two things: refused at both doors, before anything is decided on them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from stack import Tenant

META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
CALL = '"name":"storage__put_json","arguments":{"key":"k","value":1}'
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "storage__put_json",
}


def sent(tenant: Tenant, body: str) -> tuple[int, dict[str, Any]]:
    url = f"{tenant.url}/tenants/{tenant.name}/mcp"
    reply = httpx2.post(
        url, content=body, headers={**HEADERS, **tenant.headers}, timeout=60, trust_env=False, verify=False
    )
    return reply.status_code, reply.json()


@pytest.mark.covers("json:keys-once", "json:keys-case")
def test_ambiguous_requests_are_refused_and_nothing_is_done(tenant: Tenant) -> None:
    whole = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{' + CALL + "," + META + "}}"
    for wrong, said in (
        (whole.replace('"id":1', '"id":1,"method":"tools/list"'), "twice"),
        (whole.replace('"key":"k"', '"key":"j","key":"k"'), "twice"),
        (whole.replace('"name"', '"n\\u0061me":"storage__delete","name"'), "twice"),
        (whole.replace('"method"', '"Method"'), "'method'"),
        (whole.replace('"method"', '"METHOD":"tools/list","method"'), "'method'"),
        (whole.replace('"params"', '"PARAMS"'), "'params'"),
        (whole.replace('"name"', '"Name":"storage__delete","name"'), "'name'"),
        (whole.replace('"arguments"', '"Arguments":{},"arguments"'), "'arguments'"),
        (whole.replace('"_meta"', '"_META":{},"_meta"'), "'_meta'"),
        (whole.replace('"_meta":{', '"_meta":{"PRO.TAUSE/idempotency-key":"x",'), "'pro.tause/idempotency-key'"),
    ):
        status, body = sent(tenant, wrong)
        assert (status, body["error"]["code"]) == (400, -32600), wrong
        assert said in body["error"]["message"]
    for wrong in ('{"key":"k","value":1,"value":2}', '{"key":"k","value":{"a":1,"b":[{"c":1,"c":1}]}}'):
        reply = tenant.client.post("/tools/storage/put_json", content=wrong)
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid_request")
        assert "twice" in reply.json()["detail"]
    assert tenant.must("storage/list_keys", {})["keys"] == []
    # Beside MCP's own keys every case is good: they are the tool's.
    value = {"a": 1, "A": 2, "Name": "x", "text": json.dumps({"a": 1}) + '"a":1,"a":2'}
    tenant.must("storage/put_json", {"key": "k", "value": value})
    assert tenant.must("storage/get_json", {"key": "k"})["value"] == value
    assert sent(tenant, whole)[0] == 200


@pytest.mark.covers("mcp:repeated")
@pytest.mark.parametrize("name", ["Mcp-Method", "MCP-Protocol-Version"])
def test_a_header_that_mirrors_the_body_comes_once_whatever_the_method(tenant: Tenant, name: str) -> None:
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{' + META + "}}"
    good = {**HEADERS, **tenant.headers, "Mcp-Method": "tools/list"}
    del good["Mcp-Name"]
    url = f"{tenant.url}/tenants/{tenant.name}/mcp"
    for headers, status in (([*good.items()], 200), ([(name, "tools/call"), *good.items()], 400)):
        reply = httpx2.post(url, content=body, headers=headers, timeout=60, trust_env=False, verify=False)
        assert reply.status_code == status, reply.text
