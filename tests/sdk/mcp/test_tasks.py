"""Calls that are answered with a task: run, asked, answered, cancelled, listened for."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from mcp import Client as OfficialClient
from mcp.shared.exceptions import MCPError

import tausestack as ts
from task_clients import CAPABILITIES, DECLARED, EXTENSION, Client, TakesTasks

KEY = {"pro.tause/idempotency-key": "k1"}

_tenants = (f"tenant{number}" for number in itertools.count(1))


@pytest.fixture
def acme(one_job_process: Any) -> Client:
    """A client of a tenant that no other test knows, of a process that stays alive."""
    return Client(one_job_process, next(_tenants))


@pytest.mark.covers("tasks:answered")
def test_a_long_call_is_answered_with_a_task_that_tells_how_far_it_is_and_what_it_ended_with(
    acme: Client,
) -> None:
    task = acme.begin("recount", {"shelf": "a"})
    acme.reached("recount")
    state = acme.get(task)
    assert (state["taskId"], state["resultType"], state["status"]) == (task, "complete", "working")
    assert state["statusMessage"] == "counting a"
    assert {"ttlMs", "pollIntervalMs", "createdAt", "lastUpdatedAt"} <= state.keys()
    assert not {"result", "error", "inputRequests", "requestState"} & state.keys()
    acme.open("recount", "written")
    ended = acme.until(task, "completed")
    assert ended["result"]["structuredContent"] == {"shelf": "a", "count": 1}


@pytest.mark.covers("tasks:answered")
def test_only_a_client_that_declares_the_extension_is_answered_with_a_task(acme: Client, refused: Any) -> None:
    acme.open("recount", "written")
    plain = replace(acme, capabilities={})
    assert plain.call("recount", {"shelf": "a"})["structuredContent"] == {"shelf": "a", "count": 1}
    assert acme.done() == ["a"]
    task = acme.begin("recount", {"shelf": "a"})
    needed = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    for forbidden in (
        lambda: plain.call("fail", {"kind": "tool"}),
        lambda: plain.call("clear", {"shelf": "a"}),
        lambda: plain.get(task),
        lambda: plain.update(task),
        lambda: plain.cancel(task),
    ):
        with pytest.raises(refused) as answer:
            forbidden()
        assert (answer.value.status, answer.value.error["code"]) == (400, -32021)
        assert answer.value.error["data"] == needed


@pytest.mark.covers("tasks:discovered")
def test_discovery_tells_of_tasks_and_promises_no_changes_of_lists(acme: Client, processes: Any) -> None:
    found = acme.ask("server/discover", "", {})["capabilities"]
    assert found["extensions"] == {EXTENSION: {}}
    assert found["tools"] == {"listChanged": False}
    processes.over_socket()
    assert "extensions" not in Client(processes, "acme").ask("server/discover", "", {})["capabilities"]


@pytest.mark.covers("tasks:errors")
def test_a_tools_failure_completes_a_task_and_an_error_of_the_protocol_fails_it(acme: Client, refused: Any) -> None:
    tool = acme.until(acme.begin("fail", {"kind": "tool"}), "completed")
    assert tool["result"]["isError"] is True
    assert tool["result"]["_meta"]["pro.tause/error"]["code"] == "conflict"
    defect = acme.until(acme.begin("fail", {"kind": "defect"}), "completed")
    assert "a defect" not in json.dumps(defect)
    protocol = acme.until(acme.begin("fail", {"kind": "protocol"}), "failed")
    assert (protocol["error"]["code"], protocol["statusMessage"]) == (-32602, "no such shelf")
    assert "result" not in protocol
    with pytest.raises(refused) as answer:
        acme.call("fail", {"sort": 1})
    assert answer.value.error["data"]["code"] == "invalid_arguments"


@pytest.mark.covers("tasks:input")
def test_a_task_asks_for_input_goes_on_with_the_answer_and_asks_again_under_another_key(
    acme: Client,
) -> None:
    acme.open("between")
    task = acme.begin("clear", {"shelf": "a"})
    asked = acme.until(task, "input_required")["inputRequests"]
    assert list(asked) == ["input"]
    assert asked["input"]["method"] == "elicitation/create"
    assert asked["input"]["params"]["message"] == "Clear a?"
    acme.update(task, unknown={"action": "accept"})
    assert acme.get(task)["inputRequests"] == asked
    acme.update(task, input={"action": "accept", "content": {"sure": True}})
    again = acme.until(task, "input_required")["inputRequests"]
    assert list(again) == ["input-2"]
    acme.update(task, input={"action": "decline"})
    acme.update(task, **{"input-2": {"action": "accept", "content": {"sure": True}}})
    assert acme.until(task, "completed")["result"]["structuredContent"] == {"result": "cleared 1"}


@pytest.mark.covers("tasks:input")
def test_nobody_is_asked_what_they_cannot_answer_and_no_write_waits_for_an_answer(
    acme: Client,
) -> None:
    mute = replace(acme, capabilities={"extensions": {EXTENSION: {}}})
    failed = mute.until(mute.begin("clear", {"shelf": "a"}), "failed")
    assert failed["error"]["code"] == -32021
    assert failed["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}
    broken = acme.until(acme.begin("write_and_ask", {}), "completed")
    assert broken["result"]["isError"] is True
    assert acme.done() == []


@pytest.mark.covers("tasks:cancel")
def test_a_cancelled_task_stops_where_it_is_and_leaves_nothing(acme: Client) -> None:
    acme.open("recount")
    writing = acme.begin("recount", {"shelf": "a"})
    acme.reached("written")
    acme.cancel(writing)
    assert acme.get(writing)["status"] == "cancelled"
    waiting = acme.begin("clear", {"shelf": "a"})
    acme.until(waiting, "input_required")
    acme.cancel(waiting)
    assert acme.get(waiting)["status"] == "cancelled"
    acme.cancel(waiting)
    assert acme.done() == []


@pytest.mark.covers("tasks:owner")
def test_the_task_of_another_tenant_or_principal_is_exactly_an_unknown_one(acme: Client, refused: Any) -> None:
    task = acme.begin("recount", {"shelf": "a"})
    answers: list[tuple[int, Any]] = []
    for client, named in (
        (acme, "no-such-task"),
        (replace(acme, tenant=next(_tenants)), task),
        (acme.but(name="colleague"), task),
        (acme.but(agent="concierge", run="r1"), task),
    ):
        for act in (client.get, client.update, client.cancel):
            with pytest.raises(refused) as answer:
                act(named)
            answers.append((answer.value.status, answer.value.error))
    assert all(each == answers[0] for each in answers)
    assert answers[0][1]["code"] == -32602
    assert acme.get(task)["status"] == "working"


@pytest.mark.covers("tasks:headers")
def test_a_request_whose_header_names_another_task_is_refused(acme: Client, refused: Any) -> None:
    task = acme.begin("recount", {"shelf": "a"})
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        with pytest.raises(refused) as answer:
            acme.ask(method, "another", {"taskId": task, "inputResponses": {}})
        assert (answer.value.status, answer.value.error["code"]) == (400, -32020)


@pytest.mark.covers("tasks:keyed")
def test_the_same_keyed_call_is_the_same_task_and_then_its_result(acme: Client, refused: Any) -> None:
    task = acme.begin("recount", {"shelf": "a"}, **KEY)
    assert acme.begin("recount", {"shelf": "a"}, **KEY) == task
    with pytest.raises(refused) as answer:
        acme.call("recount", {"shelf": "b"}, **KEY)
    assert answer.value.error["data"]["code"] == "idempotency_key_reused"
    acme.open("recount", "written")
    result = acme.until(task, "completed")["result"]["structuredContent"]
    assert acme.call("recount", {"shelf": "a"}, **KEY)["structuredContent"] == result
    assert acme.done() == ["a"]


@pytest.mark.covers("tasks:keyed")
def test_a_keyed_task_that_came_to_nothing_may_be_made_again(acme: Client) -> None:
    first = acme.begin("recount", {"shelf": "a"}, **KEY)
    acme.cancel(first)
    acme.open("recount", "written")
    second = acme.begin("recount", {"shelf": "a"}, **KEY)
    assert second != first
    acme.until(second, "completed")
    assert (acme.get(first)["status"], acme.done()) == ("cancelled", ["a"])


@pytest.mark.covers("tasks:listen")
def test_who_listens_for_a_task_is_sent_each_of_its_states_and_nobody_elses(acme: Client) -> None:
    acme.open("between")
    task = acme.begin("clear", {"shelf": "a"})
    theirs = replace(acme, tenant=next(_tenants)).begin("clear", {"shelf": "g"})
    filters = {"notifications": {"taskIds": [task, theirs, "unknown"], "toolsListChanged": True}}
    meta = {CAPABILITIES: DECLARED}
    connection = acme.processes.send("subscriptions/listen", "", filters, assertion=acme.assertion, **meta)
    with contextlib.closing(connection):
        events = _events(connection.getresponse())
        acknowledged = next(events)
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["notifications"] == {"taskIds": [task]}
        state = next(events)
        while state["params"]["status"] != "input_required":
            state = next(events)
        assert state["method"] == "notifications/tasks"
        assert state["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 1}
        for key in ("input", "input-2"):
            acme.update(task, **{key: {"action": "accept", "content": {"sure": True}}})
            while key == "input" and "input-2" not in state["params"].get("inputRequests", {}):
                state = next(events)
        rest = list(events)
    assert rest[-1]["id"] == 1
    last = rest[-2]["params"]
    assert (last["taskId"], last["status"]) == (task, "completed")
    assert last["result"]["structuredContent"] == {"result": "cleared 1"}


@pytest.mark.covers("tasks:listen")
def test_who_does_not_declare_tasks_cannot_listen_for_one(acme: Client, refused: Any) -> None:
    task = acme.begin("clear", {"shelf": "a"})
    plain = replace(acme, capabilities={})
    with pytest.raises(refused) as answer:
        plain.ask("subscriptions/listen", "", {"notifications": {"taskIds": [task]}})
    assert answer.value.error["code"] == -32021


@pytest.mark.covers("tasks:in-memory")
@pytest.mark.anyio
async def test_without_a_schema_a_task_ends_with_its_process(tmp_path: Any) -> None:
    server = ts.mcp.Server("plain", version="1.0.0")

    @server.tool("plain/double", side_effect="read", task_support="optional")
    async def double(number: int, ctx: ts.mcp.Context) -> int:
        """Double a number."""
        await ctx.progress(1, 2)
        return 2 * number

    takes = TakesTasks()
    async with ts.testing.stack(server, data=tmp_path) as stack:
        takes.meta = {"pro.tause/assertion": stack.acme.assertion}
        async with OfficialClient(server.protocol(stack.service), extensions=[takes]) as client:
            result = await client.call_tool("double", {"number": 21}, meta=takes.meta)
            assert result.structured_content == {"result": 42}
            assert takes.states[-1].status == "completed"
    async with ts.testing.stack(server, data=tmp_path) as stack:
        takes.meta = {"pro.tause/assertion": stack.acme.assertion}
        async with OfficialClient(server.protocol(stack.service), extensions=[takes]) as client:
            with pytest.raises(MCPError) as answer:
                await takes.state(client.session)
    assert (answer.value.code, answer.value.message) == (-32602, "There is no such task")


def _events(reply: Any) -> Iterator[dict[str, Any]]:
    for line in reply:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])
