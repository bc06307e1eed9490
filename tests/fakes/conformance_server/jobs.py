"""Tools that run long: answered with a task, by the kit's own tasks on the SDK's own server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError

from conformance_server.calls import Call, ToolBox, ask, filled_in, form, text
from tausestack.errors import INTERNAL_ERROR
from tausestack.mcp.tasks import Owner, Run, Task, created, lacking_for, lacking_tasks, may_answer_with_task

EVERYBODY = Owner("fixture", "everybody")
FAIL_SECONDS = 1.0
CONFIRM = {"confirm": {"type": "boolean"}}
COMPUTATION: dict[str, Any] = {
    "type": "object",
    "properties": {"seconds": {"type": "number", "minimum": 0}, "label": {"type": "string"}},
}

Job = Callable[[dict[str, Any], Run], Awaitable[dict[str, Any]]]

box = ToolBox()


async def _compute(arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    seconds = float(arguments.get("seconds", 0))
    run.report(f"computing for {seconds:g} s")
    await anyio.sleep(seconds)
    return text(f"{arguments.get('label', 'computed')}: done after {seconds:g} s")


async def _fail(_arguments: dict[str, Any], _run: Run) -> dict[str, Any]:
    await anyio.sleep(FAIL_SECONDS)
    return text("This job fails, always", error=True)


async def _break(_arguments: dict[str, Any], _run: Run) -> dict[str, Any]:
    raise MCPError(INTERNAL_ERROR, "This job breaks, always")


async def _delete(arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    name = arguments.get("filename", "a file")
    answer = await run.ask("confirm", form(f"Delete {name}?", **CONFIRM))
    return text(f"{name}: {'deleted' if filled_in(answer).get('confirm') else 'kept'}")


async def _ask_twice(_arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    answers: dict[str, dict[str, Any]] = {}

    async def asked(name: str) -> None:
        answers[name] = filled_in(await run.ask(name, form(f"Your {name} name?", name={"type": "string"}, **CONFIRM)))

    async with anyio.create_task_group() as group:
        group.start_soon(asked, "first")
        group.start_soon(asked, "last")
    return text(f"Hello, {answers['first'].get('name')} {answers['last'].get('name')}!")


async def _welcome(arguments: dict[str, Any], _run: Run) -> dict[str, Any]:
    return text(f"Welcome, {arguments['name']}!")


JOBS: dict[str, Job] = {
    "slow_compute": _compute,
    "failing_job": _fail,
    "protocol_error_job": _break,
    "confirm_delete": _delete,
    "multi_input": _ask_twice,
    "test_tool_with_task": _welcome,
}


class Jobs:
    """The work of the fixture's tasks."""

    def repeatable(self, task: Task) -> bool:
        """Return whether a job that broke off may be begun anew: none is kept for that long."""
        return task.tool in JOBS

    async def run(self, task: Task, run: Run) -> dict[str, Any]:
        """Do a job."""
        return await JOBS[task.tool](task.call, run)


@box.tool(
    "slow_compute",
    {"type": "object", "properties": {"seconds": {"type": "number", "minimum": 0}, "label": {"type": "string"}}},
)
async def slow_compute(call: Call) -> dict[str, Any]:
    """Takes so many seconds; as a task where the client takes one."""
    if may_answer_with_task(call.request):
        return await _begun(call, "slow_compute", call.arguments)
    await anyio.sleep(float(call.arguments.get("seconds", 0)))
    return text(f"{call.arguments.get('label', 'computed')}: done at once")


@box.tool("failing_job")
async def failing_job(call: Call) -> dict[str, Any]:
    """Fails after a second, as a task and in no other way."""
    return await _begun(call, "failing_job", call.arguments)


@box.tool("protocol_error_job")
async def protocol_error_job(call: Call) -> dict[str, Any]:
    """Ends with an error of the protocol, as a task and in no other way."""
    return await _begun(call, "protocol_error_job", call.arguments)


@box.tool("confirm_delete", {"type": "object", "properties": {"filename": {"type": "string"}}})
async def confirm_delete(call: Call) -> dict[str, Any]:
    """Asks before it deletes: as a task, or while the call is under way."""
    if may_answer_with_task(call.request):
        return await _begun(call, "confirm_delete", call.arguments, form("Delete?", **CONFIRM))
    name = call.arguments.get("filename", "a file")
    if "confirm" not in call.responses:
        return ask(call, {"confirm": form(f"Delete {name}?", **CONFIRM)})
    return text(f"{name}: {'deleted' if filled_in(call.responses['confirm']).get('confirm') else 'kept'}")


@box.tool("multi_input")
async def multi_input(call: Call) -> dict[str, Any]:
    """Asks two things at once, as a task and in no other way."""
    return await _begun(call, "multi_input", call.arguments, form("Your name?", **CONFIRM))


@box.tool("test_tool_with_task")
async def tool_with_task(call: Call) -> dict[str, Any]:
    """Asks the user's name first, then welcomes them in a task."""
    if not may_answer_with_task(call.request):
        raise lacking_tasks()
    if "user_name" not in call.responses:
        return ask(call, {"user_name": form("What is your name?", name={"type": "string"})}, "asked")
    name = filled_in(call.responses["user_name"]).get("name", "stranger")
    return await _begun(call, "test_tool_with_task", {"name": name})


async def _begun(
    call: Call, job: str, arguments: dict[str, Any], will_ask: dict[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Answer a call with a task, or refuse a client that takes none or can't be asked what the job will ask."""
    if not may_answer_with_task(call.request):
        raise lacking_tasks()
    lacking = None if will_ask is None else lacking_for(will_ask, call.capabilities)
    if lacking is not None:
        raise lacking
    return created(await call.around.tasks.create(EVERYBODY, job, arguments))
