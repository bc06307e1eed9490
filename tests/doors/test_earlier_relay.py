"""Earlier clients of earlier servers: what passes between them passes as it is, in a session of the client's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from remotes import EARLIER, Party, eventually, party, spoken_for
from sessions import Earlier, Message, endpoint
from stack import Stack, Tenant

NOTE = "tausestack://red/note%3A%2F%2Fone"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
ACCEPTED = {"action": "accept", "content": {}}


@pytest.fixture
def red(stack: Stack, tenant: Tenant) -> Iterator[Party]:
    with party(stack.remote_ports[0], "red", EARLIER) as running:
        tenant.install(running.url, name="red")
        yield running


@pytest.fixture
def blue(stack: Stack, tenant: Tenant) -> Iterator[Party]:
    with party(stack.remote_ports[1], "blue", EARLIER) as running:
        tenant.install(running.url, name="blue")
        yield running


def said(result: Any) -> str:
    return result["content"][0]["text"]


def of_client(one: Party, method: str) -> list[dict[str, Any]]:
    """Return what a server was sent in the sessions of clients, and not in the adapter host's own."""
    theirs = {each["headers"].get("mcp-session-id") for each in one.calls("tools/call")}
    return [each for each in one.calls(method) if each["headers"].get("mcp-session-id") in theirs]


@pytest.mark.covers("relay:session")
def test_a_client_has_a_session_of_its_own_at_the_server(tenant: Tenant, red: Party) -> None:
    first = Earlier(endpoint(tenant), tenant.key, "2025-06-18", {"sampling": {}})
    second = Earlier(endpoint(tenant, "red"), tenant.key, "2025-11-25", {"roots": {}, "elicitation": {}})
    assert said(first.call("red__who")) == '["t", ["sampling"]]'
    assert said(second.call("who")) == '["t", ["elicitation", "roots"]]'
    assert said(first.call("red__who")) == '["t", ["sampling"]]'
    calls = red.calls("tools/call")
    assert [one["headers"]["mcp-protocol-version"] for one in calls] == ["2025-06-18", "2025-11-25", "2025-06-18"]
    assert calls[0]["headers"]["mcp-session-id"] == calls[2]["headers"]["mcp-session-id"] != first.session
    assert [one["message"]["params"] for one in calls] == [{"name": "who", "arguments": {}}] * 3
    assert not [one for one in red.log() if tenant.key in str(one)]
    line = tenant.client.get("/audit").json()["entries"][0]
    assert (line["server"], line["tool"], line["outcome"], line["door"]) == ("red", "who", "done", "mcp")
    for client in (first, second):
        assert client.end() == 200
    theirs = {one["headers"]["mcp-session-id"] for one in calls}
    eventually(lambda: theirs <= {one["headers"]["mcp-session-id"] for one in red.log() if one["http"] == "DELETE"})


