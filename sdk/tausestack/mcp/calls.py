"""A tool call, from the protocol's request to its result."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolRequestParams
from starlette.requests import Request

from tausestack.contract import META_APPROVAL, META_ASSERTION, META_CALL, META_ERROR, META_KEY, META_LIMITS, Principal
from tausestack.errors import (
    Forbidden,
    InternalError,
    InvalidArguments,
    KeyReused,
    TauseError,
    Unauthenticated,
    to_jsonrpc,
)
from tausestack.mcp.assertions import bearer
from tausestack.mcp.context import Ask, Context, Report
from tausestack.mcp.incoming import Incoming, owner_of
from tausestack.mcp.schemas import text_of
from tausestack.mcp.service import Service
from tausestack.mcp.tasks import Owner, Tasks, capabilities_in, created, lacking_tasks, may_answer_with_task
from tausestack.mcp.tools import Tool, find_tool
from tausestack.mcp.writing import Writing
from tausestack.raw import as_object, object_at
from tausestack.scopes import OWN, missing
from tausestack.tracing import Tracing

EXCHANGE = "tausestack.exchange"
"""In an ASGI scope: what a call tells the door that it came by; `status` is the reply's, where it is not the usual."""

_REFUSALS = (Unauthenticated, InvalidArguments, KeyReused)
"""What is wrong with the call itself: an error of the protocol, not a tool's failure."""


def require_own(principal: Principal, scopes: list[str]) -> None:
    """Raise `Forbidden` where a scope of the stack's own is declared and not held; the gateway sees to the others."""
    lacking = missing(principal.limits, [scope for scope in scopes if scope in OWN])
    if lacking is not None:
        raise Forbidden(f"This credential lacks the scope {lacking}", scope=lacking)


