"""A function's signature as JSON Schema 2020-12, its arguments from JSON, its result to JSON."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from tausestack.errors import InvalidArguments
from tausestack.raw import as_object, object_at

_PREFIX = "arg_"
"""Keeps parameters named like pydantic's own attributes (`copy`, `schema`) apart from them."""

_MAX_ERRORS = 10


class _Untitled(GenerateJsonSchema):
    """Schemas without the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@dataclass(frozen=True)
class ArgumentShape:
    """What a tool takes."""

    schema: dict[str, Any]
    model: type[BaseModel]
    names: tuple[str, ...]

    def bind(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the function's keyword arguments, or raise `InvalidArguments` saying what is wrong where."""
        try:
            bound = self.model.model_validate(dict(arguments), by_alias=True, by_name=False)
        except ValidationError as error:
            raise _invalid(tool, error) from None
        return {name: getattr(bound, _PREFIX + name) for name in self.names}


@dataclass(frozen=True)
class ResultShape:
    """What a tool returns; what is no JSON object is wrapped as `{"result": …}`."""

    schema: dict[str, Any] | None
    adapter: TypeAdapter[Any]
    wrapped: bool

    def structured(self, value: Any) -> dict[str, Any]:
        """Return a result as a JSON object."""
        dumped = self.adapter.dump_python(value, mode="json", by_alias=True)
        found = None if self.wrapped else as_object(dumped)
        return {"result": dumped} if found is None else found


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations, evaluated, with what `Annotated` adds to them."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ValueError(
            f"{function.__qualname__}: the annotation '{error.name}' must be importable from its module"
        ) from error


def argument_shape(name: str, parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> ArgumentShape:
    """Return the shape of a function's parameters; `hints` are their evaluated annotations."""
    fields: dict[str, Any] = {}
    for each, parameter in parameters.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise ValueError(f"{name}: a tool takes named parameters, not '{parameter}'")
        annotation = Annotated[_readable(hints.get(each, Any)), Field(alias=each)]
        fields[_PREFIX + each] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    schema = model.model_json_schema(by_alias=True, schema_generator=_Untitled)
    schema.pop("title", None)
    return ArgumentShape({"type": "object", "properties": {}, **schema}, model, tuple(parameters))


def result_shape(annotation: Any) -> ResultShape:
    """Return the shape of a function's result; what is not annotated has no schema."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return ResultShape(None, TypeAdapter(Any), wrapped=False)
    adapter: TypeAdapter[Any] = TypeAdapter(_readable(annotation))
    schema = adapter.json_schema(mode="serialization", by_alias=True, schema_generator=_Untitled)
    definitions = object_at(schema.pop("$defs", None))
    if _resolved(schema, definitions).get("type") == "object":
        schema.pop("title", None)
        shape: dict[str, Any] = {"type": "object", **schema}
        wrapped = False
    else:
        shape = {"type": "object", "properties": {"result": schema}, "required": ["result"]}
        wrapped = True
    return ResultShape({**shape, **({"$defs": definitions} if definitions else {})}, adapter, wrapped)


def text_of(structured: Mapping[str, Any], *, wrapped: bool) -> str:
    """Return a structured result as text, for clients that read no structure."""
    value = structured["result"] if wrapped else structured
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _resolved(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return definitions[str(reference).removeprefix("#/$defs/")] if reference else schema


def _readable(annotation: Any) -> Any:
    """Return an annotation that pydantic can read: before Python 3.12 it knows only typing_extensions' TypedDict."""
    if isinstance(annotation, type) and type(annotation).__module__ == "typing" and typing.is_typeddict(annotation):
        return _typed_dict(annotation)
    origin: Any = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    read = tuple(_readable(each) for each in arguments)
    if read == arguments or origin is typing.Literal:
        return annotation
    generic: Any = typing.Union if origin is types.UnionType else origin
    return generic[read]


def _typed_dict(annotation: Any) -> Any:
    fields: dict[str, Any] = {
        name: _readable(hint) for name, hint in typing.get_type_hints(annotation, include_extras=True).items()
    }
    for name in fields.keys() & annotation.__optional_keys__:
        fields[name] = typing_extensions.NotRequired[fields[name]]
    make: Any = typing_extensions.TypedDict
    return make(annotation.__name__, fields)


def _invalid(tool: str, error: ValidationError) -> InvalidArguments:
    found = [
        {"path": "/".join(str(part) for part in each["loc"]), "message": each["msg"]}
        for each in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
    ]
    first = found[0]
    where = f" at {first['path']}" if first["path"] else ""
    return InvalidArguments(f"Wrong arguments for {tool}{where}: {first['message']}", errors=found)
