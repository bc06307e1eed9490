"""Definitions that clients would refuse to read, as they are shown."""

from __future__ import annotations

from typing import Any

import peculiar_party
import pytest
from mcp_types import ListPromptsResult, ListResourcesResult, ListResourceTemplatesResult, ListToolsResult
from pydantic import BaseModel, ValidationError

from tausestack_runtime.gateway import readable

pytestmark = pytest.mark.covers("remote:readable")

LISTS: list[tuple[str, type[BaseModel], list[dict[str, Any]]]] = [
    ("prompts", ListPromptsResult, peculiar_party.PROMPTS),
    ("resources", ListResourcesResult, peculiar_party.RESOURCES),
    ("resourceTemplates", ListResourceTemplatesResult, peculiar_party.TEMPLATES),
]


def test_the_official_client_reads_every_tool_though_not_as_it_is() -> None:
    for raw in peculiar_party.TOOLS:
        shown = readable.tool(raw)
        assert ListToolsResult.model_validate({"tools": [shown], "ttlMs": 0, "cacheScope": "private"}).tools
        assert readable.tool(shown) == shown
    with pytest.raises(ValidationError):
        ListToolsResult.model_validate({"tools": peculiar_party.TOOLS, "ttlMs": 0, "cacheScope": "private"})


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, {"type": "object", "properties": None}])
def test_a_tool_without_arguments_says_so(schema: dict[str, Any]) -> None:
    shown = readable.tool({"name": "now", "inputSchema": schema})
    assert shown["inputSchema"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(("kind", "result", "items"), LISTS, ids=[kind for kind, _, _ in LISTS])
def test_the_official_client_reads_everything_that_can_be_asked_for(
    kind: str, result: type[BaseModel], items: list[dict[str, Any]]
) -> None:
    shown = [one for raw in items if (one := readable.item(kind, raw, "odd")) is not None]
    assert 0 < len(shown) < len(items)
    result.model_validate({kind: shown, "ttlMs": 0, "cacheScope": "private"})
    assert [readable.item(kind, one, "odd") for one in shown] == shown


def test_what_can_be_read_is_shown_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}},
        "required": ["a"],
        "$defs": {"x": True},
    }
    raw: dict[str, Any] = {
        "name": "fine", "title": "Fine", "description": "It is.",
        "inputSchema": schema, "outputSchema": {"type": "array"},
        "annotations": {"readOnlyHint": True, "x-own": 1}, "x-unknown": None, "_meta": {"theirs": None},
    }  # fmt: skip
    assert readable.tool(raw) == raw
    prompt = {
        "name": "fine",
        "description": "It is.",
        "arguments": [{"name": "a", "required": True}],
        "x-unknown": [None],
    }
    assert readable.item("prompts", prompt, "odd") == prompt