class Calls:
    """Runs the tools of a service."""

    def __init__(self, service: Service, tools: Mapping[str, Tool]) -> None:
        self._service = service
        self._tools = tools

    def owner(self, request: ServerRequestContext[Any, Any]) -> Owner:
        """Return whose tasks a request is about, or raise the `MCPError` that refuses it."""
        return owner_of(self._caller(request)[0])

    async def handle(self, request: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> dict[str, Any]:
        """Answer a `tools/call` request."""
        meta = object_at(request.params, "_meta")
        principal, assertion = self._caller(request)
        try:
            tool = find_tool(self._tools, params.name)
            require_own(principal, tool.policy.scopes)
        except TauseError as error:
            _refuse(error, request.request)
        incoming = Incoming(
            principal=principal,
            assertion=assertion or "",
            call_id=str(meta.get(META_CALL) or secrets.token_hex(8)),
            key=_text(meta.get(META_KEY)),
            approval=_text(meta.get(META_APPROVAL)),
            capabilities=capabilities_in(request.params),
            limits=_limits(meta),
            traceparent=_text(meta.get("traceparent")),
        )
        arguments = params.arguments or {}
        if self._service.tasks is not None and tool.task_support != "forbidden":
            if may_answer_with_task(request):
                return await self._begin(self._service.tasks, tool, arguments, incoming)
            if tool.task_support == "required":
                raise lacking_tasks()
        follows = meta.get("progressToken") is not None
        return await self.result(tool, arguments, incoming, request.session.report_progress if follows else None)

    async def result(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        incoming: Incoming,
        report: Report | None,
        ask: Ask | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Run a call and return its result; what is wrong with the call itself is raised as an `MCPError`."""
        context = self._context(tool, arguments, incoming, report, ask, given_up)
        try:
            with context.logged(), self._service.work.of(context.tenant):
                if self._service.tracing is not None:
                    return await self._traced(self._service.tracing, tool, arguments, context, incoming.traceparent)
                return await self._result(tool, arguments, context)
        except TauseError as error:
            _refuse(error, None)

    async def _traced(
        self, tracing: Tracing, tool: Tool, arguments: dict[str, Any], context: Context, parent: str | None
    ) -> dict[str, Any]:
        """Run a call within its span, to which the calls that it makes belong too."""
        with tracing.span(f"tools/call {tool.name}", "server", parent) as span:
            who = context.principal
            span.set(
                mcp_method_name="tools/call",
                gen__ai_operation_name="execute_tool",
                gen__ai_tool_name=tool.name,
                tausestack_tenant=context.tenant,
                tausestack_call=context.call_id,
                tausestack_run=who.run,
            )
            context.traceparent = tracing.carrier().get("traceparent")
            result = await self._result(tool, arguments, context)
            if result.get("isError"):
                span.fail("tool_error")
            return result

    async def _begin(self, tasks: Tasks, tool: Tool, arguments: dict[str, Any], incoming: Incoming) -> dict[str, Any]:
        """Answer a call with a task, or with its result where the same keyed call was done before."""
        context = self._context(tool, arguments, incoming, None, None)
        try:
            tool.bind(arguments, context)
            if context.writing is not None and await context.writing.done_before():
                return _complete(tool, _replayed(context.writing))
            owner = incoming.owner
            digest = await self._service.digests.of(owner.tenant, owner.principal, arguments)
            task = await tasks.create(
                owner,
                tool.name,
                {"arguments": arguments, "incoming": incoming.kept()},
                key=incoming.key,
                digest=digest,
                local=incoming.assertion,
            )
        except TauseError as error:
            _refuse(error, None)
        return created(task)

    def _caller(self, request: ServerRequestContext[Any, Any]) -> tuple[Principal, str | None]:
        assertion = _assertion(request.request, object_at(request.params, "_meta"))
        try:
            return self._service.principal(assertion), assertion
        except TauseError as error:
            _refuse(error, request.request)

    def _context(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        incoming: Incoming,
        report: Report | None,
        ask: Ask | None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Context:
        return Context(
            service=self._service,
            principal=incoming.principal,
            assertion=incoming.assertion,
            call_id=incoming.call_id,
            tool=tool.name,
            reads=tool.policy.side_effect == "read",
            idempotency_key=incoming.key,
            approval=incoming.approval,
            limits=incoming.limits,
            writing=self._writing(tool, incoming.principal, incoming.key, arguments),
            report=report,
            ask=ask,
            given_up=given_up,
        )

    async def _result(self, tool: Tool, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        try:
            structured = await run(tool, arguments, context)
        except _REFUSALS as error:
            _refuse(error, None)
        except TauseError as error:
            return _failure(error.message, {META_ERROR: to_jsonrpc(error)["data"]})
        except MCPError:
            raise
        except Exception:
            context.logger.exception("tool raised")
            internal = InternalError(f"internal error, call {context.call_id}", call=context.call_id)
            return _failure(internal.message, {META_ERROR: to_jsonrpc(internal)["data"]})
        return _complete(tool, structured)

    def _writing(self, tool: Tool, principal: Principal, key: str | None, arguments: dict[str, Any]) -> Writing | None:
        if self._service.databases is None or tool.policy.side_effect == "read":
            return None
        kept, tenant, digests = key if tool.remembers else None, principal.tenant, self._service.digests
        return Writing(
            self._service.databases, tenant, tool.name, kept, lambda: digests.of(tenant, principal.id, arguments)
        )


async def run(tool: Tool, arguments: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run a tool and return its structured result, that of the first call where this one was done before."""
    call = tool.bind(arguments, context)
    writing = context.writing
    if writing is None:
        return tool.result.structured(await tool.run(call))
    try:
        if await writing.done_before():
            return _replayed(writing)
        structured = tool.result.structured(await tool.run(call))
        await writing.commit(structured)
    except BaseException as error:
        # It may come wrapped in the group of a tool's own tasks.
        if writing.replay is not None and not isinstance(error, KeyboardInterrupt) and not _is_cancellation(error):
            return _replayed(writing)
        raise
    else:
        return structured
    finally:
        await writing.aclose()


def _replayed(writing: Writing) -> dict[str, Any]:
    """Return the result of the earlier call."""
    assert writing.replay is not None
    return writing.replay


def _is_cancellation(error: BaseException) -> bool:
    return isinstance(error, anyio.get_cancelled_exc_class())


def _assertion(request: Request | None, meta: dict[str, Any]) -> str | None:
    return bearer(request.headers) if request is not None else _text(meta.get(META_ASSERTION))


def _limits(meta: dict[str, Any]) -> dict[str, int]:
    told = as_object(meta.get(META_LIMITS)) or {}
    return {name: amount for name, amount in told.items() if isinstance(amount, int)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _complete(tool: Tool, structured: dict[str, Any]) -> dict[str, Any]:
    text = text_of(structured, wrapped=tool.result.wrapped)
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], "structuredContent": structured}


def _failure(text: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": True, "_meta": meta}


def _refuse(error: TauseError, request: Request | None) -> NoReturn:
    if request is not None and isinstance(error, Unauthenticated):
        exchange = request.scope.get(EXCHANGE)
        if exchange is not None:
            exchange["status"] = error.status
    said = to_jsonrpc(error)
    raise MCPError(said["code"], said["message"], said["data"]) from error
