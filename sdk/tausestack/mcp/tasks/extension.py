"""The tasks extension on a protocol server: its capability, its methods, its notifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as ProtocolServer
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError
from mcp.types import (
    DiscoverResult,
    RequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from tausestack.contract import PROTOCOL_VERSION
from tausestack.errors import INVALID_PARAMS, METHOD_NOT_FOUND
from tausestack.mcp.tasks.engine import Tasks
from tausestack.mcp.tasks.record import Owner, Task
from tausestack.mcp.tasks.shapes import (
    EXTENSION,
    TaskNotification,
    capabilities_in,
    declares_tasks,
    detailed,
    lacking_tasks,
    unknown_task,
    wrong_name,
)
from tausestack.raw import as_array, object_at

Request = ServerRequestContext[Any, Any]
Listen = Callable[[Request, SubscriptionsListenRequestParams], Awaitable[SubscriptionsListenResult]]

_LOOK_SECONDS = 1.5
"""How often a listener's tasks are looked at that run in another process."""
_MAX_LISTENED = 100


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers a task's requests for input."""

    input_responses: dict[str, dict[str, Any]]


def may_answer_with_task(request: Request) -> bool:
    """Return whether a request's client takes a task for an answer."""
    return request.protocol_version == PROTOCOL_VERSION and declares_tasks(capabilities_in(request.params))


def attach(
    server: ProtocolServer[Any], tasks: Tasks, owner: Callable[[Request], Owner], listen: Listen | None = None
) -> None:
    """Serve the tasks extension on a protocol server.

    `owner` tells whose a request is, or raises an `MCPError`. `listen` serves the subscriptions that name no task.
    """

    def admitted(request: Request, task_id: str) -> Owner:
        if request.protocol_version != PROTOCOL_VERSION:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", request.method)
        if request.request is not None and request.request.headers.get("mcp-name") != task_id:
            raise wrong_name()
        if not declares_tasks(capabilities_in(request.params)):
            raise lacking_tasks()
        return owner(request)

    async def get(request: Request, params: TaskParams) -> dict[str, Any]:
        found = await tasks.get(admitted(request, params.task_id), params.task_id)
        return {"resultType": "complete", **detailed(found)}

    async def update(request: Request, params: UpdateParams) -> dict[str, Any]:
        await tasks.update(admitted(request, params.task_id), params.task_id, params.input_responses)
        return {"resultType": "complete"}

    async def cancel(request: Request, params: TaskParams) -> dict[str, Any]:
        await tasks.cancel(admitted(request, params.task_id), params.task_id)
        return {"resultType": "complete"}

    async def subscribe(request: Request, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        named = object_at(request.params, "notifications").get("taskIds")
        if named is None and listen is not None:
            return await listen(request, params)
        return await _listen(request, tasks, owner, _ids(named))

    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", TaskParams, get)
    server.add_request_handler("tasks/update", UpdateParams, update)
    server.add_request_handler("tasks/cancel", TaskParams, cancel)
    server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, subscribe)
    if listen is None:
        _promise_no_changes(server)


async def _listen(
    request: Request, tasks: Tasks, owner: Callable[[Request], Owner], ids: list[str]
) -> SubscriptionsListenResult:
    """Send each state of the caller's tasks, from the present one on, until all have ended."""
    if ids and not declares_tasks(capabilities_in(request.params)):
        raise lacking_tasks()
    whose = owner(request)
    meta = {SUBSCRIPTION_ID_META_KEY: request.request_id}
    pending = {task_id: None for task_id in ids if await _state(tasks, whose, task_id) is not None}
    honored = SubscriptionFilter.model_validate({"taskIds": list(pending)} if pending else {})
    acknowledged = SubscriptionsAcknowledgedNotificationParams.model_validate({"notifications": honored, "_meta": meta})
    await request.session.send_notification(
        SubscriptionsAcknowledgedNotification(params=acknowledged), related_request_id=request.request_id
    )
    sent: dict[str, dict[str, Any]] = {}
    while pending:
        change = tasks.change
        for task_id in list(pending):
            found = await _state(tasks, whose, task_id)
            if found is not None and (state := detailed(found)) != sent.get(task_id):
                sent[task_id] = state
                # The SDK knows only the notifications of the protocol's core.
                notification: Any = TaskNotification(params={"_meta": meta, **state})
                await request.session.send_notification(notification, related_request_id=request.request_id)
            if found is None or found.ending is not None:
                del pending[task_id]
        if pending:
            with anyio.move_on_after(_LOOK_SECONDS):
                await change.wait()
    return SubscriptionsListenResult.model_validate({"_meta": meta})


async def _state(tasks: Tasks, owner: Owner, task_id: str) -> Task | None:
    try:
        return await tasks.get(owner, task_id)
    except MCPError as error:
        if error.code != unknown_task().code:
            raise
        return None


def _ids(named: Any) -> list[str]:
    found = as_array(named if named is not None else [])
    if found is None or len(found) > _MAX_LISTENED or not all(isinstance(each, str) for each in found):
        raise MCPError(INVALID_PARAMS, f"taskIds must be an array of at most {_MAX_LISTENED} strings")
    return list(dict.fromkeys(found))


def _promise_no_changes(server: ProtocolServer[Any]) -> None:
    """Say in discovery that no list changes: whoever serves `subscriptions/listen` is taken to promise that."""
    entry = server.get_request_handler("server/discover")
    assert entry is not None

    async def discover(request: Request, params: RequestParams) -> Any:
        found = await entry.handler(request, params)
        assert isinstance(found, DiscoverResult)
        for kind in (found.capabilities.tools, found.capabilities.prompts, found.capabilities.resources):
            if kind is not None:
                kind.list_changed = False
        if found.capabilities.resources is not None:
            found.capabilities.resources.subscribe = False
        return found

    server.add_request_handler("server/discover", RequestParams, discover)
