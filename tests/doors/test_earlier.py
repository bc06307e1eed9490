"""Clients of earlier versions: sessions, and what they are answered in the words of their own version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from remotes import Party, eventually, party
from sessions import Earlier, Message, endpoint
from stack import Stack, Tenant

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
NIT = {"nit": "900123456-8"}


@pytest.fixture
def red(stack: Stack, tenant: Tenant) -> Iterator[Party]:
    """A server that speaks 2026-07-28 and nothing else."""
    with party(stack.remote_ports[0], "red") as running:
        tenant.install(running.url, name="red")
        yield running


def ping(client: Earlier, **headers: str) -> httpx2.Response:
    return client.post({"jsonrpc": "2.0", "id": "p", "method": "ping"}, **headers)


@pytest.mark.covers("earlier:versions")
@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_spoken_on_both_endpoints(version: str, tenant: Tenant) -> None:
    tenant.install("colombia")
    for server, tool in ((None, "colombia__validate_nit"), ("colombia", "validate_nit")):
        client = Earlier(endpoint(tenant, server), tenant.key, version)
        assert client.initialized["protocolVersion"] == version
        assert client.initialized["serverInfo"]["name"] == ("tausestack" if server is None else "colombia")
        assert "extensions" not in client.initialized["capabilities"]
        listed = client.result("tools/list")
        assert set(listed) <= {"tools", "nextCursor"}
        named = {one["name"]: one for one in listed["tools"]}
        assert ("outputSchema" in named[tool]) == (version >= "2025-06-18")
        called = client.call(tool, NIT)
        assert "resultType" not in called
        assert json.loads(called["content"][0]["text"])["valid"] is True
        assert ("structuredContent" in called) == (version >= "2025-06-18")
        assert client.result("ping") == {}
        assert client.ask("tasks/list")["error"]["code"] == -32601
        wrong = client.ask("tools/call", {"name": "no_such_tool", "arguments": {}})
        assert wrong["error"]["code"] == -32602


@pytest.mark.covers("earlier:extensions")
def test_a_servers_extensions_are_told(tenant: Tenant, red: Party) -> None:
    for server in (None, "red"):
        offered = Earlier(endpoint(tenant, server), tenant.key).initialized["capabilities"]
        assert offered["extensions"] == {"com.example/maps": {"tiles": [1]}}


@pytest.mark.covers("earlier:versions")
def test_a_client_of_another_version_is_offered_the_newest_earlier_one(tenant: Tenant) -> None:
    for asked in ("2026-07-28", "2099-01-01", "1.0"):
        assert Earlier(endpoint(tenant), tenant.key, asked).initialized["protocolVersion"] == "2025-11-25"


@pytest.mark.anyio
@pytest.mark.covers("earlier:versions")
async def test_the_official_sdk_calls_as_an_earlier_client(tenant: Tenant) -> None:
    tenant.install("colombia")
    async with (
        httpx2.AsyncClient(headers=tenant.headers, timeout=60, trust_env=False, verify=False) as http,
        Client(streamable_http_client(endpoint(tenant), http_client=http), mode="legacy") as client,
    ):
        assert "colombia__validate_nit" in {tool.name for tool in (await client.list_tools()).tools}
        called = await client.call_tool("colombia__validate_nit", NIT)
        assert called.structured_content is not None
        assert called.structured_content["valid"] is True


@pytest.mark.covers("earlier:bound")
def test_a_session_is_its_own_principals_at_its_own_endpoint(stack: Stack, tenant: Tenant) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    assert ping(client).json()["result"] == {} if client.version < "2025-11-25" else ping(client).status_code == 200
    other = stack.tenant()
    key = tenant.client.post("/keys", json={"role": "admin"}).json()["api_key"]
    theirs = {
        "another key of the tenant": (endpoint(tenant), key),
        "another endpoint": (endpoint(tenant, "platform"), tenant.key),
        "another tenant": (endpoint(other), other.key),
    }
    unknown = ping(client, **{"Mcp-Session-Id": "none"})
    assert unknown.status_code == 404
    for who, (url, credential) in theirs.items():
        headers = {**client.client.headers, "authorization": f"Bearer {credential}"}
        for method, body in (
            ("POST", {"jsonrpc": "2.0", "id": "p", "method": "ping"}),
            ("GET", None),
            ("DELETE", None),
        ):
            refused = httpx2.request(method, url, json=body, headers=headers, timeout=60, trust_env=False, verify=False)
            assert refused.status_code == 404, who
            assert refused.json()["error"] == unknown.json()["error"]
    assert ping(client).status_code == 200


@pytest.mark.covers("earlier:bound")
def test_a_token_that_was_changed_opens_nothing(tenant: Tenant) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    for place in (0, 20, len(client.session) // 2, len(client.session) - 8):
        swapped = "A" if client.session[place] != "A" else "B"
        changed = client.session[:place] + swapped + client.session[place + 1 :]
        assert ping(client, **{"Mcp-Session-Id": changed}).status_code == 404
    assert ping(client, **{"Mcp-Session-Id": client.session * 30}).status_code == 404
    missing = httpx2.post(
        client.url,
        json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
        headers={**tenant.headers, "MCP-Protocol-Version": "2025-11-25"},
        timeout=60,
        trust_env=False,
        verify=False,
    )
    assert missing.status_code == 400
    assert "initialize" in missing.json()["error"]["message"]
    assert all(0x21 <= ord(character) <= 0x7E for character in client.session)


@pytest.mark.covers("earlier:bound")
def test_a_credential_that_is_revoked_ends_its_session_and_its_stream(tenant: Tenant) -> None:
    made = tenant.client.post("/keys", json={"role": "developer"}).json()
    client = Earlier(endpoint(tenant), made["api_key"])
    with client.listening() as messages:
        assert tenant.client.delete(f"/keys/{made['id']}").status_code == 200
        assert list(messages) == []
    assert ping(client).status_code == 401


@pytest.mark.covers("earlier:end")
def test_an_ended_session_is_unknown(tenant: Tenant) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    assert client.end() == 200
    assert ping(client).status_code == 404
    assert client.end() == 404
    assert client.client.get(client.url).status_code == 404


@pytest.mark.covers("earlier:retired")
def test_the_older_transport_is_refused_with_a_pointer(tenant: Tenant) -> None:
    for path in (endpoint(tenant), endpoint(tenant, "platform")):
        for url in (path, path.replace("/mcp", "/sse"), path.replace("/mcp", "/messages")):
            headers = {**tenant.headers, "Accept": "text/event-stream"}
            refused = httpx2.get(url, headers=headers, timeout=60, trust_env=False, verify=False)
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
            assert "POST initialize" in refused.json()["error"]["message"]


@pytest.mark.covers("earlier:retired")
def test_what_is_not_served_is_refused_with_what_is_so(tenant: Tenant) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    held = {**tenant.headers, "Mcp-Session-Id": client.session}

    def refused(method: str, **headers: str) -> tuple[int, str, str | None]:
        told = httpx2.request(
            method, client.url, headers={**held, **headers}, timeout=60, trust_env=False, verify=False
        )
        return told.status_code, told.json()["error"]["message"], told.headers.get("allow")

    status, told, _ = refused("GET", Accept="application/json")
    assert (status, "text/event-stream" in told) == (406, True)
    for method in ("PUT", "OPTIONS", "PATCH"):
        assert refused(method) == (405, f"{method} is nothing here: MCP is spoken by POST", "POST, GET, DELETE")
    del held["Mcp-Session-Id"]
    status, told, allowed = refused("DELETE")
    assert (status, "Mcp-Session-Id" in told, allowed) == (405, True, "POST")


@pytest.mark.covers("earlier:batch")
def test_several_messages_come_at_once_in_the_one_version_that_has_that(tenant: Tenant) -> None:
    tenant.install("colombia")
    client = Earlier(endpoint(tenant), tenant.key, "2025-03-26")
    call = client.request("tools/call", {"name": "colombia__validate_nit", "arguments": NIT})
    several = [client.request("ping"), {"jsonrpc": "2.0", "method": "notifications/initialized"}, call]
    with client.sent(several) as messages:
        found = {message["id"]: message["result"] for message in messages}
    assert found.keys() == {1, 2}
    plain = client.post([client.request("ping")], Accept="application/json")
    assert [one["result"] for one in plain.json()] == [{}]
    assert client.post([{"jsonrpc": "2.0", "method": "notifications/initialized"}]).status_code == 202
    assert client.post([]).status_code == 400
    assert client.post([client.request("ping")] * 65).status_code == 400
    assert client.post([client.request("initialize", {})]).status_code == 400
    later = Earlier(endpoint(tenant), tenant.key, "2025-06-18")
    assert later.post([later.request("ping")]).status_code == 400


@pytest.mark.covers("earlier:words")
def test_results_and_errors_of_a_modern_server_are_in_the_clients_words(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key, "2025-03-26", {"sampling": {}})
    link, _ = client.call("red__link")["content"]
    assert link == {"type": "text", "text": "tausestack://red/note%3A%2F%2Fone"}
    assert (
        Earlier(endpoint(tenant), tenant.key, "2025-06-18").call("red__link")["content"][0]["type"] == "resource_link"
    )
    (sent, _) = red.calls("tools/call")
    meta = sent["message"]["params"]["_meta"]
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {"sampling": {}}
    assert meta["io.modelcontextprotocol/clientInfo"] == {"name": "t", "version": "1"}
    assert meta["io.modelcontextprotocol/logLevel"] == "info"
    read = client.result("resources/read", {"uri": "tausestack://red/note%3A%2F%2Fone"})
    assert set(read) == {"contents"}
    assert client.ask("resources/read", {"uri": "tausestack://none/x"})["error"]["code"] == -32002
    assert client.ask("resources/read", {})["error"]["code"] in {-32002, -32602}
    refused = client.ask("tools/call", {"name": "red__refuse", "arguments": {}})
    assert refused["error"]["code"] == -32021


@pytest.mark.covers("earlier:rounds")
@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_a_modern_server_that_wants_input_has_its_client_asked(version: str, tenant: Tenant, red: Party) -> None:
    for server, tool in ((None, "red__ask"), ("red", "ask")):
        client = Earlier(endpoint(tenant, server), tenant.key, version)
        asked: list[Message] = []

        def answer(message: Message, client: Earlier = client, asked: list[Message] = asked) -> None:
            asked.append(message)
            assert client.respond(message, {"action": "accept", "content": {"name": "Ana"}}) == 202

        assert client.call(tool, told=answer)["content"][0]["text"] == "Ana with state of red"
        (question,) = asked
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == "Who?"
        assert ("mode" in question["params"]) == (version == "2025-11-25")
        assert client.respond(question, {"action": "accept", "content": {"name": "late"}}) == 202


@pytest.mark.covers("earlier:rounds")
def test_what_a_client_cant_answer_is_said(tenant: Tenant, red: Party) -> None:
    mute = Earlier(endpoint(tenant), tenant.key, capabilities={"sampling": {}})
    error = mute.ask("tools/call", {"name": "red__ask", "arguments": {}})["error"]
    assert error["data"]["capability"] == "elicitation"
    client = Earlier(endpoint(tenant), tenant.key)
    call = client.request("tools/call", {"name": "red__ask", "arguments": {}})
    plain = client.post(call, Accept="application/json")
    assert "text/event-stream" in plain.json()["error"]["message"]

    def refuse(message: Message) -> None:
        error = {"code": -32000, "message": "nobody is there"}
        assert client.post({"jsonrpc": "2.0", "id": message["id"], "error": error}).status_code == 202

    refused = client.ask("tools/call", {"name": "red__ask", "arguments": {}}, refuse)
    assert "nobody is there" in refused["error"]["message"]


@pytest.mark.covers("earlier:bound")
def test_nobody_else_answers_a_question(tenant: Tenant, red: Party) -> None:
    client, other = (Earlier(endpoint(tenant), tenant.key) for _ in range(2))
    answers = iter(({"name": "Eve"}, {"name": "Ana"}))

    def answer(message: Message) -> None:
        for who in (other, client):
            assert who.respond(message, {"action": "accept", "content": next(answers)}) == 202

    assert client.call("red__ask", told=answer)["content"][0]["text"] == "Ana with state of red"


@pytest.mark.covers("earlier:cancel")
def test_a_call_goes_on_while_its_client_is_away_until_it_is_cancelled(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    call = client.request("tools/call", {"name": "red__wait", "arguments": {}, "_meta": {"progressToken": "t"}})
    with client.sent(call) as messages:
        assert next(messages)["params"] == {"progressToken": "t", "progress": 1, "total": 2, "message": "waiting"}
    left = client.events[-1]
    assert red.calls("tools/call")
    assert not [one for one in red.log() if "gone" in one]
    with client.listening(after=left.rpartition("-")[0] + "-0") as messages:
        assert next(messages)["method"] == "notifications/progress"
        assert client.notify("notifications/cancelled", {"requestId": call["id"]}) == 202
        assert list(messages) == []
    eventually(lambda: {"gone": "tools/call", "about": "wait"} in red.log())
    assert client.client.get(client.url, headers={"Last-Event-ID": "01ffff-3"}).status_code == 400
    (line,) = [one for one in tenant.client.get("/audit").json()["entries"] if one["tool"] == "wait" and one["outcome"]]
    assert line["outcome"] == "cancelled"


@pytest.mark.covers("earlier:cancel")
def test_the_end_of_a_session_cancels_what_it_asked_for(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    with client.sent(client.request("tools/call", {"name": "red__wait", "arguments": {}})) as messages:
        assert next(messages)["method"] == "notifications/progress"
        assert client.end() == 200
        assert list(messages) == []
    eventually(lambda: {"gone": "tools/call", "about": "wait"} in red.log())


@pytest.mark.covers("earlier:stream")
def test_a_stream_tells_of_the_tenants_changes_and_of_watched_resources(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    note = "tausestack://red/note%3A%2F%2Fone"
    with client.listening() as messages:
        assert client.result("resources/subscribe", {"uri": note}) == {}
        listens = eventually(lambda: red.calls("subscriptions/listen"))
        assert listens[-1]["message"]["params"]["notifications"]["resourceSubscriptions"] == ["note://one"]
        updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://one"}}
        assert red.tell(updated) >= 1
        assert _next(messages, "notifications/resources/updated")["params"]["uri"] == note
        tenant.install("colombia")
        _next(messages, "notifications/tools/list_changed")
        assert client.result("resources/unsubscribe", {"uri": note}) == {}
        eventually(lambda: red.tell({"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}) == 1)
        _next(messages, "notifications/prompts/list_changed")
    last = red.calls("subscriptions/listen")[-1]["message"]["params"]["notifications"]
    assert "resourceSubscriptions" not in last
    assert client.ask("resources/subscribe", {"uri": "tausestack://none/x"})["error"]["code"] == -32002


def _next(messages: Iterator[Message], method: str) -> Message:
    return next(message for message in messages if message["method"] == method)


@pytest.mark.covers("earlier:level")
def test_the_level_of_a_session_goes_with_its_requests(tenant: Tenant, red: Party) -> None:
    client, other = (Earlier(endpoint(tenant), tenant.key) for _ in range(2))
    assert client.result("logging/setLevel", {"level": "error"}) == {}
    for one in (client, other):
        one.call("red__echo", {"text": "x"})
    levels = [one["message"]["params"]["_meta"]["io.modelcontextprotocol/logLevel"] for one in red.calls("tools/call")]
    assert levels == ["error", "info"]
    assert client.ask("logging/setLevel", {"level": "loud"})["error"]["code"] == -32602


@pytest.mark.covers("earlier:limits")
def test_scopes_hold_and_http_says_so(tenant: Tenant) -> None:
    tenant.install("colombia")
    viewer = tenant.client.post("/keys", json={"role": "viewer"}).json()["api_key"]
    for version in ("2025-06-18", "2025-11-25"):
        client = Earlier(endpoint(tenant), viewer, version)
        asked: Any = client.request("tools/call", {"name": "colombia__validate_nit", "arguments": NIT})
        refused = client.post(asked)
        assert refused.status_code == 403
        assert refused.json()["error"]["data"]["scope"] == "tools:call:colombia/validate_nit"
