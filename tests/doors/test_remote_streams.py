"""Streams of notifications from third parties' servers at URLs, with the tenant's own, through both MCP endpoints."""

from __future__ import annotations

import pytest

from remotes import Party, eventually, listening
from sessions import Earlier, endpoint
from stack import Tenant

NOTE = "tausestack://red/note%3A%2F%2Fone"
LISTEN = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


@pytest.mark.covers("remote:streams")
def test_the_streams_of_a_server_end_when_it_is_uninstalled(tenant: Tenant, red: Party) -> None:
    tenant.install(red.url, name="red")
    earlier = Earlier(endpoint(tenant, "red"), tenant.key)
    wanted = {"toolsListChanged": True}
    with listening(tenant, wanted, "red") as told, earlier.listening() as heard, listening(tenant, wanted) as merged:
        assert next(told)["method"].endswith("acknowledged")
        assert next(merged)["method"].endswith("acknowledged")
        assert tenant.client.delete("/servers/red").status_code == 200
        assert [one["error"]["data"]["code"] for one in told if "error" in one] == ["not_found"]
        assert all(one["method"].endswith("/list_changed") for one in heard)  # by when it ends, it may be told of it
        assert next(merged)["method"] == "notifications/tools/list_changed"


@pytest.mark.covers("remote:streams")
def test_a_stream_carries_nothing_that_was_not_asked_for(tenant: Tenant, red: Party) -> None:
    tenant.install(red.url, name="red")
    with listening(tenant, {"promptsListChanged": True}) as messages:
        next(messages)
        for unasked in (
            {"method": "notifications/resources/updated", "params": {"uri": "note://one"}},
            {"method": "notifications/tools/list_changed"},
            {"method": "notifications/message", "params": {"level": "info", "data": "x"}},
            {"method": "ping", "id": 7},
            {"method": "notifications/prompts/list_changed"},
        ):
            eventually(lambda told={"jsonrpc": "2.0", **unasked}: red.tell(told))
        news = next(messages)
        assert news["method"] == "notifications/prompts/list_changed"
        assert news["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s-1"}


@pytest.mark.covers("remote:streams")
def test_a_stream_carries_every_servers_news_and_the_tenants_own(tenant: Tenant, red: Party, blue: Party) -> None:
    tenant.install(red.url, name="red")
    wanted = {**LISTEN, "resourceSubscriptions": [NOTE, "tausestack://nobody/x"]}
    with listening(tenant, wanted) as messages:
        first = next(messages)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {**LISTEN, "resourceSubscriptions": [NOTE]}
        assert (
            red.tell({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://one"}})
            == 1
        )
        updated = next(messages)
        assert updated["params"]["uri"] == NOTE
        tenant.install(blue.url, name="blue")
        changed = {next(messages)["method"] for _ in range(3)}
        assert changed == {f"notifications/{what}/list_changed" for what in ("tools", "prompts", "resources")}
        eventually(lambda: blue.tell({"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}))
        news = next(messages)
        assert news["method"] == "notifications/prompts/list_changed"
        for message in (first, updated, news):
            assert message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "s-1"
    eventually(lambda: {"gone": "subscriptions/listen", "about": None} in red.log())


@pytest.mark.covers("remote:listen")
def test_a_request_for_a_stream_has_bounds(tenant: Tenant, red: Party) -> None:
    tenant.install(red.url, name="red")
    for wanted in (
        {"resourceSubscriptions": [f"note://{number}" for number in range(257)]},
        {"taskIds": ["x"] * 257},
        {"resourceSubscriptions": ["note://" + "x" * 300_000]},
        {"unknown": "x" * 300_000},
    ):
        for server in (None, "red"):
            reply = tenant.rpc("subscriptions/listen", {"notifications": wanted}, server=server)
            assert (reply.status_code, reply.json()["error"]["data"]["code"]) == (413, "payload_too_large")


@pytest.mark.covers("remote:streams")
def test_a_stream_goes_on_listening_where_something_else_of_its_tenant_changes(
    tenant: Tenant, red: Party, blue: Party
) -> None:
    tenant.install(red.url, name="red")
    with listening(tenant, {"toolsListChanged": True, "resourceSubscriptions": [NOTE]}) as messages:
        assert next(messages)["method"] == "notifications/subscriptions/acknowledged"
        tenant.install(blue.url, name="blue")
        assert next(messages)["method"] == "notifications/tools/list_changed"
        eventually(lambda: blue.calls("subscriptions/listen"))
        assert red.tell(
            {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://one"}}
        )
        assert next(messages)["params"]["uri"] == NOTE
        assert len(red.calls("subscriptions/listen")) == 1, "what it told meanwhile would have been lost"
        assert tenant.client.patch("/servers/red", json={"secrets": {"Authorization": "Bearer new"}}).status_code == 200
        eventually(lambda: len(red.calls("subscriptions/listen")) == 2)
        assert red.calls("subscriptions/listen")[1]["headers"]["authorization"] == "Bearer new"
