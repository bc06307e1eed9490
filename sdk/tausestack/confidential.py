"""Arguments that a tool's schema marks as secrets (`writeOnly`, or `format: password`), and what stands for them.

Where a call has to be kept, while a person is asked or in an agent's journal, each such value is sealed in its place;
where it is shown, words stand there that say no more than that there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from tausestack.raw import as_array, as_object, object_at, objects_in

SEALED = "tausestack-sealed:"
"""What the text begins with that stands for a value; the gateway alone opens it."""
SHOWN = "(a secret, not shown)"
"""What is shown in a value's place. Given back there, it is the value that was."""

SECRET: dict[str, Any] = {"writeOnly": True}
"""What a schema marks a secret by: `Field(json_schema_extra=SECRET)` in the kit."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONES = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_PLACES = ("anyOf", "oneOf", "allOf")
_SCALARS = (str, int, float)

Schema = Mapping[str, Any]


def has_secrets(schema: Schema) -> bool:
    """Return whether a schema marks anything as a secret."""
    return any(_is_secret(node) for node in _all(schema))


def is_sealed(value: Any) -> TypeGuard[str]:
    """Return whether a value stands for a secret."""
    return isinstance(value, str) and value.startswith(SEALED)


def replaced(schema: Schema, value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a value in which each secret is changed; below a place that is marked, each text and number is one."""
    return _replaced([schema], value, change, schema)


def open_secrets(schema: Schema, value: Any) -> bool:
    """Return whether there is a secret that nothing stands for yet."""
    found: list[Any] = []
    replaced(schema, value, lambda each: found.append(each))
    return any(not is_sealed(each) and each != SHOWN for each in found)


def each_text(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a value in which each text is changed, wherever it stands."""
    if isinstance(value, str):
        return change(value)
    below, row = as_object(value), as_array(value)
    if below is not None:
        return {name: each_text(one, change) for name, one in below.items()}
    return value if row is None else [each_text(one, change) for one in row]


def shown(value: Any) -> Any:
    """Return a value as people and models may see it: for what is sealed there stand the words that say so."""
    return each_text(value, lambda text: SHOWN if is_sealed(text) else text)


def restored(edited: Any, original: Any) -> Any:
    """Return what somebody made of a value that was shown to them, with the secrets that they left as they were."""
    if edited == SHOWN and original is not None:
        return original
    below, row = as_object(edited), as_array(edited)
    if below is not None:
        before = as_object(original) or {}
        return {name: restored(one, before.get(name)) for name, one in below.items()}
    if row is None:
        return edited
    earlier = as_array(original) or []
    return [restored(one, earlier[at] if at < len(earlier) else None) for at, one in enumerate(row)]


def _replaced(schemas: Sequence[Schema], value: Any, change: Callable[[Any], Any], root: Schema) -> Any:
    nodes = list(_meant(schemas, root))
    if any(map(_is_secret, nodes)):
        return _leaves(value, change)
    below, row = as_object(value), as_array(value)
    if below is not None:
        return {name: _replaced(_at(nodes, name), one, change, root) for name, one in below.items()}
    if row is not None:
        return [_replaced(_item(nodes, at), one, change, root) for at, one in enumerate(row)]
    return value


def _leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    below, row = as_object(value), as_array(value)
    if below is not None:
        return {name: _leaves(one, change) for name, one in below.items()}
    if row is not None:
        return [_leaves(one, change) for one in row]
    return change(value) if isinstance(value, _SCALARS) and not isinstance(value, bool) else value


def _meant(schemas: Sequence[Schema], root: Schema) -> Iterator[Schema]:
    """Yield the schemas that hold of one place: those given, those that they refer to, and each alternative."""
    waiting, seen = list(schemas), set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        for name in _PLACES:
            waiting += objects_in(node.get(name))
        waiting += objects_in([node.get(name) for name in ("if", "then", "else")])
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            found = root if reference == "#" else object_at(root, *reference[2:].split("/"))
            waiting += [found] if found else []


def _at(nodes: Sequence[Schema], name: str) -> list[Schema]:
    found = [object_at(node, "properties", name) for node in nodes]
    found += [each for node in nodes for each in objects_in(list(object_at(node, "patternProperties").values()))]
    return [*found, *(object_at(node, "additionalProperties") for node in nodes)]


def _item(nodes: Sequence[Schema], at: int) -> list[Schema]:
    first = [objects_in(node.get("prefixItems"))[at : at + 1] for node in nodes]
    return [*(each for one in first for each in one), *(object_at(node, "items") for node in nodes)]


def _is_secret(node: Schema) -> bool:
    return node.get("writeOnly") is True or node.get("format") == "password"


def _all(schema: Schema) -> Iterator[Schema]:
    waiting: list[Any] = [schema]
    while waiting:
        node = as_object(waiting.pop())
        if node is None:
            continue
        yield node
        waiting += [each for name in _MAPS for each in object_at(node, name).values()]
        waiting += [each for name in _LISTS for each in as_array(node.get(name)) or []]
        waiting += [node.get(name) for name in _ONES]
