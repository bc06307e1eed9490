"""Tasks on the wire: the extension's name, its objects, its errors (SEP-2663)."""

from __future__ import annotations

from typing import Any, Literal

from mcp.shared.exceptions import MCPError
from mcp.types import Notification

from tausestack.contract import MCP_CAPABILITIES_META
from tausestack.errors import HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, NotFound, to_jsonrpc
from tausestack.mcp.tasks.record import Task
from tausestack.raw import given, object_at

EXTENSION = "io.modelcontextprotocol/tasks"

_NEEDED = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""The capability that a client must have declared to be asked so."""


class TaskNotification(Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """A task's state, pushed to whoever listens for it."""

    method: Literal["notifications/tasks"] = "notifications/tasks"


def capabilities_in(params: Any) -> dict[str, Any]:
    """Return what the client declared of itself in a request's raw parameters."""
    return object_at(params, "_meta", MCP_CAPABILITIES_META)


def declares_tasks(capabilities: dict[str, Any]) -> bool:
    """Return whether a client that declared this may be answered with a task."""
    return isinstance(object_at(capabilities, "extensions").get(EXTENSION), dict)


def created(task: Task) -> dict[str, Any]:
    """Return the result that answers a call with a task."""
    return {"resultType": "task", **_summary(task)}


def detailed(task: Task) -> dict[str, Any]:
    """Return a task with what belongs to its status: requests for input, the result or the error."""
    status = task.status
    return {
        **_summary(task),
        **given(
            {
                "inputRequests": task.outstanding if status == "input_required" else None,
                "result": task.result if status == "completed" else None,
                "error": task.error if status == "failed" else None,
            }
        ),
    }


def lacking_tasks() -> MCPError:
    """Return the refusal of a client that does not declare the extension."""
    return _lacking("the tasks extension", {"extensions": {EXTENSION: {}}})


def lacking_for(request: dict[str, Any], capabilities: dict[str, Any]) -> MCPError | None:
    """Return the refusal of a request for input that the client can't take, None where it can."""
    needed = _NEEDED.get(str(request.get("method")))
    if needed is None:
        raise ValueError(f"a client can't be asked '{request.get('method')}': use one of {', '.join(sorted(_NEEDED))}")
    return None if isinstance(capabilities.get(needed), dict) else _lacking(needed, {needed: {}})


def unknown_task() -> MCPError:
    """Return the one answer for a task that is not there, is another's, or is over."""
    said = to_jsonrpc(NotFound("There is no such task"))
    return MCPError(said["code"], said["message"], said["data"])


def wrong_name() -> MCPError:
    """Return the refusal of a request whose `Mcp-Name` is not its task's id."""
    return MCPError(HEADER_MISMATCH, "mcp-name header does not match the request body's 'taskId' parameter")


def _summary(task: Task) -> dict[str, Any]:
    shape: dict[str, Any] = {"taskId": task.id, "status": task.status}
    if task.message is not None:
        shape["statusMessage"] = task.message
    return {
        **shape,
        "createdAt": task.created_at,
        "lastUpdatedAt": task.updated_at,
        "ttlMs": task.ttl_ms,
        "pollIntervalMs": task.poll_ms,
    }


def _lacking(what: str, capabilities: dict[str, Any]) -> MCPError:
    text = f"This needs a client that declares {what}"
    return MCPError(MISSING_CLIENT_CAPABILITY, text, {"requiredCapabilities": capabilities})
