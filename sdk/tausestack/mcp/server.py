"""A server: its tools, its bindings, and the ways to serve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as ProtocolServer
from mcp.types import PaginatedRequestParams
from starlette.types import ASGIApp
from typing_extensions import Unpack

from tausestack.mcp.bindings import LOOPBACK, Binding, Handler, ServiceApp
from tausestack.mcp.calls import Calls
from tausestack.mcp.environment import ServiceEnv
from tausestack.mcp.long_calls import LongCalls
from tausestack.mcp.resealing import add_resealing
from tausestack.mcp.service import Lifespan, Service
from tausestack.mcp.tasks import TaskLimits, Tasks, attach
from tausestack.mcp.tenant_work import Keeper
from tausestack.mcp.tools import Function, Tool, ToolOptions, declaration_of, declared_for, make_tool
from tausestack.names import check_server

if TYPE_CHECKING:
    from tausestack.database import Schema

HandlerFunction = TypeVar("HandlerFunction", bound=Handler)

_DEFINITIONS_MS = 60_000
"""How long a client may keep the definitions: they change only with the process."""


class Server:
    """A server written with the kit.

    `schema` gives each tenant a database of this server's; `lifespan` is entered once a process, and what it yields
    is every call's `ctx.state`. A tool with `task_support` may answer with a task, which outlives the process where
    there is a schema (its migrations call `create_tasks()`), and ends with it where there is none.
    """

    def __init__(
        self, name: str, *, version: str, title: str = "", description: str = "", instructions: str | None = None,
        schema: Schema | None = None, lifespan: Lifespan | None = None, task_limits: TaskLimits | None = None,
    ) -> None:  # fmt: skip
        self.name = check_server(name)
        self.version = version
        self.title = title
        self.description = description
        self.instructions = instructions
        self.schema = schema
        self.lifespan = lifespan
        self.task_limits = task_limits
        self._tools: dict[str, Tool] = {}
        self._bindings: list[Binding] = []
        self._keepers: list[Keeper] = []
        self._mounts: dict[str, Callable[[Service], ASGIApp]] = {}
        if schema is not None and schema.sealed:
            add_resealing(self)

    @classmethod
    def from_tools(cls, name: str, *, version: str = "1.0.0", **rest: Any) -> Server:
        """Return a server of every function declared so far by `@ts.mcp.tool("{name}/…")`."""
        server = cls(name, version=version, **rest)
        for declared in declared_for(name):
            server.include(declared.function)
        if not server._tools:
            raise ValueError(f"nothing is declared by @ts.mcp.tool('{name}/…')")
        return server

    def tool(self, address: str | None = None, **options: Unpack[ToolOptions]) -> Callable[[Function], Function]:
        """Make a function a tool, named by `address` (`server/tool`), else by its own name.

        Its parameters become the input schema, its docstring the description, its result the output schema; a
        parameter of type `Context` is bound and hidden.
        """

        def add(function: Function) -> Function:
            self._add(make_tool(self.name, address, function, options, has_schema=self.schema is not None))
            return function

        return add

    def tools(self, prefix: str, **options: Unpack[ToolOptions]) -> Callable[[Function], Function]:
        """Make a function every tool whose name begins so; `ctx.tool` is the name that was called.

        Which of them a tenant has is the registry's to know, by `registry/offer`: they are in no list of this server's.
        """

        def add(function: Function) -> Function:
            self._tools[f"{prefix}*"] = make_tool(
                self.name, prefix, function, options, has_schema=self.schema is not None
            )
            return function

        return add

    def include(self, function: Callable[..., Any]) -> None:
        """Serve a function that `@ts.mcp.tool(…)` declared."""
        declared = declaration_of(function)
        self._add(
            make_tool(
                self.name, declared.address, declared.function, declared.options, has_schema=self.schema is not None
            )
        )

    def http(
        self, path: str, *, methods: Sequence[str] = ("GET",), scopes: Sequence[str] = ()
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Serve what MCP can't carry under `/http/{path}`, behind the same assertion."""

        def add(handler: HandlerFunction) -> HandlerFunction:
            self._bindings.append(Binding(path.lstrip("/"), tuple(methods), tuple(scopes), handler))
            return handler

        return add

    def keep(self, keeper: Keeper) -> None:
        """Have what this server keeps of tenants beside its schema's tables end, and go, with the tenant."""
        self._keepers.append(keeper)

    def mount(self, prefix: str, app: Callable[[Service], ASGIApp]) -> None:
        """Serve an ASGI application under a path prefix, made for the running service; it authenticates by itself."""
        if not prefix.startswith("/") or prefix.rstrip("/") in {"", "/mcp", "/http", "/health", "/tenant"}:
            raise ValueError(f"nothing can be mounted at '{prefix}'")
        self._mounts[prefix.rstrip("/")] = app

    def definitions(self) -> list[dict[str, Any]]:
        """Return the raw tool objects, sorted by name."""
        return [self._tools[name].definition for name in sorted(self._tools) if not name.endswith("*")]

    def protocol(self, service: Service) -> ProtocolServer[Any]:
        """Return the protocol's server that answers for a running service."""
        calls = Calls(service, self._tools)
        # Raw results: the models drop what they don't know.
        answer_call: Any = calls.handle
        definitions = self.definitions()
        hint = CacheHint(ttl_ms=_DEFINITIONS_MS, scope="public")

        async def list_tools(_: ServerRequestContext[Any, Any], __: PaginatedRequestParams | None) -> Any:
            return {"resultType": "complete", "tools": definitions}

        def input_schema(name: str) -> dict[str, Any] | None:
            tool = self._tools.get(name)
            return None if tool is None else tool.definition["inputSchema"]

        protocol: ProtocolServer[Any] = ProtocolServer(
            self.name,
            version=self.version,
            title=self.title or None,
            description=self.description or None,
            instructions=self.instructions,
            cache_hints={"tools/list": hint, "server/discover": hint},
            get_tool_input_schema=input_schema,
            on_list_tools=list_tools,
            on_call_tool=answer_call,
        )
        if service.tasks is not None:
            attach(protocol, service.tasks, calls.owner)
        return protocol

    def asgi(
        self, env: ServiceEnv, *, allowed_hosts: Sequence[str] | None = LOOPBACK, service: Service | None = None
    ) -> ASGIApp:
        """Return the ASGI application: `POST /mcp`, `/http/…`, what is mounted, `GET /health`.

        It takes requests for `allowed_hosts` (None: any, for Unix sockets) once its lifespan runs.
        """
        running = service or self.service(env)
        return ServiceApp(
            running, self.protocol(running), self.lifespan, self._bindings, self._keepers, self._mounts, allowed_hosts
        )

    def service(self, env: ServiceEnv) -> Service:
        """Return the service that this server is in a process's surroundings."""
        service = Service(self.name, env, self.schema)
        if any(tool.task_support != "forbidden" for tool in self._tools.values()):
            work = LongCalls(Calls(service, self._tools), self._tools)
            service.tasks = Tasks(work, self.task_limits, service.databases, awake=env.socket)
        return service

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Serve from the command line: over stdio, with `--port` over HTTP, with `--socket` over a Unix socket."""
        # What serving needs is not what declaring needs.
        from tausestack.mcp.serving import main

        main(self, argv)

    def _add(self, tool: Tool) -> None:
        if tool.name in self._tools:
            raise ValueError(f"{self.name} has a tool {tool.name} already")
        self._tools[tool.name] = tool
