"""Reading JSON Schemas of tools: references, unions with null, and the words that say what a property is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

from tausestack.errors import UpstreamError
from tausestack.schemas import compiled
from tausestack_agents.planner.text import concepts, fold, words

Schema = dict[str, Any]
Fits = Callable[[str], bool]
ALL_TYPES = frozenset({"object", "array", "string", "number", "boolean"})
"""What JSON has beside null."""


@lru_cache(maxsize=512)
def matcher(pattern: str) -> Fits | None:
    """Return what tells whether a text fits a schema's pattern, in linear time; None for one that is not read here.

    Whoever wrote a tool's schema is a stranger: Python's own matching can take for ever.
    """
    try:
        validator = compiled({"type": "string", "pattern": pattern})
    except UpstreamError:
        return None
    return lambda text: next(iter(validator.iter_errors(text)), None) is None


def as_schema(value: Any) -> Schema:
    """Return a schema object; anything else becomes the schema that takes everything."""
    return cast("Schema", value) if isinstance(value, dict) else {}


def resolved(schema: Schema, root: Schema) -> Schema:
    """Return a schema with its local reference followed, and of a union the first that is not null.

    One of all types that there are says nothing, and becomes what says nothing.
    """
    for _ in range(8):
        if isinstance(schema.get("$ref"), str):
            target: Any = root
            for step in str(schema["$ref"]).lstrip("#/").split("/"):
                target = as_schema(target).get(step)
            schema = {**as_schema(target), **{key: value for key, value in schema.items() if key != "$ref"}}
            continue
        options = [as_schema(option) for key in ("anyOf", "oneOf") for option in schema.get(key, [])]
        options += (
            [as_schema(option) for option in schema.get("allOf", [])] if len(schema.get("allOf", [])) == 1 else []
        )
        real = [option for option in options if option.get("type") != "null"]
        if not real:
            return schema
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf", "allOf"}}
        if {str(option.get("type")) for option in real} >= ALL_TYPES:
            return rest
        schema = {**resolved(real[0], root), **rest}
    return schema


@dataclass(frozen=True)
class Property:
    """One property of a tool's arguments, resolved."""

    name: str
    schema: Schema
    root: Schema
    required: bool
    about: str = ""
    """What stands around it: descriptions of the object it is in."""

    @property
    def type(self) -> str:
        """The JSON type; an empty string where the schema takes any."""
        found: Any = self.schema.get("type", "")
        if isinstance(found, list):
            found = next((str(kind) for kind in cast("list[Any]", found) if kind != "null"), "")
        if not found and "properties" in self.schema:
            return "object"
        if not found and ("enum" in self.schema or "pattern" in self.schema or "format" in self.schema):
            return "string"
        return str(found)

    @cached_property
    def description(self) -> str:
        """The folded description and title."""
        return fold(f"{self.schema.get('title', '')} {self.schema.get('description', '')}")

    @cached_property
    def name_words(self) -> frozenset[str]:
        """The folded words of the name."""
        return frozenset(words(self.name))

    @cached_property
    def name_concepts(self) -> frozenset[str]:
        """What the name means, in either language."""
        return concepts([self.name])

    @property
    def fits_whole(self) -> Fits | None:
        """Whether all of a text fits its pattern, where that tells a value from any other word."""
        found = self.schema.get("pattern")
        fits = matcher(found) if isinstance(found, str) else None
        return None if fits is None or any(map(fits, ("factura", "Invoice"))) else matcher(f"^(?:{found})$")

    @property
    def examples(self) -> list[Any]:
        """Its examples."""
        found: Any = self.schema.get("examples", [])
        single = [self.schema["example"]] if "example" in self.schema else []
        return (list(cast("list[Any]", found)) if isinstance(found, list) else []) + single

    def named(self, *hints: str) -> bool:
        """Whether the name holds one of some words."""
        return bool(self.name_words & set(hints))

    def says(self, pattern: str) -> bool:
        """Whether name or description match a pattern (folded)."""
        return re.search(pattern, f"{fold(self.name).replace('_', ' ')} {self.description}") is not None


def properties(schema: Schema, root: Schema, about: str = "") -> list[Property]:
    """Return an object schema's properties, the required ones first, otherwise in their own order."""
    needed = set(schema.get("required", []))
    around = f"{about} {fold(str(schema.get('description', '')))}"
    found = [
        Property(name, resolved(as_schema(raw), root), root, name in needed, around)
        for name, raw in as_schema(schema.get("properties")).items()
    ]
    return sorted(found, key=lambda each: not each.required)


def shape(example: str) -> re.Pattern[str]:
    """Return a pattern of what looks like an example: the same runs of digits and letters between the same marks.

    Letters that an identifier starts with (`inv_`) stay as they are.
    """
    if (prefixed := re.fullmatch(r"([A-Za-z]+[_-])(?=[A-Za-z]*\d)[A-Za-z0-9]+", example)) is not None:
        return re.compile(re.escape(prefixed.group(1)) + r"[A-Za-z0-9]+")
    pieces: list[str] = []
    for run in re.findall(r"\d+|[^\W\d_]+|\W|_", example):
        if run.isdigit():
            pieces.append(rf"\d{{{len(run)}}}" if len(run) <= 2 else r"\d+")
        elif run.isalpha():
            pieces.append(r"[^\W\d_]+")
        else:
            pieces.append(re.escape(run))
    return re.compile("".join(pieces))
