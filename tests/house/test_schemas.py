"""The input schemas of our own tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CATALOGUE = Path(__file__).parents[2] / "registry" / "tausestack_registry" / "catalogue"
SAYS = {"type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"}


def tools() -> list[tuple[str, dict[str, Any]]]:
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CATALOGUE.glob("*.json"))]
    return [(document["name"], tool) for document in documents for tool in _tools_in(document)]


def _tools_in(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if "inputSchema" in value else []
        return own + [tool for each in value.values() for tool in _tools_in(each)]
    return [tool for each in value for tool in _tools_in(each)] if isinstance(value, list) else []


@pytest.mark.covers("house:typed-parameters")
def test_every_parameter_says_one_type_or_several_alternatives() -> None:
    found = tools()
    assert found
    for server, tool in found:
        for name, schema in tool["inputSchema"].get("properties", {}).items():
            # Frameworks that make models of schemas take neither a parameter without a type nor a list of types.
            assert schema.keys() & SAYS, (server, tool["name"], name)
            assert not isinstance(schema.get("type"), list), (server, tool["name"], name)
