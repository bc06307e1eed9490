"""A tenant's limits at the doors: told before they bite, refused beyond, set by the operator, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from remotes import MODERN, eventually, party
from sessions import Earlier
from stack import Stack, Tenant

KINDS = {
    "calls_per_minute", "lists_per_minute", "concurrent_calls", "connections", "runs", "tokens_per_month",
    "cost_per_month", "storage_bytes", "installed_servers", "users", "api_keys",
}  # fmt: skip
PLANS = ("billing/list_plans", {})


def set_limits(stack: Stack, tenant: Tenant, **limits: Any) -> dict[str, Any]:
    reply = stack.operator("PATCH", f"tenants/{tenant.name}/limits", json=limits)
    assert reply.status_code == 200, reply.text
    return reply.json()["limits"]


def limits(tenant: Tenant) -> dict[str, Any]:
    reply = tenant.client.get("/limits")
    assert reply.status_code == 200, reply.text
    return reply.json()["limits"]


def denied(tenant: Tenant) -> list[tuple[str, str]]:
    entries = tenant.client.get("/audit?limit=500").json()["entries"]
    return [(entry["tool"], entry["rule"]) for entry in entries if entry["kind"] == "denied"]


def check_refused(reply: httpx2.Response, limit: str) -> None:
    """Check the one way in which every door says that a tenant is over a limit."""
    assert reply.status_code == 429, reply.text
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.headers["ratelimit-policy"].startswith(f'"{limit}";q=')
    assert re.fullmatch(rf'"{limit}";r=\d+;t=\d+', reply.headers["ratelimit"])
    body = reply.json()
    told = body["error"]["data"] if "error" in body else body
    assert (told["code"], told["limit"]) == ("rate_limited", limit)
    if "error" in body:
        assert body["error"]["code"] == -32066
    else:
        assert reply.headers["content-type"] == "application/problem+json"
        assert body["status"] == 429


@pytest.mark.covers("limits:visible")
def test_every_limit_is_shown_with_what_is_used_of_it(stack: Stack, tenant: Tenant) -> None:
    # A service that is only starting may have no answer in time on a busy machine: `unknown` says so then.
    eventually(lambda: all(one["used"] is not None for one in limits(tenant).values()))
    seen = limits(tenant)
    assert set(seen) == KINDS
    for one in seen.values():
        assert one["limit"] - one["used"] == one["left"]
        assert one["set_by"] == "plan"
    assert seen["calls_per_minute"]["resets_at"] is None
    assert seen["runs"]["resets_at"].endswith("-01T00:00:00+00:00")
    tenant.must("storage/put_json", {"key": "a", "value": "x" * 98})
    tenant.must("storage/put_json", {"key": "a", "value": "x" * 8})
    tenant.must("storage/put_json", {"key": "b", "value": "x" * 8})
    tenant.must("storage/delete_json", {"key": "b"})
    tenant.install("colombia")
    seen = tenant.must("platform/get_limits", {})["limits"]
    used = {name: one["used"] for name, one in seen.items()}
    assert used["storage_bytes"] == 10
    assert seen["storage_bytes"]["about"].endswith("runs, threads and servers' own folders hold is not counted")
    assert used["installed_servers"] == 1
    assert used["calls_per_minute"] == 5
    assert seen["calls_per_minute"]["resets_at"] is not None
    assert stack.operator("GET", f"tenants/{tenant.name}/limits").json()["limits"]["storage_bytes"]["used"] == 10
    viewer = tenant.client.post("/keys", json={"role": "viewer"}).json()["api_key"]
    assert limits(Tenant(tenant.name, viewer, tenant.url)).keys() == KINDS
    big = stack.tenant(plan="enterprise")
    assert limits(big)["calls_per_minute"] | {"used": 0} == {
        "limit": None, "used": 0, "left": None, "resets_at": None, "set_by": "plan", "about": "calls in any minute"
    }  # fmt: skip


@pytest.mark.covers("limits:visible")
def test_what_is_used_is_not_known_of_a_server_that_is_not_installed(stack: Stack, tenant: Tenant) -> None:
    assert tenant.client.delete("/servers/storage").status_code == 200
    assert limits(tenant)["storage_bytes"]["unknown"] == "storage counts it, which is not installed"
    assert "storage_bytes: what is used is not known: storage" in stack.cli("tenant", "show", tenant.name).stdout


@pytest.mark.soak
@pytest.mark.covers("limits:visible")
def test_where_a_server_does_not_say_what_is_used_it_is_said_why(stack: Stack, tenant: Tenant) -> None:
    eventually(lambda: all(one["used"] is not None for one in limits(tenant).values()))
    pid = stack.services()["agents"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = limits(tenant)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found["runs"]["unknown"].startswith("agents counts it, which did not answer: "), found["runs"]
    assert [name for name, one in found.items() if "unknown" in one or one["used"] is None] == ["runs"]


@pytest.mark.covers("limits:every-door", "limits:line", "limits:isolation")
def test_a_minutes_calls_are_counted_over_every_door_and_refused_in_its_words(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    earlier = Earlier(f"/tenants/{tenant.name}/mcp", tenant.key, client=httpx2.Client(base_url=tenant.url, timeout=30))
    set_limits(stack, tenant, calls_per_minute=4)
    first = tenant.call(*PLANS)
    assert first.headers["ratelimit-policy"] == '"calls_per_minute";q=4;w=60'
    assert first.headers["ratelimit"].startswith('"calls_per_minute";r=3;t=')
    call = {"name": "billing__list_plans", "arguments": {}}
    assert tenant.rpc("tools/call", call).status_code == 200
    assert tenant.rpc("tools/call", {"name": "list_plans", "arguments": {}}, server="billing").status_code == 200
    assert not earlier.result("tools/call", call).get("isError")
    check_refused(tenant.call(*PLANS), "calls_per_minute")
    check_refused(tenant.rpc("tools/call", call), "calls_per_minute")
    check_refused(tenant.client.get("/runs"), "calls_per_minute")
    check_refused(earlier.post(earlier.request("tools/call", call)), "calls_per_minute")
    streamed = tenant.client.post("/tools/billing/list_plans", json={}, headers={"Accept": "text/event-stream"})
    assert "rate_limited" in streamed.text
    assert limits(tenant)["calls_per_minute"]["left"] == 0
    why = tenant.must("platform/explain", {"server": "billing", "tool": "list_plans"})
    assert (why["allowed"], why["rule"]) == (False, "limit:calls_per_minute")
    assert why["reason"].startswith("Over the limit calls_per_minute: 4 of 4 ")
    why = tenant.must("platform/explain", {"server": "platform", "tool": "get_limits"})
    assert (why["allowed"], why["rule"]) == (True, "role:admin")
    assert tenant.client.get("/tools").status_code == 200
    assert other.call(*PLANS).status_code == 200
    set_limits(stack, tenant, calls_per_minute=None)
    assert denied(tenant) == [
        ("list_plans", "limit:calls_per_minute"), ("list_plans", "limit:calls_per_minute"),
        ("list_runs", "limit:calls_per_minute"), ("list_plans", "limit:calls_per_minute"),
        ("list_plans", "limit:calls_per_minute"),
    ]  # fmt: skip
    assert tenant.client.get("/audit/verify").json()["ok"] is True


@pytest.mark.covers("limits:lists", "limits:line", "limits:isolation")
def test_what_the_doors_answer_themselves_has_a_minute_of_its_own(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    earlier = Earlier(f"/tenants/{tenant.name}/mcp", tenant.key, client=httpx2.Client(base_url=tenant.url, timeout=30))
    used = limits(tenant)["lists_per_minute"]["used"]
    set_limits(stack, tenant, lists_per_minute=used + 4)
    shown = tenant.client.get("/tools?limit=1")
    assert shown.headers["ratelimit-policy"] == f'"lists_per_minute";q={used + 4};w=60'
    assert shown.headers["ratelimit"].startswith('"lists_per_minute";r=3;t=')
    assert tenant.client.get("/openapi.json").headers["ratelimit"].startswith('"lists_per_minute";r=2;t=')
    assert tenant.rpc("tools/list", {}).status_code == 200
    assert earlier.result("tools/list", {})["tools"]
    before = limits(tenant)["calls_per_minute"]["used"]
    refused = [
        tenant.client.get("/tools"), tenant.client.get("/openapi.json"), tenant.rpc("tools/list", {}),
        tenant.rpc("server/discover", {}), tenant.rpc("prompts/list", {}, server="billing"),
        tenant.rpc("subscriptions/listen", {"notifications": {}}), earlier.post(earlier.request("tools/list", {})),
        earlier.post(earlier.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})),
    ]  # fmt: skip
    for reply in refused:
        check_refused(reply, "lists_per_minute")
    assert tenant.call(*PLANS).status_code == 200
    seen = limits(tenant)
    assert (seen["lists_per_minute"]["left"], seen["calls_per_minute"]["used"]) == (0, before + 1)
    assert seen["lists_per_minute"]["about"].endswith("; calls are not counted")
    assert other.client.get("/tools").status_code == 200
    lines = [rule for _, rule in denied(tenant)]
    assert lines == ["limit:lists_per_minute"] * len(refused)
    assert stack.operator("POST", f"tenants/{tenant.name}/session").status_code == 201  # the operator's, and no list
    set_limits(stack, tenant, lists_per_minute=0)
    asked = {"agent": "concierge", "input": "¿Qué planes hay?", "wait": 60}
    assert tenant.client.post("/runs", json=asked).json()["status"] == "success"  # a run's look at the tools is its own
    set_limits(stack, tenant, lists_per_minute=None)
    assert tenant.rpc("tools/list", {}).status_code == 200


@pytest.mark.covers("limits:minute")
def test_a_call_whose_arguments_are_wrong_is_one_of_the_minutes_calls(stack: Stack, tenant: Tenant) -> None:
    set_limits(stack, tenant, calls_per_minute=2)
    wrong = ("storage/put_json", {"key": 5})
    assert [tenant.call(*wrong).status_code for _ in "12"] == [422, 422]
    check_refused(tenant.call(*wrong), "calls_per_minute")
    assert limits(tenant)["concurrent_calls"]["used"] == 1  # the one that asks


@pytest.mark.covers("limits:explained")
def test_explain_names_the_limit_that_would_refuse_a_call(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "k", "value": "x" * 50})
    agents, storage, registry = ("agents", "run"), ("storage", "put_json"), ("registry", "install")

    def explained(server: str, tool: str) -> tuple[bool, str]:
        found = tenant.must("platform/explain", {"server": server, "tool": tool})
        return found["allowed"], found["rule"]

    for (server, tool), name, least in (
        (agents, "runs", 0),
        (storage, "storage_bytes", 10),
        (registry, "installed_servers", 0),
    ):
        assert explained(server, tool) == (True, "role:admin")
        set_limits(stack, tenant, **{name: least})
        assert explained(server, tool) == (False, f"limit:{name}")
        assert [explained(*other) for other in (("storage", "get_json"), ("billing", "list_plans"))] == [
            (True, "role:admin")
        ] * 2
        set_limits(stack, tenant, **{name: None})
    set_limits(stack, tenant, storage_bytes=10)
    refused = tenant.call("storage/put_json", {"key": "more", "value": 1})
    check_refused(refused, "storage_bytes")
    assert denied(tenant)[-1:] == [] or ("put_json", "limit:storage_bytes") in denied(tenant)
    made = stack.operator("POST", f"tenants/{tenant.name}/keys", json={"role": "viewer"}).json()
    set_limits(stack, tenant, calls_per_minute=0)
    asked = {"server": "storage", "tool": "put_json", "principal": f"key:{made['id']}"}
    assert tenant.must("platform/explain", asked)["rule"] == "role:viewer"  # which comes before any limit


@pytest.mark.covers("limits:runs")
def test_a_fork_is_a_run_of_the_month_like_any_other(stack: Stack, tenant: Tenant) -> None:
    run = tenant.client.post("/runs", json={"agent": "concierge", "input": "¿Qué planes hay?", "wait": 30}).json()
    set_limits(stack, tenant, runs=1)
    check_refused(tenant.client.post(f"/runs/{run['id']}/fork", json={}), "runs")
    set_limits(stack, tenant, runs=2)
    assert tenant.client.post(f"/runs/{run['id']}/fork", json={}).status_code == 202


@pytest.mark.covers("limits:set")
def test_a_change_is_in_force_for_the_next_call_and_only_the_operator_makes_it(stack: Stack, tenant: Tenant) -> None:
    for allowed, status in ((0, 429), (50, 200), (1, 429), ("unlimited", 200), (0, 429), (None, 200)):
        shown = set_limits(stack, tenant, calls_per_minute=allowed)["calls_per_minute"]
        assert shown["set_by"] == ("plan" if allowed is None else "tenant")
        assert tenant.call(*PLANS).status_code == status, allowed
    arguments = {"tenant": tenant.name, "limits": {"calls_per_minute": 10**6}}
    assert tenant.call("platform/set_limits", arguments).status_code == 403
    assert tenant.client.patch("/limits", json={"runs": 10**6}).status_code == 404
    assert tenant.call("platform/get_limits", {"tenant": "other"}).status_code == 422
    assert tenant.call("platform/list_tenants", {}).status_code == 403
    for tool in ("reserve", "settle"):
        assert tenant.call(f"platform/{tool}", {"id": "x", "tokens": 1, "usd": 0}).status_code == 404
        for body in ({"id": "x", "tokens": 1, "usd": 0, "tenant": tenant.name}, {}):
            assert system_call(stack, tool, body).status_code == 404
    assert tenant.name in str(system_call(stack, "list_tenants", {}).json())
    assert system_call(stack, "set_limits", arguments).json()["result"]["isError"] is False
    assert limits(tenant)["calls_per_minute"]["limit"] == 10**6
    for body in ({}, {"tenant": 5, "limits": {}}, {"tenant": tenant.name, "limits": 3}):
        assert system_call(stack, "set_limits", body).json()["result"]["isError"] is True
    entry = next(e for e in tenant.client.get("/audit").json()["entries"] if e["tool"] == "set_limits")
    assert entry["principal"] in {"operator", f"key:{tenant.key.split('_')[1]}"}
    for unknown in ("nobody", "_system"):
        assert stack.operator("GET", f"tenants/{unknown}/limits").status_code == 404
        assert stack.operator("PATCH", f"tenants/{unknown}/limits", json={}).status_code == 404


def system_call(stack: Stack, tool: str, arguments: dict[str, Any]) -> httpx2.Response:
    operator = Tenant("_system", stack.operator_key, stack.url)
    return operator.rpc("tools/call", {"name": tool, "arguments": arguments}, server="platform")


@pytest.mark.covers("limits:set")
def test_wrong_limits_are_refused_in_one_line_and_change_nothing(stack: Stack, tenant: Tenant) -> None:
    before = limits(tenant)
    for wrong, named in (({"speed": 5}, "installed_servers"), ({"runs": "many"}, "runs"), ({"runs": -1}, "runs")):
        reply = stack.operator("PATCH", f"tenants/{tenant.name}/limits", json={"connections": 7, **wrong})
        assert reply.status_code == 422
        assert named in reply.json()["detail"]
    for wrong in ("speed=5", "runs=many", "runs", "=5"):
        done = stack.cli("tenant", "set", tenant.name, wrong, check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
    assert limits(tenant)["connections"]["limit"] == before["connections"]["limit"]
    shown = stack.cli_json("tenant", "set", tenant.name, "runs=5", "cost_per_month=2.50", "storage_bytes=unlimited")
    assert [shown["limits"][name]["limit"] for name in ("runs", "cost_per_month", "storage_bytes")] == [5, 2.5, None]
    taken_back = stack.cli_json("tenant", "set", tenant.name, "runs=", "cost_per_month=default")["limits"]
    assert taken_back["runs"]["set_by"] == taken_back["cost_per_month"]["set_by"] == "plan"
    assert stack.cli_json("tenant", "show", tenant.name)["limits"]["storage_bytes"]["limit"] is None


@pytest.mark.covers("limits:stock")
def test_storage_has_room_for_its_bytes_and_no_more_however_many_write_at_once(stack: Stack, tenant: Tenant) -> None:
    set_limits(stack, tenant, storage_bytes=1000)

    def put(number: int) -> httpx2.Response:
        return tenant.call("storage/put_json", {"key": f"k{number}", "value": "x" * 98})

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(put, range(24)))
    stored = [reply for reply in replies if reply.status_code == 200]
    assert len(stored) == 10
    for reply in replies:
        if reply.status_code != 200:
            check_refused(reply, "storage_bytes")
    assert limits(tenant)["storage_bytes"] | {"about": ""} == {
        "limit": 1000, "used": 1000, "left": 0, "resets_at": None, "set_by": "tenant", "about": ""
    }  # fmt: skip
    kept = stored[0].json()["key"]
    check_refused(tenant.call("storage/put_json", {"key": kept, "value": "x" * 99}), "storage_bytes")
    assert tenant.call("storage/put_json", {"key": kept, "value": "x" * 8}).status_code == 200
    assert tenant.call("storage/delete_json", {"key": kept}).status_code == 200
    assert tenant.call("storage/put_json", {"key": "new", "value": "x" * 98}).status_code == 200
    put_it = {"name": "storage__put_json", "arguments": {"key": "z", "value": 1}}
    check_refused(tenant.rpc("tools/call", put_it), "storage_bytes")
    set_limits(stack, tenant, storage_bytes=5)  # what is there stays; less of it may be stored anew, not more
    assert tenant.call("storage/put_json", {"key": "new", "value": 1}).status_code == 200
    assert ("put_json", "limit:storage_bytes") in denied(tenant)


@pytest.mark.covers("limits:stock")
def test_no_more_servers_are_installed_than_there_may_be_however_many_ask_at_once(stack: Stack, tenant: Tenant) -> None:
    with ThreadPoolExecutor(2) as pool:
        set_limits(stack, tenant, installed_servers=0)
        for ref in ("pypi:no-such-thing-at-all", "colombia"):
            none = tenant.client.post("/servers", json={"ref": ref})
            assert (none.status_code, none.json()["limit"]) == (429, "installed_servers"), none.text
        set_limits(stack, tenant, installed_servers=1)
        replies = list(pool.map(lambda ref: tenant.client.post("/servers", json={"ref": ref}), ["colombia"] * 2))
    assert [reply.status_code for reply in replies] == [201, 201]
    assert tenant.client.post("/servers", json={"ref": "billing"}).status_code == 201  # its plan's, and there already
    check_refused(tenant.client.post("/servers", json={"ref": "pypi:no-such-thing-at-all"}), "installed_servers")
    assert tenant.client.delete("/servers/colombia").status_code == 200
    assert limits(tenant)["installed_servers"]["used"] == 0
    assert tenant.client.post("/servers", json={"ref": "colombia"}).status_code == 201


@pytest.mark.covers("limits:runs")
def test_a_month_has_so_many_runs_and_a_repeated_request_is_no_new_one(stack: Stack, tenant: Tenant) -> None:
    set_limits(stack, tenant, runs=3)

    def run(key: str) -> httpx2.Response:
        body = {"agent": "concierge", "input": "Hola"}
        return tenant.client.post("/runs", json=body, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(8) as pool:
        replies = dict(zip("abcdefgh", pool.map(run, "abcdefgh"), strict=True))
    begun = [key for key, reply in replies.items() if reply.status_code in {200, 202}]
    assert len(begun) == 3
    for key, reply in replies.items():
        if key not in begun:
            check_refused(reply, "runs")
    assert run(begun[0]).json()["id"] == replies[begun[0]].json()["id"]
    seen = limits(tenant)["runs"]
    assert (seen["used"], seen["left"]) == (3, 0)
    assert seen["resets_at"] is not None
    set_limits(stack, tenant, runs=4)
    assert run("i").status_code in {200, 202}


@pytest.mark.covers("limits:at-once", "limits:isolation")
def test_what_is_open_at_once_is_bounded_and_comes_back(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    with contextlib.ExitStack() as streams:
        for _ in range(2):
            streams.enter_context(listening(tenant))
        set_limits(stack, tenant, connections=2)
        check_refused(tenant.call(*PLANS), "connections")
        check_refused(tenant.rpc("tools/list", {}), "connections")
        assert other.call(*PLANS).status_code == 200
        shown = stack.operator("GET", f"tenants/{tenant.name}/limits").json()["limits"]["connections"]
        assert (shown["used"], shown["left"]) == (2, 0)
    eventually(lambda: tenant.call(*PLANS).status_code == 200)
    assert ("POST", "limit:connections") in denied(tenant)
    assert limits(tenant)["connections"]["used"] == 1


@pytest.mark.covers("limits:at-once", "limits:isolation")
def test_so_many_calls_are_under_way_at_once(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    with party(stack.remote_ports[0], "red", MODERN) as red:
        tenant.install(red.url, name="red")
        other.install(red.url, name="red")
        set_limits(stack, tenant, concurrent_calls=2)
        call = {"name": "red__wait", "arguments": {}, "_meta": {"progressToken": 1}}
        with contextlib.ExitStack() as waiting:
            lines = [
                waiting.enter_context(streamed(tenant, "tools/call", call, "red__wait")).iter_lines() for _ in "12"
            ]
            for each in lines:  # kept, since a stream that nobody reads on is closed
                assert "progress" in next(line for line in each if line.startswith("data:"))
            check_refused(tenant.call(*PLANS), "concurrent_calls")
            check_refused(
                tenant.rpc("tools/call", {"name": "billing__list_plans", "arguments": {}}), "concurrent_calls"
            )
            assert other.call(*PLANS).status_code == 200
            shown = stack.operator("GET", f"tenants/{tenant.name}/limits").json()["limits"]["concurrent_calls"]
            assert (shown["used"], shown["left"]) == (2, 0)
        eventually(lambda: tenant.call(*PLANS).status_code == 200)
        # A nested call has its parent's place: resuming a run decides on its approval, which is two calls at once.
        invoice = {"agent": "concierge", "input": "Crea una factura para Ana por 50.000 COP de clases", "wait": 30}
        run = tenant.client.post("/runs", json=invoice).json()
        assert run["status"] == "interrupted", run
        set_limits(stack, tenant, concurrent_calls=1)
        resumed = tenant.client.post(f"/runs/{run['id']}/resume", json={"decision": {"approve": False}})
        assert resumed.status_code in {200, 202}, resumed.text
    set_limits(stack, tenant, concurrent_calls=None)
    assert ("list_plans", "limit:concurrent_calls") in denied(tenant)


def listening(tenant: Tenant) -> Any:
    return streamed(tenant, "subscriptions/listen", {"notifications": {"tools": {"listChanged": True}}})


def streamed(tenant: Tenant, method: str, params: dict[str, Any], name: str | None = None) -> Any:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        **params.get("_meta", {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {
        **tenant.headers,
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        **({} if name is None else {"Mcp-Name": name}),
    }
    client = httpx2.Client(base_url=tenant.url, timeout=30, trust_env=False)
    return client.stream("POST", f"/tenants/{tenant.name}/mcp", json=body, headers=headers)


@pytest.mark.covers("limits:nothing")
def test_a_limit_of_nothing_is_no_wait(stack: Stack, tenant: Tenant) -> None:
    set_limits(stack, tenant, calls_per_minute=0, runs=0)
    refusals = [tenant.call(*PLANS), tenant.rpc("tools/call", {"name": "billing__list_plans", "arguments": {}})]
    for refused in refusals:
        assert refused.status_code == 429, refused.text
        assert not {"retry-after", "ratelimit"} & refused.headers.keys()
        body = refused.json()
        told = body["error"]["data"] if "error" in body else body
        assert (told["code"], told["limit"], told["quota"]) == ("rate_limited", "calls_per_minute", 0)
        assert "retry_after" not in told
        assert "Not available to this tenant: calls_per_minute is 0" in refused.text
    free = tenant.call("platform/get_limits", {})  # it is answered all the same, and promises nothing
    assert free.status_code == 200
    assert "ratelimit" not in free.headers
    set_limits(stack, tenant, calls_per_minute=None)
    refused = tenant.client.post("/runs", json={"agent": "concierge", "input": "hola"})
    assert (refused.status_code, "retry-after" in refused.headers) == (429, False), refused.text
    assert "Not available to this tenant: runs is 0" in refused.text


@pytest.mark.covers("limits:stock", "limits:explained", "limits:line")
def test_people_and_keys_are_bounded_exactly_and_what_is_revoked_makes_room(stack: Stack, tenant: Tenant) -> None:
    set_limits(stack, tenant, users=3, api_keys=4)

    def made(number: int) -> tuple[httpx2.Response, httpx2.Response]:
        person = {"id": f"ana{number}", "roles": ["viewer"]}
        return tenant.call("auth/create_user", person), tenant.call("auth/create_api_key", {"role": "viewer"})

    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(made, range(6)))
    for each, name, room in ((0, "users", 3), (1, "api_keys", 3)):  # the tenant has its first key already
        refused = [pair[each] for pair in replies if pair[each].status_code != 200]
        assert len(replies) - len(refused) == room
        for reply in refused:
            check_refused(reply, name)
        assert limits(tenant)[name]["used"] == limits(tenant)[name]["limit"]
    for tool, name in (("create_user", "users"), ("create_api_key", "api_keys")):
        assert tenant.must("platform/explain", {"server": "auth", "tool": tool})["rule"] == f"limit:{name}"
        assert (tool, f"limit:{name}") in denied(tenant)
    key = next(pair[1] for pair in replies if pair[1].status_code == 200).json()
    tenant.must("auth/revoke_api_key", {"key_id": key["id"]})
    assert limits(tenant)["api_keys"]["left"] == 1
    tenant.must("auth/create_api_key", {"role": "viewer"})
    # The operator sets the limit, and is not held to it: whoever has lost all keys of a tenant at it gets another.
    assert stack.operator("POST", f"tenants/{tenant.name}/keys", json={"role": "admin"}).status_code == 201
    assert limits(tenant)["api_keys"] | {"about": ""} == {
        "limit": 4, "used": 5, "left": 0, "resets_at": None, "set_by": "tenant", "about": ""
    }  # fmt: skip


@pytest.mark.covers("auth:keys-in-pages")
def test_keys_are_paged_over_rest_for_their_tenant_and_for_the_operator(stack: Stack, tenant: Tenant) -> None:
    made = [tenant.client.post("/keys", json={"role": "viewer"}).json()["id"] for _ in range(4)]

    def pages(get: Any, limit: int) -> list[str]:
        found, cursor = list[str](), ""
        while True:
            page = get(f"?limit={limit}{cursor}").json()
            found += [one["id"] for one in page["keys"]]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"  # as it stands: no character of it needs encoding

    whole = pages(lambda query: tenant.client.get(f"/keys{query}"), 500)
    assert whole[1:] == made
    assert pages(lambda query: tenant.client.get(f"/keys{query}"), 2) == whole
    assert pages(lambda query: stack.operator("GET", f"tenants/{tenant.name}/keys{query}"), 2) == whole
    listed = stack.cli_json("key", "list", "--tenant", tenant.name)["keys"]
    assert [one["id"] for one in listed] == whole
