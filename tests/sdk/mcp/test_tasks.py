"""Calls that are answered with a task: run, asked, answered, cancelled, and gone on with by the next process."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXTENSION = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DECLARED: dict[str, Any] = {"extensions": {EXTENSION: {}}, "elicitation": {}}
KEY = {"pro.tause/idempotency-key": "k1"}
ENDED = {"completed", "failed", "cancelled"}
DEADLINE_SECONDS = 30.0


@dataclass
class Client:
    """A client that takes tasks."""

    processes: Any
    assertion: str
    capabilities: dict[str, Any]
    path: Path | None = None

    def ask(self, method: str, name: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """Return a request's result, or raise `Refused`."""
        meta = {CAPABILITIES: self.capabilities, **meta}
        connection = self.processes.send(method, name, params, assertion=self.assertion, path=self.path, **meta)
        with contextlib.closing(connection):
            return self.processes.reply(connection)

    def call(self, tool: str, arguments: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """Call a tool and return its raw result."""
        return self.ask("tools/call", tool, {"name": tool, "arguments": arguments}, **meta)

    def begin(self, tool: str, arguments: dict[str, Any], **meta: Any) -> str:
        """Call a tool and return the id of the task that answers it."""
        answer = self.call(tool, arguments, **meta)
        assert (answer["resultType"], answer["status"]) == ("task", "working")
        return answer["taskId"]

    def get(self, task: str) -> dict[str, Any]:
        """Return a task's state."""
        return self.ask("tasks/get", task, {"taskId": task})

    def update(self, task: str, **responses: Any) -> None:
        """Answer a task's requests for input."""
        self.ask("tasks/update", task, {"taskId": task, "inputResponses": responses})

    def cancel(self, task: str) -> None:
        """Cancel a task."""
        self.ask("tasks/cancel", task, {"taskId": task})

    def until(self, task: str, *statuses: str, deadline: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Return a task's state once its status is one of these."""
        end = time.monotonic() + deadline
        while (state := self.get(task))["status"] not in statuses:
            assert time.monotonic() < end, state
            assert state["status"] not in ENDED, state
            time.sleep(0.02)  # the poll of a condition with a deadline
        return state


@pytest.fixture
def acme(job_processes: Any) -> Client:
    """A client of a tenant."""
    return Client(job_processes, job_processes.assertion(), DECLARED)


def _open(processes: Any, *gates: str) -> None:
    for gate in gates:
        (processes.data / f"{gate}.open").touch()


def _reached(processes: Any, gate: str, times: int = 1) -> None:
    path = processes.data / f"{gate}.reached"
    processes.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= times)


@pytest.mark.covers("tasks:answered")
def test_a_long_call_is_answered_with_a_task_that_tells_how_far_it_is_and_what_it_ended_with(
    job_processes: Any, acme: Client
) -> None:
    job_processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"})
    _reached(job_processes, "recount")
    state = acme.get(task)
    assert (state["taskId"], state["resultType"], state["status"]) == (task, "complete", "working")
    assert state["statusMessage"] == "counting a"
    assert {"ttlMs", "pollIntervalMs", "createdAt", "lastUpdatedAt"} <= state.keys()
    assert not {"result", "error", "inputRequests", "requestState"} & state.keys()
    _open(job_processes, "recount", "written")
    ended = acme.until(task, "completed")
    assert ended["result"]["structuredContent"] == {"shelf": "a", "count": 1}


@pytest.mark.covers("tasks:answered")
def test_only_a_client_that_declares_the_extension_is_answered_with_a_task(
    job_processes: Any, acme: Client, refused: Any
) -> None:
    job_processes.over_socket()
    _open(job_processes, "recount", "written")
    plain = Client(job_processes, job_processes.assertion(), {})
    assert plain.call("recount", {"shelf": "a"})["structuredContent"] == {"shelf": "a", "count": 1}
    assert acme.call("done", {})["structuredContent"] == {"result": ["a"]}
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
def test_discovery_tells_of_tasks_and_promises_no_changes_of_lists(
    job_processes: Any, acme: Client, processes: Any
) -> None:
    job_processes.over_socket()
    found = acme.ask("server/discover", "", {})["capabilities"]
    assert found["extensions"] == {EXTENSION: {}}
    assert found["tools"] == {"listChanged": False}
    processes.over_socket()
    plain = Client(processes, processes.assertion(audience="notes"), DECLARED)
    assert "extensions" not in plain.ask("server/discover", "", {})["capabilities"]


@pytest.mark.covers("tasks:errors")
def test_a_tools_failure_completes_a_task_and_an_error_of_the_protocol_fails_it(
    job_processes: Any, acme: Client, refused: Any
) -> None:
    job_processes.over_socket()
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
    job_processes: Any, acme: Client
) -> None:
    job_processes.over_socket()
    _open(job_processes, "between")
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
    job_processes: Any, acme: Client
) -> None:
    job_processes.over_socket()
    mute = Client(job_processes, acme.assertion, {"extensions": {EXTENSION: {}}})
    failed = mute.until(mute.begin("clear", {"shelf": "a"}), "failed")
    assert failed["error"]["code"] == -32021
    assert failed["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}
    broken = acme.until(acme.begin("write_and_ask", {}), "completed")
    assert broken["result"]["isError"] is True
    assert acme.call("done", {})["structuredContent"] == {"result": []}


@pytest.mark.covers("tasks:cancel")
def test_a_cancelled_task_stops_where_it_is_and_leaves_nothing(job_processes: Any, acme: Client) -> None:
    job_processes.over_socket()
    _open(job_processes, "recount")
    writing = acme.begin("recount", {"shelf": "a"})
    _reached(job_processes, "written")
    acme.cancel(writing)
    assert acme.get(writing)["status"] == "cancelled"
    waiting = acme.begin("clear", {"shelf": "a"})
    acme.until(waiting, "input_required")
    acme.cancel(waiting)
    assert acme.get(waiting)["status"] == "cancelled"
    acme.cancel(waiting)
    assert acme.call("done", {})["structuredContent"] == {"result": []}


@pytest.mark.covers("tasks:owner")
def test_the_task_of_another_tenant_or_principal_is_exactly_an_unknown_one(
    job_processes: Any, acme: Client, refused: Any
) -> None:
    job_processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"})
    answers: list[tuple[int, Any]] = []
    for client, named in (
        (acme, "no-such-task"),
        (Client(job_processes, job_processes.assertion("globex"), DECLARED), task),
        (Client(job_processes, job_processes.assertion(name="colleague"), DECLARED), task),
        (Client(job_processes, job_processes.assertion(agent="concierge", run="r1"), DECLARED), task),
    ):
        for act in (client.get, client.update, client.cancel):
            with pytest.raises(refused) as answer:
                act(named)
            answers.append((answer.value.status, answer.value.error))
    assert all(each == answers[0] for each in answers)
    assert answers[0][1]["code"] == -32602
    assert acme.get(task)["status"] == "working"


@pytest.mark.covers("tasks:headers")
def test_a_request_whose_header_names_another_task_is_refused(job_processes: Any, acme: Client, refused: Any) -> None:
    job_processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"})
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        with pytest.raises(refused) as answer:
            acme.ask(method, "another", {"taskId": task, "inputResponses": {}})
        assert (answer.value.status, answer.value.error["code"]) == (400, -32020)


@pytest.mark.covers("tasks:keyed")
def test_the_same_keyed_call_is_the_same_task_and_then_its_result(
    job_processes: Any, acme: Client, refused: Any
) -> None:
    job_processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"}, **KEY)
    assert acme.begin("recount", {"shelf": "a"}, **KEY) == task
    with pytest.raises(refused) as answer:
        acme.call("recount", {"shelf": "b"}, **KEY)
    assert answer.value.error["data"]["code"] == "idempotency_key_reused"
    _open(job_processes, "recount", "written")
    result = acme.until(task, "completed")["result"]["structuredContent"]
    assert acme.call("recount", {"shelf": "a"}, **KEY)["structuredContent"] == result
    assert acme.call("done", {})["structuredContent"] == {"result": ["a"]}


@pytest.mark.covers("tasks:durable")
def test_a_task_whose_process_is_killed_is_gone_on_with_by_the_next_and_writes_once(
    job_processes: Any, acme: Client
) -> None:
    process = job_processes.over_socket()
    globex = Client(job_processes, job_processes.assertion("globex"), DECLARED)
    ours, theirs = acme.begin("recount", {"shelf": "a"}), globex.begin("recount", {"shelf": "g"})
    _open(job_processes, "recount")
    _reached(job_processes, "written", 2)
    process.kill()
    process.wait()
    process = job_processes.over_socket()
    # Nobody asks: the next process finds them by itself.
    _reached(job_processes, "written", 4)
    process.kill()
    process.wait()
    _open(job_processes, "written")
    job_processes.over_socket()
    for client, task, shelf in ((acme, ours, "a"), (globex, theirs, "g")):
        assert client.until(task, "completed")["result"]["structuredContent"] == {"shelf": shelf, "count": 1}
        assert client.call("done", {})["structuredContent"] == {"result": [shelf]}


@pytest.mark.covers("tasks:durable")
def test_a_result_outlives_its_process(job_processes: Any, acme: Client) -> None:
    process = job_processes.over_socket()
    _open(job_processes, "recount", "written")
    task = acme.begin("recount", {"shelf": "a"})
    ended = acme.until(task, "completed")
    process.kill()
    process.wait()
    job_processes.over_socket()
    assert acme.get(task) == ended


@pytest.mark.covers("tasks:durable")
def test_an_answer_outlives_the_process_that_it_was_given_to(job_processes: Any, acme: Client) -> None:
    process = job_processes.over_socket()
    task = acme.begin("clear", {"shelf": "a"})
    acme.until(task, "input_required")
    acme.update(task, input={"action": "accept", "content": {"sure": True}})
    _reached(job_processes, "between")
    process.kill()
    process.wait()
    job_processes.over_socket()
    _reached(job_processes, "between", 2)
    _open(job_processes, "between")
    assert list(acme.until(task, "input_required")["inputRequests"]) == ["input-2"]


@pytest.mark.covers("tasks:in-doubt")
def test_a_task_that_nobody_may_repeat_ends_in_doubt_when_its_process_died(job_processes: Any, acme: Client) -> None:
    process = job_processes.over_socket()
    task = acme.begin("charge", {"amount": 7})
    _reached(job_processes, "charge")
    process.kill()
    process.wait()
    _open(job_processes, "charge")
    job_processes.over_socket()
    failed = acme.until(task, "failed")
    assert failed["error"]["data"]["code"] == "in_doubt"
    assert "may or may not" in failed["statusMessage"]
    assert (job_processes.data / "charge.reached").read_text() == "acme\n"


@pytest.mark.covers("tasks:durable")
def test_a_process_that_is_told_to_stop_leaves_its_tasks_to_the_next_at_once(job_processes: Any, acme: Client) -> None:
    process = job_processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"})
    _reached(job_processes, "recount")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    _open(job_processes, "recount", "written")
    job_processes.over_socket()
    assert acme.until(task, "completed", deadline=4)["result"]["structuredContent"] == {"shelf": "a", "count": 1}


@pytest.mark.covers("tasks:several-processes")
def test_processes_that_share_a_database_answer_for_each_other_and_take_over_from_the_dead(
    job_processes: Any, acme: Client, postgres_url: str
) -> None:
    shared = {"TAUSESTACK_DATABASE_URL": postgres_url}
    first = job_processes.over_socket(**shared)
    other = job_processes.data / "other.sock"
    job_processes.over_socket(other, **shared)
    there = Client(job_processes, acme.assertion, DECLARED, other)
    asked, counted, stopped = (
        acme.begin("clear", {"shelf": "a"}),
        acme.begin("recount", {"shelf": "b"}),
        acme.begin("recount", {"shelf": "c"}),
    )
    _open(job_processes, "between")
    there.until(asked, "input_required")
    there.update(asked, input={"action": "accept", "content": {"sure": True}})
    job_processes.wait_for(lambda: "input-2" in there.get(asked).get("inputRequests", {}))
    there.cancel(stopped)
    assert acme.until(stopped, "cancelled")
    assert there.get(counted)["status"] == "working"
    first.kill()
    first.wait()
    _open(job_processes, "recount", "written")
    assert there.until(counted, "completed")["result"]["structuredContent"] == {"shelf": "b", "count": 1}


@pytest.mark.covers("tasks:bounded")
def test_a_tenant_has_only_so_many_tasks_and_its_neighbour_has_its_own(
    job_processes: Any, acme: Client, refused: Any
) -> None:
    job_processes.over_socket(JOBS_RUNNING="2")
    first, _second = acme.begin("recount", {"shelf": "a"}), acme.begin("recount", {"shelf": "b"})
    with pytest.raises(refused) as answer:
        acme.call("recount", {"shelf": "c"})
    assert answer.value.error["data"]["code"] == "rate_limited"
    Client(job_processes, job_processes.assertion("globex"), DECLARED).begin("recount", {"shelf": "g"})
    acme.cancel(first)
    acme.begin("recount", {"shelf": "c"})


@pytest.mark.covers("tasks:time-to-live")
def test_a_task_is_unknown_and_stopped_when_its_time_is_over(job_processes: Any, acme: Client, refused: Any) -> None:
    job_processes.over_socket(JOBS_RUNNING="1", JOBS_TTL_MS="1000")
    task = acme.begin("recount", {"shelf": "a"})

    def over() -> bool:
        try:
            acme.get(task)
        except refused as answer:
            return answer.error["code"] == -32602
        return False

    job_processes.wait_for(over)
    # It takes up no room any more, and did not write.
    _open(job_processes, "recount", "written")
    again = acme.begin("recount", {"shelf": "b"})
    assert acme.until(again, "completed")["result"]["structuredContent"]["count"] == 1
    assert acme.call("done", {})["structuredContent"] == {"result": ["b"]}


@pytest.mark.covers("tasks:listen")
def test_who_listens_for_a_task_is_sent_each_of_its_states_and_nobody_elses(job_processes: Any, acme: Client) -> None:
    job_processes.over_socket()
    _open(job_processes, "between")
    task = acme.begin("clear", {"shelf": "a"})
    theirs = Client(job_processes, job_processes.assertion("globex"), DECLARED).begin("clear", {"shelf": "g"})
    filters = {"notifications": {"taskIds": [task, theirs, "unknown"], "toolsListChanged": True}}
    meta = {CAPABILITIES: DECLARED}
    connection = job_processes.send("subscriptions/listen", "", filters, assertion=acme.assertion, **meta)
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
def test_who_does_not_declare_tasks_cannot_listen_for_one(job_processes: Any, acme: Client, refused: Any) -> None:
    job_processes.over_socket()
    task = acme.begin("clear", {"shelf": "a"})
    plain = Client(job_processes, acme.assertion, {})
    with pytest.raises(refused) as answer:
        plain.ask("subscriptions/listen", "", {"notifications": {"taskIds": [task]}})
    assert answer.value.error["code"] == -32021


def _events(reply: Any) -> Any:
    for line in reply:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])
