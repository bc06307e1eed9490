"""Third parties' servers at URLs, through both MCP endpoints: everything arrives as it left, under names of its own."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx2
import pytest

from remotes import EARLIER, Party, eventually, listening, party
from sessions import Earlier, endpoint
from stack import Stack, Tenant, mcp_request
from tausestack.names import wire_name

NOTE = "tausestack://red/note%3A%2F%2Fone"


def result(tenant: Tenant, method: str, params: dict[str, Any], server: str | None = None, **headers: str) -> Any:
    reply = tenant.rpc(method, params, server=server, **headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]


def install(tenant: Tenant, one: Party, name: str, **more: Any) -> None:
    tenant.install(one.url, name=name, **more)


@pytest.mark.covers("remote:verbatim")
def test_a_call_and_its_result_pass_as_they_are(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red", secrets={"Authorization": "Bearer theirs"})
    meta = {"vendor/key": {"deep": [1, None]}, "io.modelcontextprotocol/clientCapabilities": {"sampling": {"x": 1}}}
    found = result(tenant, "tools/call", {"name": "red__echo", "arguments": {"text": "ñ"}, "odd": 7, "_meta": meta})
    assert found["unknownField"] == {"kept": [1, None, 1.5]}
    assert found["structuredContent"] == {"text": "ñ", "party": "red"}
    (sent,) = red.calls("tools/call")
    assert sent["headers"]["mcp-name"] == sent["message"]["params"]["name"] == "echo"
    assert sent["headers"]["authorization"] == "Bearer theirs"
    assert tenant.key not in json.dumps(red.log())
    params = sent["message"]["params"]
    assert params["odd"] == 7
    assert params["_meta"]["vendor/key"] == {"deep": [1, None]}
    assert params["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {"sampling": {"x": 1}}
    assert not [key for key in params["_meta"] if key.startswith("pro.tause/")]
    assert len(red.calls("tools/call")) == 1


@pytest.mark.covers("remote:verbatim")
def test_errors_pass_with_their_status_and_nobody_speaks_in_our_name(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    refused = tenant.rpc("tools/call", {"name": "refuse", "arguments": {}}, server="red")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == -32021
    assert refused.json()["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}
    forged = result(tenant, "tools/call", {"name": "red__forge", "arguments": {}})
    assert forged["_meta"] == {"theirs": 1}
    assert tenant.call("red/forge", {}).json()["code"] == "tool_error"


@pytest.mark.covers("remote:merged")
def test_what_two_servers_offer_stands_side_by_side(tenant: Tenant, red: Party, blue: Party) -> None:
    install(tenant, red, "red")
    install(tenant, blue, "blue")
    listed = result(tenant, "resources/list", {})["resources"]
    assert {one["uri"] for one in listed} >= {NOTE, NOTE.replace("red", "blue")}
    for name in ("red", "blue"):
        uri = NOTE.replace("red", name)
        (read,) = result(tenant, "resources/read", {"uri": uri})["contents"]
        assert read == {"uri": uri, "text": f"{name} has note://one"}
    prompts = result(tenant, "prompts/list", {})["prompts"]
    named = {one["name"]: one for one in prompts}
    assert named["red__greet"]["odd"] == {"kept": True}
    told = result(tenant, "prompts/get", {"name": "blue__greet", "arguments": {"who": "Ana"}})
    assert told["messages"][0]["content"]["text"] == "greet Ana"
    for name in ("p" * 70, "two words", "with.a.dot"):
        shortened = wire_name("red", name)
        assert shortened in named
        assert len(shortened) <= 64
        assert result(tenant, "prompts/get", {"name": shortened})["messages"][0]["content"]["text"] == f"{name} None"
    (template,) = [
        one["uriTemplate"]
        for one in result(tenant, "resources/templates/list", {})["resourceTemplates"]
        if one["uriTemplate"].startswith("tausestack://red/")
    ]
    assert template == "tausestack://red/:note://{id}/x y"
    filled = result(tenant, "resources/read", {"uri": template.replace("{id}", "7")})
    assert filled["contents"][0]["text"] == "red has note://7/x y"
    links = result(tenant, "tools/call", {"name": "red__link", "arguments": {}})["content"]
    assert [links[0]["uri"], links[1]["resource"]["uri"]] == [NOTE, NOTE]


@pytest.mark.covers("remote:verbatim")
def test_nobody_is_given_the_answer_to_another_request(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    mistaken = tenant.rpc("tools/call", {"name": "red__mistake", "arguments": {}})
    assert mistaken.status_code == 502
    assert "another request" in mistaken.json()["error"]["message"]
    assert result(tenant, "tools/call", {"name": "red__late", "arguments": {}})["content"][0]["text"] == "right"


@pytest.mark.covers("remote:verbatim")
def test_what_stands_before_a_server_speaks_by_its_status(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")

    def said(status: int) -> str:
        asked = {"name": "proxied", "arguments": {"status": status}}
        return tenant.rpc("tools/call", asked, server="red").json()["error"]["message"]

    assert "does not accept the credential" in said(401)
    health = tenant.client.get("/servers/red").json()["health"]
    assert (health["state"], "HTTP 401" in health["reason"]) == ("closed", True)
    assert "HTTP 500" in said(500)
    assert "has moved" in said(308)
    assert "HTTP 404" in said(404)
    assert tenant.client.get("/servers/red").json()["health"] == {"state": "closed", "failures": 0}
    before = len(red.calls("tools/call"))
    assert said(503) == "red answered with HTTP 503 and no JSON-RPC response"
    assert len(red.calls("tools/call")) == before + 1, "it may have taken effect: it is not sent again"
    assert "not JSON" in said(200)


@pytest.mark.covers("remote:away")
def test_a_server_that_its_proxy_does_not_reach_is_left_alone(stack: Stack, tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    asked = {"name": "proxied", "arguments": {"status": 502}}
    failed = [tenant.rpc("tools/call", asked, server="red") for _ in range(4)]
    assert [reply.status_code for reply in failed] == [502, 502, 502, 503]
    health = tenant.client.get("/servers/red").json()["health"]
    assert (health["state"], "HTTP 502" in health["reason"]) == ("open", True)
    shown = stack.cli("servers", "--tenant", tenant.name, key=tenant.key)
    assert "away: red answered with HTTP 502" in str(shown)
    tools = {tool["name"]: tool for tool in result(tenant, "tools/list", {})["tools"]}
    assert "HTTP 502" in tools["red__echo"]["_meta"]["pro.tause/stale"]
    call = {"name": "red__echo", "arguments": {"text": "again"}}
    eventually(lambda: tenant.rpc("tools/call", call).status_code == 200, 30)
    assert tenant.client.get("/servers/red").json()["health"] == {"state": "closed", "failures": 0}


@pytest.mark.covers("remote:streams", "remote:merged")
def test_a_server_that_has_to_be_reached_first_lists_and_tells(stack: Stack, tenant: Tenant) -> None:
    with party(stack.remote_ports[0], "red", EARLIER) as red:
        install(tenant, red, "red")
        (note,) = result(tenant, "resources/list", {})["resources"]
        assert "_meta" not in note, "its list is its own, not what was kept of it"
        install(tenant, red, "again")
        with listening(tenant, {"resourcesListChanged": True}, server="again") as messages:
            next(messages)
            eventually(lambda: red.tell({"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}))
            assert next(messages)["method"] == "notifications/resources/list_changed"
        red.kill()  # it would wait for its streams to end


@pytest.mark.covers("remote:merged")
def test_completion_finds_the_prompt_and_the_template(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    argument = {"name": "who", "value": "An"}
    asked = {"ref": {"type": "ref/prompt", "name": "red__greet"}, "argument": argument}
    assert result(tenant, "completion/complete", asked)["completion"]["values"] == ["greet", "An"]
    asked = {"ref": {"type": "ref/resource", "uri": "tausestack://red/:note://{id}/x y"}, "argument": argument}
    assert result(tenant, "completion/complete", asked)["completion"]["values"] == ["note://{id}/x y", "An"]


@pytest.mark.covers("remote:default")
def test_the_default_server_goes_by_its_own_names(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red", default=True)
    names = {tool["name"] for tool in result(tenant, "tools/list", {})["tools"]}
    assert "echo" in names
    assert "red__echo" not in names
    for name in ("echo", "red__echo"):
        assert result(tenant, "tools/call", {"name": name, "arguments": {"text": "a"}})["content"][0]["text"] == "a"
    assert result(tenant, "resources/read", {"uri": "note://one"})["contents"][0]["uri"] == "note://one"
    assert result(tenant, "prompts/get", {"name": "greet"})["messages"]
    said = result(tenant, "server/discover", {})
    assert said["capabilities"]["experimental"] == {"colour": {"deep": "blue"}}
    assert "Mind red." in said["instructions"]
    own = result(tenant, "server/discover", {}, server="red")
    assert own["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "red", "version": "9"}


@pytest.mark.covers("remote:rounds")
def test_a_server_that_asks_for_input_gets_it(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    call = {"name": "red__ask", "arguments": {}}
    asked = result(tenant, "tools/call", call)
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["who"]["method"] == "elicitation/create"
    responses = {"who": {"action": "accept", "content": {"name": "Ana"}}}
    done = result(tenant, "tools/call", {**call, "inputResponses": responses, "requestState": asked["requestState"]})
    assert done["content"][0]["text"] == "Ana with state of red"
    over_rest = tenant.call("red/ask", {})
    assert (over_rest.status_code, over_rest.json()["code"]) == (409, "input_required")
    outcomes = [line["outcome"] for line in tenant.must("platform/query_audit", {})["entries"] if line["tool"] == "ask"]
    assert sorted(filter(None, outcomes)) == ["done", "input_required", "input_required"]


@pytest.mark.covers("remote:default")
def test_a_task_that_no_server_made_is_unknown_and_no_default_server_without_tasks_hears_of_it(
    tenant: Tenant, red: Party
) -> None:
    install(tenant, red, "red", default=True)
    meta = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    for task in ("nobody's", "", "a:b"):
        reply = tenant.rpc("tasks/get", {"taskId": task, "_meta": meta})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602)
    assert not [one for one in red.log() if str(one.get("message", {}).get("method")).startswith("tasks/")]


@pytest.mark.covers("remote:private")
def test_what_is_read_is_for_its_reader_alone_whatever_the_server_says_of_it(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    for uri, server in ((NOTE, None), ("note://one", "red")):
        read = result(tenant, "resources/read", {"uri": uri}, server)
        assert (read["cacheScope"], read["ttlMs"], bool(read["contents"])) == ("private", 0, True)


@pytest.mark.covers("remote:rounds")
@pytest.mark.parametrize(
    "ref", [None, [], {}, {"name": "greet"}, {"type": "ref/tool", "name": "x"}, {"type": "ref/prompt"}]
)
def test_a_completion_of_nothing_is_told_what_it_lacks(tenant: Tenant, red: Party, ref: Any) -> None:
    install(tenant, red, "red")
    reply = tenant.rpc("completion/complete", {"ref": ref, "argument": {"name": "who", "value": ""}})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602)
    assert "ref/prompt" in reply.json()["error"]["message"]


@pytest.mark.covers("remote:mirrors")
def test_a_mirrored_parameter_has_to_agree_and_is_mirrored_onward(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    call = {"name": "red__where", "arguments": {"region": "Bogotá"}}
    assert tenant.rpc("tools/call", call).json()["error"]["code"] == -32020
    wrong = tenant.rpc("tools/call", call, **{"Mcp-Param-Region": "Cali"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
    right = result(tenant, "tools/call", call, **{"Mcp-Param-Region": "=?base64?Qm9nb3TDoQ==?="})
    assert right["content"][0]["text"] == "Bogotá"
    assert tenant.must("red/where", {"region": "Cali"})["content"][0]["text"] == "Cali"
    mirrored = [sent["headers"]["mcp-param-region"] for sent in red.calls("tools/call")]
    assert mirrored == ["=?base64?Qm9nb3TDoQ==?=", "Cali"]


@pytest.mark.covers("remote:null-arguments")
def test_no_arguments_may_be_said_by_null(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    for server, prefix in ((None, "red__"), ("red", "")):
        asked: dict[str, Any] = {"name": f"{prefix}echo", "arguments": None}
        assert result(tenant, "tools/call", asked, server)["content"][0]["text"] == ""
        assert result(tenant, "prompts/get", {"name": f"{prefix}greet", "arguments": None}, server)["messages"]
        wrong = tenant.rpc("tools/call", {"name": f"{prefix}echo", "arguments": []}, server=server)
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32602)
    assert red.calls("tools/call")[0]["message"]["params"]["arguments"] == {}


@pytest.mark.covers("remote:null-arguments")
def test_no_params_may_be_said_by_null(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    for server in (None, "red"):
        client = Earlier(endpoint(tenant, server), tenant.key, "2025-06-18")
        for method, about in (("ping", None), ("tools/list", "tools"), ("prompts/list", "prompts")):
            reply = client.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": None}).json()
            assert about is None or reply["result"][about], reply
            assert "result" in reply
        for params in ([], "none", 0, False):
            reply = client.post({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": params}).json()
            assert reply["error"]["code"] == -32602


@pytest.mark.covers("remote:cancel")
def test_progress_arrives_and_a_caller_that_goes_away_cancels(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    headers = {**tenant.headers, "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": "tools/call", "Mcp-Name": "red__wait"}  # fmt: skip
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": "p-1"}  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "red__wait", "_meta": meta}}
    url = f"{tenant.url}/tenants/{tenant.name}/mcp"
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=60, trust_env=False, verify=False) as stream:
        told = next(json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
    assert told["params"] == {"progressToken": "p-1", "progress": 1, "total": 2, "message": "waiting"}
    eventually(lambda: {"gone": "tools/call", "about": "wait"} in red.log())


@pytest.mark.covers("remote:endless-head")
def test_a_head_that_does_not_end_is_its_servers_fault(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    reply = tenant.rpc("tools/call", {"name": "red__echo", "arguments": {"head": 400_000}})
    assert (reply.status_code, reply.json()["error"]["data"]["code"]) == (502, "upstream_error")


@pytest.mark.covers("remote:away")
def test_a_dead_server_empties_no_list_and_keeps_nobody_waiting(tenant: Tenant, red: Party, blue: Party) -> None:
    install(tenant, red, "red")
    install(tenant, blue, "blue")
    assert result(tenant, "prompts/list", {})["prompts"]
    red.kill()
    failed = [tenant.rpc("tools/call", {"name": "red__echo", "arguments": {}}) for _ in range(4)]
    assert {reply.status_code for reply in failed} == {503}
    assert failed[-1].elapsed.total_seconds() < 0.5
    assert "Retry-After" in failed[-1].headers
    tools = {tool["name"]: tool for tool in result(tenant, "tools/list", {})["tools"]}
    assert tools["red__echo"]["_meta"]["pro.tause/stale"]
    assert "pro.tause/stale" not in tools["blue__echo"].get("_meta", {})
    assert {"red__greet", "blue__greet"} <= {one["name"] for one in result(tenant, "prompts/list", {})["prompts"]}
    assert result(tenant, "tools/call", {"name": "blue__echo", "arguments": {"text": "b"}})["content"]
    health = tenant.client.get("/servers/red").json()["health"]
    assert (health["state"], bool(health["reason"])) == ("open", True)
    assert tenant.client.get("/servers/blue").json()["health"] == {"state": "closed", "failures": 0}
    with party(int(red.root.rpartition(":")[2]), "red"):
        call = {"name": "red__echo", "arguments": {"text": "again"}}
        eventually(lambda: tenant.rpc("tools/call", call).status_code == 200, 30)
        assert tenant.client.get("/servers/red").json()["health"]["state"] == "closed"


@pytest.mark.covers("remote:pinned")
def test_a_tool_that_its_server_adds_waits_for_approval(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    red.more_tools([{"name": "extra", "description": "More.", "inputSchema": {"type": "object"}}])

    def waits() -> bool:
        names = {tool["name"] for tool in result(tenant, "tools/list", {})["tools"]}
        assert "red__extra" not in names
        return tenant.client.get("/servers/red").json()["status"] == "quarantined"

    eventually(waits, 50)
    assert result(tenant, "prompts/get", {"name": "red__greet"})["messages"], "what was approved goes on serving"
    assert result(tenant, "resources/read", {"uri": NOTE})["contents"]
    assert tenant.client.post("/servers/red/approve", json={"approve": True}).status_code == 200
    assert "red__extra" in {tool["name"] for tool in result(tenant, "tools/list", {})["tools"]}


@pytest.mark.covers("remote:away")
@pytest.mark.parametrize(("pages", "told"), [("circle", "round in a circle"), ("endless", "do not end")])
def test_a_list_whose_pages_do_not_end_is_broken_off_and_what_was_approved_stands(
    tenant: Tenant, red: Party, pages: str, told: str
) -> None:
    install(tenant, red, "red")
    before = {tool["name"] for tool in result(tenant, "tools/list", {})["tools"]}
    red.more_tools([{"name": pages, "inputSchema": {"type": "object"}}])
    asked = len(red.log())
    red.tell({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    assert {tool["name"] for tool in result(tenant, "tools/list", {})["tools"]} == before
    assert tenant.call("red/echo", {"text": "hola"}).status_code == 200
    assert len(red.log()) - asked < (10 if pages == "circle" else 200)
    reply = tenant.client.post("/plans", json={"ref": red.url, "name": "other"})
    assert told in reply.text


@pytest.mark.covers("doors:foreign-cursors")
def test_a_cursor_that_a_list_did_not_give_is_refused(tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    for method in ("prompts/list", "resources/list", "resources/templates/list", "tools/list"):
        texts = ["²", "9" * 5_000, "-1", "zz", "1000", "other/list 0", method, f"{method} "]
        if method != "tools/list":
            texts += [f"{method} ²", f"{method} -1", f"{method} " + "9" * 5_000]
        cursors = [base64.urlsafe_b64encode(text.encode()).decode() for text in texts]
        foreign: list[Any] = [*cursors, base64.urlsafe_b64encode(b"\xff\xfe").decode(), "x", "%%", "é", 5, True, [], {}]
        for cursor in foreign:
            reply = tenant.rpc(method, {"cursor": cursor})
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602), (method, cursor)
        assert tenant.rpc(method, {"cursor": None}).status_code == 200


@pytest.mark.covers("remote:pinned")
def test_a_server_that_nobody_approved_says_nothing(tenant: Tenant, red: Party) -> None:
    tenant.install(red.url, name="red", approve=False)
    asked = len(red.log())
    for kind, field in (
        ("prompts", "prompts"),
        ("resources", "resources"),
        ("resources/templates", "resourceTemplates"),
    ):
        assert result(tenant, f"{kind}/list", {})[field] == []
    for server in (None, "red"):
        assert "Mind red." not in json.dumps(result(tenant, "server/discover", {}, server))
    assert tenant.rpc("resources/read", {"uri": NOTE}).status_code == 404
    assert len(red.log()) == asked
    assert tenant.client.post("/servers/red/approve", json={"approve": True}).status_code == 200
    assert "Mind red." in json.dumps(result(tenant, "server/discover", {}, "red"))


@pytest.mark.covers("remote:apart")
def test_a_server_of_another_tenant_is_not_there(stack: Stack, tenant: Tenant, red: Party) -> None:
    install(tenant, red, "red")
    other = stack.tenant()
    for method, params in (
        ("resources/read", {"uri": NOTE}),
        ("prompts/get", {"name": "red__greet"}),
        ("tools/call", {"name": "red__echo", "arguments": {}}),
    ):
        theirs = other.rpc(method, params)
        nobodys = other.rpc(
            method,
            {name: value.replace("red", "nil") if isinstance(value, str) else value for name, value in params.items()},
        )
        assert (theirs.status_code, theirs.json()["error"]["code"]) == (
            nobodys.status_code,
            nobodys.json()["error"]["code"],
        )
        assert theirs.text.replace("red", "nil") == nobodys.text
    assert not result(other, "resources/list", {})["resources"]
    assert mcp_request(stack.url, other.name, other.key, "tools/list", {}, server="red").status_code == 404


@pytest.mark.anyio
@pytest.mark.covers("remote:busy")
async def test_a_server_that_hangs_takes_half_of_the_tenants_calls_at_most(
    tenant: Tenant, red: Party, blue: Party
) -> None:
    install(tenant, red, "red")
    install(tenant, blue, "blue")
    install(tenant, red, "twin")  # another server at the same origin
    async with tenant.tools(connections=200, timeout=60) as client:
        hanging = [asyncio.ensure_future(client.post("/red/wait", json={})) for _ in range(140)]
        refused, waiting = await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in refused} == {429}
        for server in ("blue", "twin"):
            other = await client.post(f"/{server}/echo", json={"text": "still here"}, timeout=20)
            assert (other.status_code, other.json()["text"]) == (200, "still here")
        for task in waiting:
            task.cancel()
        await asyncio.wait(hanging)
