"""The fixture's resources, prompts and completions."""

from __future__ import annotations

import json
import re
from typing import Any

from mcp.shared.exceptions import MCPError

from conformance_server.calls import Call, ask, filled_in, form
from conformance_server.contents import RED_DOT
from tausestack.errors import INVALID_PARAMS

RESOURCES: list[dict[str, Any]] = [
    {
        "uri": "test://static-text",
        "name": "static-text",
        "description": "A text that never changes",
        "mimeType": "text/plain",
    },
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "An image that never changes",
        "mimeType": "image/png",
    },
    {
        "uri": "test://watched-resource",
        "name": "watched-resource",
        "description": "A text that can be subscribed to",
        "mimeType": "text/plain",
    },
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template-data",
        "description": "The record of an id",
        "mimeType": "application/json",
    }
]
PROMPTS: list[dict[str, Any]] = [
    {"name": "test_simple_prompt", "description": "A prompt without arguments", "arguments": []},
    {
        "name": "test_prompt_with_arguments",
        "description": "A prompt with two arguments",
        "arguments": [
            {"name": "arg1", "description": "The first", "required": True},
            {"name": "arg2", "description": "The second", "required": True},
        ],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt that embeds a resource",
        "arguments": [{"name": "resourceUri", "description": "Which resource", "required": True}],
    },
    {"name": "test_prompt_with_image", "description": "A prompt with an image", "arguments": []},
    {"name": "test_input_required_result_prompt", "description": "A prompt that asks the user", "arguments": []},
]
WORDS = ["paris", "park", "party", "test", "testing"]

_TEMPLATE = re.compile(r"test://template/([^/]+)/data")


def read(uri: str) -> dict[str, Any]:
    """Return a resource's contents."""
    known: dict[str, dict[str, Any]] = {
        "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
        "test://static-binary": {"mimeType": "image/png", "blob": RED_DOT},
        "test://watched-resource": {"mimeType": "text/plain", "text": "Watched resource content"},
    }
    found = known.get(uri)
    if (matched := _TEMPLATE.fullmatch(uri)) is not None:
        record = {"id": matched[1], "templateTest": True, "data": f"Data for ID: {matched[1]}"}
        found = {"mimeType": "application/json", "text": json.dumps(record)}
    if found is None:
        raise MCPError(INVALID_PARAMS, "Resource not found", {"uri": uri})
    return {"resultType": "complete", "contents": [{"uri": uri, **found}]}


def get_prompt(name: str, call: Call) -> dict[str, Any]:
    """Return a prompt's messages, or ask for what they need."""
    arguments = call.arguments
    if name == "test_simple_prompt":
        return _messages(_text("This is a simple prompt for testing."))
    if name == "test_prompt_with_arguments":
        one, two = _argument(arguments, "arg1"), _argument(arguments, "arg2")
        return _messages(_text(f"Prompt with arguments: arg1='{one}', arg2='{two}'"))
    if name == "test_prompt_with_embedded_resource":
        said = "Embedded resource content for testing."
        resource = {"uri": _argument(arguments, "resourceUri"), "mimeType": "text/plain", "text": said}
        embedded = {"type": "resource", "resource": resource}
        return _messages(embedded, _text("Please process the embedded resource above."))
    if name == "test_prompt_with_image":
        image = {"type": "image", "data": RED_DOT, "mimeType": "image/png"}
        return _messages(image, _text("Please analyze the image above."))
    if name == "test_input_required_result_prompt":
        if "user_context" not in call.responses:
            return ask(call, {"user_context": form("What context should the prompt use?", context={"type": "string"})})
        context = filled_in(call.responses["user_context"]).get("context", "none")
        return _messages(_text(f"Use the following context: {context}"))
    raise MCPError(INVALID_PARAMS, "There is no such prompt", {"name": name})


def complete(value: str) -> dict[str, Any]:
    """Return the words that begin so."""
    values = [word for word in WORDS if word.startswith(value)]
    return {"resultType": "complete", "completion": {"values": values, "total": len(values), "hasMore": False}}


def _messages(*contents: dict[str, Any]) -> dict[str, Any]:
    return {"resultType": "complete", "messages": [{"role": "user", "content": each} for each in contents]}


def _text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def _argument(arguments: dict[str, Any], name: str) -> str:
    if name not in arguments:
        raise MCPError(INVALID_PARAMS, f"The prompt needs the argument {name}")
    return str(arguments[name])
