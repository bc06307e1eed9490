"""A tool's definition, made from a Python function: its schemas, its policy, its call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, get_type_hints

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from tausestack.contract import META_TOOL, ToolPolicy
from tausestack.errors import InvalidArguments
from tausestack.mcp.context import Context
from tausestack.names import is_tool
from tausestack.raw import as_array, as_object

Function = Callable[..., Any]


class ToolDefinition:
    """One tool: what lists show of it, and how it is called."""

    def __init__(
        self, function: Function, *, name: str, policy: ToolPolicy, title: str | None, description: str | None
    ) -> None:
        if not is_tool(name):
            raise ValueError(f"'{name}' can't be a tool's name: 1 to 128 of A-Z, a-z, 0-9, '_', '.' and '-'")
        self.name = name
        self.policy = policy
        self._function = function
        self._title = title
        self._description = description or inspect.getdoc(function) or ""
        hints = get_type_hints(function, include_extras=True)
        self._returns = hints.pop("return", Any)
        self._context_parameter = next((key for key, hint in hints.items() if hint is Context), None)
        self._parameters = self._read_parameters(hints)

    def _read_parameters(self, hints: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        found: dict[str, tuple[Any, Any]] = {}
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.name == self._context_parameter:
                continue
            if parameter.name == "tenant_id":
                raise ValueError(
                    f"{self.name}: the tenant comes from the credential (ctx.tenant), never as an argument"
                )
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise ValueError(f"{self.name}: a tool's parameters are named; '{parameter}' is not")
            default = ... if parameter.default is parameter.empty else parameter.default
            found[parameter.name] = (hints.get(parameter.name, Any), default)
        return found

    @cached_property
    def _arguments(self) -> type[BaseModel]:
        """The arguments as a model whose fields can't clash with a model's own names."""
        fields: dict[str, Any] = {}
        for name, (hint, default) in self._parameters.items():
            fields[f"argument_{name}"] = (hint, Field(default, alias=name))
        return create_model(f"{self.name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)

    @cached_property
    def _result(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._returns)

    @cached_property
    def _wraps(self) -> bool:
        """Whether the result is no object, and stands under `result` in one."""
        return self._result_schema().get("type") != "object"

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The raw tool object, as it stands in `tools/list`."""
        reads = self.policy.side_effect == "read"
        shown: dict[str, Any] = {"name": self.name}
        if self._title:
            shown["title"] = self._title
        shown["description"] = self._description
        schema = _untitled(self._arguments.model_json_schema(by_alias=True))
        shown["inputSchema"] = {**schema, "type": "object", "properties": schema.get("properties", {})}
        shown["inputSchema"].pop("description", None)
        if self._returns not in {Any, None, type(None)}:
            result = self._result_schema()
            defs = {"$defs": result.pop("$defs")} if self._wraps and "$defs" in result else {}
            wrapped = {"type": "object", "properties": {"result": result}, "required": ["result"], **defs}
            shown["outputSchema"] = wrapped if self._wraps else result
        shown["annotations"] = {
            "readOnlyHint": reads,
            "destructiveHint": False,
            "idempotentHint": reads or self.policy.idempotent,
            "openWorldHint": self.policy.side_effect == "external",
        }
        shown["_meta"] = {META_TOOL: self.policy.model_dump()}
        return shown

    def parse(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the function's keyword arguments, or raise `InvalidArguments` saying where and why."""
        try:
            model = self._arguments.model_validate(arguments)
        except ValidationError as error:
            wrong = [
                {"path": "/".join(str(part) for part in one["loc"]), "message": one["msg"]}
                for one in error.errors(include_url=False, include_input=False, include_context=False)
            ]
            first = wrong[0]
            message = f"Wrong arguments for {self.name} at {first['path'] or 'the top'}: {first['message']}"
            raise InvalidArguments(message, errors=wrong) from error
        return {name: getattr(model, f"argument_{name}") for name in self._parameters}

    async def run(self, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """Call the function and return its structured result; one that is not asynchronous runs in a thread."""
        if self._context_parameter is not None:
            arguments = {**arguments, self._context_parameter: context}
        if inspect.iscoroutinefunction(self._function):
            returned = await self._function(**arguments)
        else:
            returned = await anyio.to_thread.run_sync(partial(self._function, **arguments))
        shaped: Any = self._result.dump_python(returned, mode="json", by_alias=True)
        if self._returns in {None, type(None)}:
            return {}
        found = as_object(shaped)
        return {"result": shaped} if self._wraps or found is None else found

    def _result_schema(self) -> dict[str, Any]:
        return _untitled(self._result.json_schema(mode="serialization", by_alias=True, schema_generator=_Schemas))


class _Schemas(GenerateJsonSchema):
    """JSON Schema 2020-12 with the definition of a result at the root, so that its type can be seen there."""

    def generate(self, schema: Any, mode: Any = "validation") -> dict[str, Any]:
        made = super().generate(schema, mode)
        reference = made.get("$ref")
        if not isinstance(reference, str):
            return made
        definitions: dict[str, Any] = made["$defs"]
        name = reference.rsplit("/", 1)[1]
        root = dict(definitions[name])
        if _refers(root, reference):
            return {**made, "type": root.get("type")}
        rest = {other: value for other, value in definitions.items() if other != name}
        return {**root, **({"$defs": rest} if rest else {})}


def _refers(node: Any, reference: str) -> bool:
    fields, items = as_object(node), as_array(node)
    if fields is not None:
        return fields.get("$ref") == reference or any(_refers(value, reference) for value in fields.values())
    return items is not None and any(_refers(item, reference) for item in items)


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the titles that pydantic makes up; a property named title stays."""
    return {
        name: _untitled_value(name, value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }


def _untitled_value(name: str, value: Any) -> Any:
    fields, items = as_object(value), as_array(value)
    if fields is not None and name in {"properties", "$defs"}:
        return {key: _untitled(as_object(one) or {}) if isinstance(one, dict) else one for key, one in fields.items()}
    if fields is not None and name not in {"default", "const", "examples", "enum"}:
        return _untitled(fields)
    if items is not None and name in {"anyOf", "oneOf", "allOf", "prefixItems"}:
        return [_untitled(as_object(item) or {}) for item in items]
    return value


def tool_name(server: str, address: str | None, function: Function) -> str:
    """Return the name of a tool on its own server, from `server/tool` or the function's name."""
    if address is None:
        return function.__name__
    owner, slash, name = address.partition("/")
    if not slash:
        return address
    if owner != server:
        raise ValueError(f"'{address}' is not a tool of {server}")
    return name


def policy_of(
    side_effect: Any, *, idempotent: bool, keyed: bool, scopes: Sequence[str], approval: Any, price: str
) -> ToolPolicy:
    """Return a tool's policy; only writes are keyed."""
    return ToolPolicy(
        side_effect=side_effect,
        idempotent=idempotent,
        keyed=keyed and side_effect != "read",
        scopes=list(scopes),
        approval=approval,
        price=price,
    )
