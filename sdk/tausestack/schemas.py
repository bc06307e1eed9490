"""Validators of JSON Schemas that others wrote: bounded before they are compiled, and nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeGuard

import jsonschema_rs

from tausestack.errors import UpstreamError
from tausestack.raw import as_array, as_object, object_at

MAX_NODES = 5000
"""How many values a schema may have; compiling that many takes a few milliseconds."""

MAX_PATTERNS = 64
MAX_PATTERN_TEXT = 16 * 1024
MAX_PATTERN_BYTES = 1 << 20
"""How large a pattern's program may be, which a few characters can make as large as they like."""

MANY_VALUES = 200
"""Up to how many values everything that is wrong with them is told: each fault takes 30 µs to put into words."""

MOST_VALUES = 1000
"""Up to how many values a fault among them is told at all."""


class Wrong(Protocol):
    """What a validator finds wrong at one place; `kind` says of what sort, and of `anyOf` what each choice found."""

    message: str
    instance_path: list[str | int]
    kind: Any


class Validator(Protocol):
    """A compiled schema."""

    def is_valid(self, instance: Any) -> bool:
        """Return whether a value fits."""
        ...

    def validate(self, instance: Any) -> None:
        """Raise what is wrong with a value first, as an exception that is a `Wrong`."""
        ...

    def iter_errors(self, instance: Any) -> Iterator[Wrong]:
        """Yield what is wrong with a value."""
        ...


def compiled(schema: dict[str, Any]) -> Validator:
    """Return a schema's validator, whose patterns run in linear time.

    Raises `UpstreamError` saying why it can't be used: too large, no schema at all, or a part of it elsewhere.
    """
    patterns: list[str] = []
    for nodes, node in enumerate(_walk(schema), start=1):
        one = object_at(node)
        patterns += filter(_is_text, (one.get("pattern"), *object_at(one, "patternProperties")))
        if nodes > MAX_NODES:
            raise UpstreamError(f"The schema is too large: {MAX_NODES} values are the most")
    if len(patterns) > MAX_PATTERNS or sum(map(len, patterns)) > MAX_PATTERN_TEXT:
        raise UpstreamError(f"The schema has too much in patterns: {MAX_PATTERNS} of them are the most")
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            retriever=_refuse_to_fetch,
            mask="the value",  # never what was given: it may be a secret, and whoever gave it knows it
            pattern_options=jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise UpstreamError(f"The schema can't be used: {str(error)[:200]}") from error


@dataclass
class _Somewhere:
    """What is wrong with a value that has too many parts to say where."""

    message: str = f"something among its more than {MOST_VALUES} values does not fit the tool's inputSchema"
    instance_path: list[str | int] = field(default_factory=list[str | int])
    kind: Any = None


def faults(validator: Validator, value: Any, most: int) -> list[Wrong]:
    """Return what is wrong with a value, plainly: nothing where it fits, up to `most` faults where it is small.

    The validator puts every fault into words before it gives the first, and each quotes what it is about: with many
    values that takes seconds, in which nobody else is served.
    """
    if validator.is_valid(value):
        return []
    values = sum(1 for _ in islice(_walk(value), MOST_VALUES + 1))
    if values <= MANY_VALUES:
        return list(islice(plainly(validator.iter_errors(value)), most))
    if values > MOST_VALUES:
        return [_Somewhere()]
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return list(plainly([error]))[:1]
    return []


def plainly(wrong: Iterable[Wrong]) -> Iterator[Wrong]:
    """Yield what is wrong, where nothing of `anyOf` or `oneOf` fits by what is wrong with the choice that was meant.

    That is the only one but null, or the only one that is of the value's type.
    """
    for each in wrong:
        choices: list[list[Wrong]] = getattr(each.kind, "context", None) or []
        meant = [choice for choice in choices if not _of_no_type(choice, each)] if len(choices) > 2 else []
        if not meant:
            meant = [choice for choice in choices if not _not_null(choice)]
        yield from plainly(meant[0]) if len(meant) == 1 and meant[0] else (each,)


def _of_no_type(choice: Sequence[Wrong], at: Wrong) -> bool:
    return any(each.kind.name == "type" and each.instance_path == at.instance_path for each in choice)


def _not_null(choice: Sequence[Wrong]) -> bool:
    return len(choice) == 1 and choice[0].kind.name == "type" and choice[0].message.endswith('"null"')


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"schemas may not refer to the network: {uri}")


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)


def _walk(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        node = stack.pop()
        yield node
        below = as_object(node)
        stack += below.values() if below is not None else as_array(node) or []