@pytest.mark.covers("relay:questions")
def test_questions_of_two_servers_do_not_collide(tenant: Tenant, red: Party, blue: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    calls = [client.request("tools/call", {"name": f"{name}__ask", "arguments": {}}) for name in ("red", "blue")]
    for call in calls:
        call["id"] = 7 if call is calls[0] else "7"
    with client.sent(calls[0]) as of_red, client.sent(calls[1]) as of_blue:
        questions = {"red": next(of_red), "blue": next(of_blue)}
        assert questions["red"]["id"] != questions["blue"]["id"]
        for name in ("blue", "red"):
            assert questions[name]["params"]["message"] == f"{name} asks"
            assert client.respond(questions[name], {**ACCEPTED, "content": {"to": name}}) == 202
        for name, call, messages in (("red", calls[0], of_red), ("blue", calls[1], of_blue)):
            (response,) = messages
            assert response["id"] == call["id"]
            assert f'"to": "{name}"' in said(response["result"])


@pytest.mark.covers("relay:questions")
def test_an_answer_goes_to_no_session_but_its_own(tenant: Tenant, red: Party) -> None:
    client, other = (Earlier(endpoint(tenant), tenant.key) for _ in range(2))
    assert said(other.call("red__who")).startswith('["t"')
    before = len(red.log())

    def answer(question: Message) -> None:
        assert Earlier(endpoint(tenant), tenant.key).respond(question, ACCEPTED) == 202
        assert client.respond(question, ACCEPTED) == 202

    assert "accept" in said(client.call("red__ask", told=answer))
    answers = [one for one in red.log()[before:] if one["message"] and "method" not in one["message"]]
    assert [one["message"]["result"] for one in answers] == [ACCEPTED]


@pytest.mark.covers("adapters:errors-not-ours")
def test_an_error_in_our_words_is_its_servers_and_passes_as_it_came(tenant: Tenant, red: Party) -> None:
    error = {"code": -32000, "message": "not now", "data": {"code": "unavailable", "theirs": 1}}
    asked = {"name": "pose", "arguments": {}}
    for _ in range(4):
        told = tenant.rpc("tools/call", asked, server="red")
        assert (told.status_code, told.json()["error"]) == (200, error)
    assert len(red.calls("tools/call")) == 4, "nothing was sent again"
    assert tenant.client.get("/servers/red").json()["health"] == {"state": "closed", "failures": 0}
    lines = [one for one in tenant.client.get("/audit").json()["entries"] if one["tool"] == "pose"]
    assert {(one["outcome"], one["error"]) for one in lines if one["outcome"]} == {("failed", "upstream_error")}
    rest = tenant.call("red/pose", {})
    assert (rest.status_code, rest.json()["code"], rest.json()["upstream"]) == (502, "upstream_error", error)
    client = Earlier(endpoint(tenant, "red"), tenant.key)
    with client.sent(client.request("tools/call", asked)) as messages:
        (answer,) = messages
    assert answer["error"] == error
    tenant.client.delete("/servers/red")  # the host's own session would look for the next test's server


@pytest.mark.covers("adapters:errors-not-ours")
def test_our_own_processes_take_no_servers_error_for_ours(stack: Stack, tenant: Tenant, red: Party) -> None:
    asked = {"name": "pose", "arguments": {}, "_meta": META}
    headers = {**tenant.headers, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "pose"}
    transport = httpx2.HTTPTransport(uds=str(stack.data / "run" / "gateway.sock"))
    with httpx2.Client(transport=transport, base_url="http://localhost", timeout=60, headers=headers) as inside:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
        told = inside.post(f"/tenants/{tenant.name}/servers/red/mcp", json=body).json()["error"]
    assert told["data"]["code"] == "upstream_error"
    assert told["data"]["upstream"]["data"] == {"code": "unavailable", "theirs": 1}
    tenant.client.delete("/servers/red")


@pytest.mark.covers("relay:closed")
def test_a_stream_that_the_server_closes_is_closed_and_resumed(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    call = client.request("tools/call", {"name": "red__close", "arguments": {}})
    with client.sent(call) as messages:
        assert list(messages) == []
    assert client.retries[-1] == 60
    with client.listening(after=client.events[-1]) as messages:
        (response,) = messages
    assert response["id"] == call["id"]
    assert said(response["result"]) == "after the break"
    resumed = [one for one in red.log() if one["http"] == "GET" and "last-event-id" in one["headers"]]
    assert len(resumed) == 1
    # A client of a version that can't come back keeps its stream.
    assert said(Earlier(endpoint(tenant), tenant.key, "2025-06-18").call("red__close")) == "after the break"


@pytest.mark.covers("relay:passed-on")
def test_level_and_subscriptions_reach_the_server_and_its_news_the_client(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    assert client.result("logging/setLevel", {"level": "debug"}) == {}
    client.call("red__who")
    with client.listening() as messages:
        assert client.result("resources/subscribe", {"uri": NOTE}) == {}
        assert client.result("logging/setLevel", {"level": "warning"}) == {}
        updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://one"}}
        eventually(lambda: [one for one in red.log() if one["http"] == "GET"])
        red.tell(updated)
        assert next(one for one in messages if one["method"] == updated["method"])["params"]["uri"] == NOTE
        red.tell({"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
        question = next(one for one in messages if one["method"] == "roots/list")
        assert client.respond(question, {"roots": []}) == 202
    assert client.notify("notifications/roots/list_changed") == 202
    (watched,) = of_client(red, "resources/subscribe")
    assert watched["message"]["params"] == {"uri": "note://one"}
    levels = [one["message"]["params"]["level"] for one in of_client(red, "logging/setLevel")]
    assert levels == ["debug", "warning"]
    eventually(lambda: of_client(red, "notifications/roots/list_changed"))


@pytest.mark.covers("relay:cancel")
def test_a_cancellation_reaches_the_server_under_its_own_id(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    call = client.request("tools/call", {"name": "red__wait", "arguments": {}, "_meta": {"progressToken": 5}})
    with client.sent(call) as messages:
        assert next(messages)["params"] == {"progressToken": 5, "progress": 1}
        assert client.notify("notifications/cancelled", {"requestId": call["id"]}) == 202
        assert list(messages) == []
    (heard,) = eventually(lambda: red.calls("notifications/cancelled"))
    assert heard["message"]["params"]["requestId"] == call["id"]


@pytest.mark.covers("relay:forgotten")
def test_an_error_with_404_is_an_answer_and_no_forgotten_session(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant, "red"), tenant.key)
    for number in (1, 2):
        assert client.ask("prompts/get", {"name": "none"})["error"]["code"] == -32601
        assert len(red.calls("prompts/get")) == number
    assert said(client.call("who"))


@pytest.mark.covers("relay:forgotten")
def test_a_session_that_the_server_forgot_is_begun_anew(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    client.result("logging/setLevel", {"level": "error"})
    client.call("red__who")
    red.forget()
    assert said(client.call("red__who")).startswith('["t"')
    assert [one["message"]["params"]["level"] for one in red.calls("logging/setLevel")][-2:] == ["error", "error"]


@pytest.mark.covers("relay:errors")
def test_a_servers_error_passes_as_it_came(tenant: Tenant, red: Party) -> None:
    client = Earlier(endpoint(tenant, "red"), tenant.key)
    error = client.ask("tools/call", {"name": "fail", "arguments": {}})["error"]
    assert error == {"code": -32602, "message": "so it is", "data": {"theirs": 1}}
    assert said({"content": client.result("resources/read", {"uri": "note://one"})["contents"]}) == "of red"
    assert client.result("tools/call", {"name": "nothing", "arguments": {}})["isError"] is True
    assert not [one for one in red.calls("tools/call") if one["message"]["params"]["name"] == "nothing"]


@pytest.mark.covers("relay:listens")
def test_a_server_is_listened_to_before_it_is_first_asked(tenant: Tenant, red: Party, blue: Party) -> None:
    client = Earlier(endpoint(tenant), tenant.key)
    with client.listening():
        assert said(client.call("red__listens")) == "True"
        assert said(client.call("blue__listens")) == "True"


@pytest.mark.covers("remote:away")
@pytest.mark.parametrize("earlier", [False, True], ids=["through-the-host", "relayed"])
def test_an_earlier_server_that_its_proxy_does_not_reach_is_left_alone(
    stack: Stack, tenant: Tenant, red: Party, earlier: bool
) -> None:
    client = Earlier(endpoint(tenant), tenant.key, "2025-06-18") if earlier else None

    def called() -> tuple[Any, str]:
        params: dict[str, Any] = {"name": "red__who", "arguments": {}}
        told = client.ask("tools/call", params) if client else tenant.rpc("tools/call", params).json()
        error = told.get("error", {})
        return error.get("data", {}).get("code"), error.get("message", "")

    def health() -> dict[str, Any]:
        return tenant.client.get("/servers/red").json()["health"]

    assert called() == (None, "")
    red.kill()
    with spoken_for(stack.remote_ports[0], 401):
        eventually(lambda: "HTTP 401" in called()[1])
        assert called()[0] == "upstream_error"
        assert (health()["state"], "red does not accept" in health()["reason"]) == ("closed", True)
    with spoken_for(stack.remote_ports[0], 502):
        eventually(lambda: called()[0] == "unavailable")
        assert (health()["state"], "HTTP 502" in health()["reason"]) == ("open", True)
    with party(stack.remote_ports[0], "red", EARLIER):
        eventually(lambda: called() == (None, ""), 120)
        assert health() == {"state": "closed", "failures": 0}
