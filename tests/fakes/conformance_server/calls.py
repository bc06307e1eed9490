"""A tool of the fixture: its definition, and a function of one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.types import LoggingMessageNotification, LoggingMessageNotificationParams

from tausestack.contract import PROTOCOL_VERSION
from tausestack.mcp.tasks import Tasks, capabilities_in, lacking_for

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Surroundings:
    """What every call shares."""

    bus: InMemorySubscriptionBus
    tasks: Tasks


@dataclass(frozen=True)
class Call:
    """One call of a tool, one get of a prompt; `responses` and `state` are what a retry brings."""

    request: ServerRequestContext[Any, Any]
    arguments: dict[str, Any]
    responses: dict[str, dict[str, Any]]
    state: str | None
    around: Surroundings

    @property
    def modern(self) -> bool:
        """Whether the client speaks the version that keeps no sessions."""
        return self.request.protocol_version == PROTOCOL_VERSION

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the client declared of itself."""
        if self.modern:
            return capabilities_in(self.request.params)
        declared = self.request.session.client_capabilities
        return {} if declared is None else declared.model_dump(by_alias=True, exclude_none=True)

    async def log(self, text: str) -> None:
        """Send a log message, where the client takes some."""
        if "info" in allowed_log_levels(self.request.protocol_version, self.request.meta):
            message = LoggingMessageNotificationParams(level="info", data=text, logger="conformance")
            await self.request.session.send_notification(
                LoggingMessageNotification(params=message), related_request_id=self.request.request_id
            )


Function = Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Tool:
    """One tool."""

    definition: dict[str, Any]
    function: Function


class ToolBox:
    """Tools by name."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}

    def tool(self, name: str, schema: dict[str, Any] = EMPTY) -> Callable[[Function], Function]:
        """Make a function a tool, described by its docstring."""

        def add(function: Function) -> Function:
            definition = {"name": name, "description": function.__doc__, "inputSchema": schema}
            self.tools[name] = Tool(definition, function)
            return function

        return add


def text(said: str, *, error: bool = False) -> dict[str, Any]:
    """Return a tool's result that is one text."""
    result: dict[str, Any] = {"resultType": "complete", "content": [{"type": "text", "text": said}]}
    return {**result, "isError": True} if error else result


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's result of several parts."""
    return {"resultType": "complete", "content": list(parts)}


def ask(call: Call, requests: dict[str, dict[str, Any]], state: str | None = None) -> dict[str, Any]:
    """Return a result that asks the client for input, or raise that it can't be asked so."""
    for each in requests.values():
        if (lacking := lacking_for(each, call.capabilities)) is not None:
            raise lacking
    asked: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
    return asked if state is None else {**asked, "requestState": state}


def form(message: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return a request that the user fill in a form, all of it."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sampling(prompt: str, most_tokens: int) -> dict[str, Any]:
    """Return a request for a sample of the client's model."""
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": most_tokens}}


def filled_in(response: dict[str, Any]) -> dict[str, Any]:
    """Return what the user filled in, nothing where they did not."""
    found = response.get("content")
    return found if response.get("action") == "accept" and isinstance(found, dict) else {}
