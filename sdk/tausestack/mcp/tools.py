"""A tool: a plain function, its definition, and what the gateway needs to know of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, TypedDict, TypeVar

import anyio.to_thread
from typing_extensions import Unpack

from tausestack.confidential import has_secrets
from tausestack.contract import META_TOOL, Approval, SideEffect, ToolPolicy
from tausestack.errors import NotFound
from tausestack.mcp.context import Context
from tausestack.mcp.schemas import ArgumentShape, ResultShape, argument_shape, hints_of, result_shape
from tausestack.names import is_tool, parse_address

Function = TypeVar("Function", bound=Callable[..., Any])

TaskSupport = Literal["forbidden", "optional", "required"]
"""Whether a call may be answered with a task: never; where the client takes one; or only so."""

_EARLIER_PARAMETERS = ["tenant_id", "params"]
_MARK = "__tausestack_tool__"


class ToolOptions(TypedDict, total=False):
    """What a tool's decorator takes beside its address."""

    title: str | None
    description: str | None
    side_effect: SideEffect
    idempotent: bool
    keyed: bool | None
    scopes: Sequence[str]
    approval: Approval
    price: str
    task_support: TaskSupport


@dataclass(frozen=True)
class Declared:
    """A function that was decorated apart from any server."""

    address: str
    function: Callable[..., Any]
    options: ToolOptions


_declared: dict[str, Declared] = {}


def tool(address: str, **options: Unpack[ToolOptions]) -> Callable[[Function], Function]:
    """Declare a function to be the tool `server/tool`, for `Server.from_tools` and `Server.include` to serve.

    The earlier form `(tenant_id: str, params: dict) -> dict` is taken too: the tenant is bound from the credential.
    """
    parse_address(address)

    def declare(function: Function) -> Function:
        declared = Declared(address, function, options)
        _declared[address] = declared
        setattr(function, _MARK, declared)
        return function

    return declare


def declared_for(server: str) -> list[Declared]:
    """Return the functions declared for a server, by address."""
    return [each for address, each in sorted(_declared.items()) if parse_address(address).server == server]


def declaration_of(function: Callable[..., Any]) -> Declared:
    """Return how a function was declared, or raise `ValueError`."""
    declared = getattr(function, _MARK, None)
    if not isinstance(declared, Declared):
        raise ValueError(f"{function.__qualname__} is no tool: it lacks @ts.mcp.tool('server/tool')")
    return declared


@dataclass(frozen=True)
class Tool:
    """One tool of a server."""

    name: str
    function: Callable[..., Any]
    title: str | None
    description: str
    policy: ToolPolicy
    remembers: bool
    """Whether the result of a call that bears a key is kept with it."""
    arguments: ArgumentShape | None
    """None: the earlier form, which takes any object."""
    result: ResultShape
    context: str | None
    """The parameter that takes the `Context`."""
    task_support: TaskSupport = "forbidden"

    @cached_property
    def definition(self) -> dict[str, Any]:
        """The raw tool object."""
        reads = self.policy.side_effect == "read"
        shape: dict[str, Any] = {"name": self.name}
        if self.title:
            shape["title"] = self.title
        shape["description"] = self.description
        shape["inputSchema"] = {"type": "object"} if self.arguments is None else self.arguments.schema
        if self.result.schema is not None:
            shape["outputSchema"] = self.result.schema
        shape["annotations"] = {
            "readOnlyHint": reads,
            "idempotentHint": reads or self.policy.idempotent,
            "openWorldHint": self.policy.side_effect == "external",
        }
        if self.task_support != "forbidden":
            shape["execution"] = {"taskSupport": self.task_support}
        shape["_meta"] = {META_TOOL: self.policy.model_dump(mode="json")}
        return shape

    def bind(self, arguments: Mapping[str, Any], context: Context) -> Callable[[], Any]:
        """Return the call that is asked for, or raise `InvalidArguments`."""
        if self.arguments is None:
            return partial(self.function, context.tenant, dict(arguments))
        bound = self.arguments.bind(self.name, arguments)
        if self.context is not None:
            bound[self.context] = context
        return partial(self.function, **bound)

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run a bound call and return what the function returns; a plain function runs in a worker thread."""
        if inspect.iscoroutinefunction(self.function):
            return await call()
        return await anyio.to_thread.run_sync(call)


def make_tool(
    server: str, address: str | None, function: Callable[..., Any], options: ToolOptions, *, has_schema: bool
) -> Tool:
    """Return the tool that a function is; raise `ValueError` where it can't be one."""
    name = _name(server, address, function)
    side_effect = options.get("side_effect", "write")
    remembers = _remembers(options, side_effect, has_schema=has_schema)
    policy = ToolPolicy(
        side_effect=side_effect,
        idempotent=options.get("idempotent", False),
        # The world outside does not commit with the key: only what the tenant's database holds is safe to repeat.
        keyed=remembers and side_effect == "write",
        scopes=list(options.get("scopes", ())),
        price=options.get("price", "standard"),
        approval=options.get("approval", "never"),
    )
    hints = hints_of(function)
    parameters = dict(inspect.signature(function).parameters)
    context: str | None = None
    arguments: ArgumentShape | None = None
    if list(parameters) != _EARLIER_PARAMETERS:
        context = next((each for each in parameters if hints.get(each) is Context), None)
        taken = {each: parameter for each, parameter in parameters.items() if each != context}
        if "tenant_id" in taken:
            raise ValueError(f"{name}: no tool takes tenant_id: the tenant comes from the credential, as ctx.tenant")
        arguments = argument_shape(name, taken, hints)
    task_support = options.get("task_support", "forbidden")
    if task_support != "forbidden" and arguments is not None and has_secrets(arguments.schema):
        raise ValueError(f"{name}: the arguments of a task are kept with it, so that none of them may be a secret")
    return Tool(
        name=name,
        function=function,
        title=options.get("title"),
        description=options.get("description") or inspect.getdoc(function) or name.replace("_", " "),
        policy=policy,
        remembers=remembers,
        arguments=arguments,
        result=result_shape(hints.get("return", inspect.Parameter.empty)),
        context=context,
        task_support=task_support,
    )


def find_tool(tools: Mapping[str, Tool], name: str) -> Tool:
    """Return a tool by name, or raise `NotFound`."""
    found = tools.get(name) if "*" not in name else None
    if found is not None:
        return found
    family = next((key for key in tools if key.endswith("*") and name.startswith(key[:-1])), None)
    if family is None or not is_tool(name):
        raise NotFound(f"There is no tool '{name[:128]}'")
    return replace(tools[family], name=name)


def _name(server: str, address: str | None, function: Callable[..., Any]) -> str:
    if address is None:
        name = function.__name__
    elif "/" not in address:
        name = address
    else:
        parsed = parse_address(address)
        if parsed.server != server:
            raise ValueError(f"{address} is no tool of the server {server}")
        name = parsed.tool
    if not is_tool(name):
        raise ValueError(f"'{name}' can't be a tool's name: 1 to 128 of A-Z, a-z, 0-9, '_', '-' and '.'")
    return name


def _remembers(options: ToolOptions, side_effect: SideEffect, *, has_schema: bool) -> bool:
    asked = options.get("keyed")
    if asked and not has_schema:
        raise ValueError("a keyed tool needs a server with a schema: the key is kept with the effect")
    return side_effect != "read" and (has_schema if asked is None else asked)
