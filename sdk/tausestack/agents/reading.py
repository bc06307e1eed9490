"""Reading an agent's file: YAML, JSON or TOML, by what its name ends in."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, cast

from tausestack.errors import InvalidArguments

MAX_FILE = 256 * 1024
"""Characters of a file."""


def read(text: str, name: str) -> dict[str, Any]:
    """Return the object in a file, or raise `InvalidArguments` saying where it can't be read.

    YAML has no tags, anchors or aliases, and no key twice: what is read is what is written there.
    """
    if len(text) > MAX_FILE:
        raise InvalidArguments(f"{name} is too large: {MAX_FILE // 1024} Ki characters are the most")
    kind = name.rpartition(".")[2].lower()
    try:
        found: Any = json.loads(text) if kind == "json" else tomllib.loads(text) if kind == "toml" else _yaml(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{name} can't be read: {str(error)[:400]}") from error
    if not isinstance(found, Mapping):
        raise InvalidArguments(f"{name} holds no object: it should begin with 'name: …'")
    return dict(cast("Mapping[str, Any]", found))


def _yaml(text: str) -> Any:
    import yaml  # the small installation has none: it is needed to read YAML and for nothing else

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType] its stub has no types
                raise ValueError("aliases (*name) are not read")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            found = super().construct_mapping(node, deep)
            if len(found) < len(node.value):
                raise ValueError(f"a key stands twice in the object at line {node.start_mark.line + 1}")
            return found

    try:
        return yaml.load(text, Loader)  # noqa: S506 a loader that makes plain values alone, and fewer than the safe one
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
