"""Clients that take tasks: one of raw requests, and an extension of the official one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp import ClientSession
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.types import CallToolResult, Request, RequestParams, Result

EXTENSION = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DECLARED: dict[str, Any] = {"extensions": {EXTENSION: {}}, "elicitation": {}}
ENDED = {"completed", "failed", "cancelled"}
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Client:
    """A client that takes tasks."""

    processes: Any
    tenant: str
    principal: tuple[tuple[str, str], ...] = ()
    capabilities: Any = None
    path: Path | None = None

    def but(self, **principal: str) -> Client:
        """Return a client of another principal of the tenant."""
        return replace(self, principal=tuple(principal.items()))

    @property
    def plain(self) -> Client:
        """The same principal, with a client that takes no tasks."""
        return replace(self, capabilities={})

    @property
    def assertion(self) -> str:
        """What the gateway would say of the caller."""
        return self.processes.assertion(self.tenant, **dict(self.principal))

    def open(self, *gates: str) -> None:
        """Let the tenant's jobs pass these gates."""
        for gate in gates:
            (self.processes.data / f"{self.tenant}-{gate}.open").touch()

    def reached(self, gate: str, times: int = 1) -> None:
        """Return once so many of the tenant's jobs have come to a gate."""
        path = self.processes.data / f"{self.tenant}-{gate}.reached"
        self.processes.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= times)

    def done(self) -> list[str]:
        """Return what was done for the tenant."""
        return self.call("done", {})["structuredContent"]["result"]

    def ask(self, method: str, name: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """Return a request's result, or raise `Refused`."""
        meta = {CAPABILITIES: DECLARED if self.capabilities is None else self.capabilities, **meta}
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


class Created(Result):
    """A task in answer to a call."""

    result_type: Literal["task"] = "task"
    task_id: str
    poll_interval_ms: int = 1000


class Named(RequestParams):
    """Names a task."""

    task_id: str


class GetTask(Request[Named, Literal["tasks/get"]]):
    """Asks after a task."""

    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class State(Result):
    """A task's state."""

    status: str
    status_message: str | None = None
    result: dict[str, Any] | None = None


class TakesTasks(ClientExtension):
    """Has the official client take a task for an answer, and wait for its result."""

    identifier = EXTENSION

    def __init__(self) -> None:
        self.meta: Any = None
        """What each request after a task bears in its `_meta`."""
        self.task = ""
        """The latest task."""
        self.states: list[State] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """Claim the answers that are tasks."""
        return [ResultClaim(result_type="task", model=Created, resolve=self._wait)]

    async def state(self, session: ClientSession) -> State:
        """Return the latest task's state."""
        return await session.send_request(GetTask(params=Named(task_id=self.task, _meta=self.meta)), State)

    async def _wait(self, created: Created, context: ClaimContext) -> CallToolResult:
        self.task = created.task_id
        with anyio.fail_after(DEADLINE_SECONDS):
            while True:
                state = await self.state(context.session)
                self.states.append(state)
                if state.result is not None:
                    return CallToolResult.model_validate(state.result)
                assert state.status not in ENDED, state
                await anyio.sleep(0.05)  # the poll of a condition with a deadline
