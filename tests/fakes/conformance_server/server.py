"""The fixture on the SDK's low-level server: both eras on one endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CallToolRequestParams,
    CompleteRequestParams,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    GetPromptRequestParams,
    ListRootsRequest,
    ListRootsResult,
    ReadResourceRequestParams,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from starlette.types import ASGIApp

from conformance_server import contents, jobs, reading, rounds
from conformance_server.calls import Call, Surroundings, text
from conformance_server.events import Events
from tausestack.errors import INVALID_PARAMS
from tausestack.mcp.tasks import Tasks, attach
from tausestack.raw import object_at

NAME = "conformance-fixture"
TOOLS = {**contents.box.tools, **rounds.box.tools, **jobs.box.tools}
RETRY_MS = 100
MOST_ROUNDS = 10

CACHEABLE: tuple[CacheableMethod, ...] = (
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
)

_PUSHED: dict[str, tuple[Any, Any]] = {
    "elicitation/create": (ElicitRequest, ElicitResult),
    "sampling/createMessage": (CreateMessageRequest, CreateMessageResult),
    "roots/list": (ListRootsRequest, ListRootsResult),
}

Context = ServerRequestContext[Any, Any]
Answer = Callable[[Call], Awaitable[dict[str, Any]]]


def build() -> ASGIApp:
    """Return the application: `/mcp`."""
    bus = InMemorySubscriptionBus()
    tasks = Tasks(jobs.Jobs())
    server = _server(Fixture(Surroundings(bus, tasks)))
    attach(server, tasks, lambda _request: jobs.EVERYBODY, ListenHandler(bus))
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)


class Fixture:
    """Answers requests."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    @asynccontextmanager
    async def lifespan(self, _server: Server[Any]) -> AsyncGenerator[dict[str, Any]]:
        """Run the tasks."""
        async with self._around.tasks.running():
            yield {}

    async def list_tools(self, _: Context, __: RequestParams | None) -> Any:
        """Answer `tools/list`."""
        return {"resultType": "complete", "tools": [each.definition for each in TOOLS.values()]}

    async def call_tool(self, request: Context, params: CallToolRequestParams) -> Any:
        """Answer `tools/call`."""
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, "There is no such tool", {"name": params.name})
        call = self._call(request)
        try:
            return await _answered(call, tool.function)
        except MCPError as error:
            if call.modern:
                raise
            return text(error.message, error=True)

    async def list_resources(self, _: Context, __: RequestParams | None) -> Any:
        """Answer `resources/list`."""
        return {"resultType": "complete", "resources": reading.RESOURCES}

    async def list_templates(self, _: Context, __: RequestParams | None) -> Any:
        """Answer `resources/templates/list`."""
        return {"resultType": "complete", "resourceTemplates": reading.TEMPLATES}

    async def read_resource(self, _: Context, params: ReadResourceRequestParams) -> Any:
        """Answer `resources/read`."""
        return reading.read(params.uri)

    async def list_prompts(self, _: Context, __: RequestParams | None) -> Any:
        """Answer `prompts/list`."""
        return {"resultType": "complete", "prompts": reading.PROMPTS}

    async def get_prompt(self, request: Context, params: GetPromptRequestParams) -> Any:
        """Answer `prompts/get`."""

        async def answer(call: Call) -> dict[str, Any]:
            return reading.get_prompt(params.name, call)

        return await _answered(self._call(request), answer)

    async def complete(self, _: Context, params: CompleteRequestParams) -> Any:
        """Answer `completion/complete`."""
        return reading.complete(params.argument.value)

    async def acknowledge(self, _: Context, __: RequestParams) -> dict[str, Any]:
        """Answer what needs nothing done."""
        return {}

    def input_schema(self, name: str) -> dict[str, Any] | None:
        """Return a tool's input schema."""
        return TOOLS[name].definition["inputSchema"] if name in TOOLS else None

    def _call(self, request: Context) -> Call:
        raw = object_at(request.params)
        state = raw.get("requestState")
        return Call(
            request=request,
            arguments=object_at(raw, "arguments"),
            responses=object_at(raw, "inputResponses"),
            state=state if isinstance(state, str) else None,
            around=self._around,
        )


def _server(fixture: Fixture) -> Server[Any]:
    server: Server[Any] = Server(
        NAME,
        version="1.0.0",
        title="Conformance fixture",
        description="Offers all that the conformance suite asks for",
        instructions="Call any tool: nothing here is real.",
        cache_hints=dict.fromkeys(CACHEABLE, CacheHint(ttl_ms=60_000, scope="public")),
        lifespan=fixture.lifespan,
        get_tool_input_schema=fixture.input_schema,
        on_list_tools=fixture.list_tools,
        on_call_tool=fixture.call_tool,
        on_list_resources=fixture.list_resources,
        on_list_resource_templates=fixture.list_templates,
        on_read_resource=fixture.read_resource,
        on_list_prompts=fixture.list_prompts,
        on_get_prompt=fixture.get_prompt,
        on_completion=fixture.complete,
    )
    # What only earlier versions have.
    server.add_request_handler("logging/setLevel", SetLevelRequestParams, fixture.acknowledge)
    server.add_request_handler("resources/subscribe", SubscribeRequestParams, fixture.acknowledge)
    server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, fixture.acknowledge)
    return server


async def _answered(call: Call, answer: Answer) -> dict[str, Any]:
    """Return the answer to a call; a client of an earlier version is asked for input while it waits."""
    for _ in range(MOST_ROUNDS):
        result = await answer(call)
        if call.modern or result["resultType"] != "input_required":
            return result
        responses = {key: await _push(call, request) for key, request in result["inputRequests"].items()}
        call = replace(call, responses=responses, state=result.get("requestState"))
    raise MCPError(INVALID_PARAMS, f"Still not answered after {MOST_ROUNDS} rounds")


async def _push(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a client over its own session and return its answer."""
    kind, result = _PUSHED[request["method"]]
    related = ServerMessageMetadata(related_request_id=call.request.request_id)
    asked = kind.model_validate(request)
    answer = await call.request.session.send_request(asked, result, metadata=related)
    return answer.model_dump(by_alias=True, mode="json", exclude_none=True)
