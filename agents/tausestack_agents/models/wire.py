"""A conversation in the shape that litellm takes, which is OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters


def conversation(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
    """Return the messages, the newest instructions first."""
    found: list[dict[str, Any]] = []
    instructions = next(
        (each.instructions for each in reversed(messages) if isinstance(each, ModelRequest) and each.instructions), None
    )
    if instructions:
        found.append({"role": "system", "content": instructions})
    for message in messages:
        if isinstance(message, ModelRequest):
            found += [shown for part in message.parts if (shown := _request_part(part)) is not None]
        else:
            found.append(_response_message(message))
    return found


def tools(parameters: ModelRequestParameters) -> dict[str, Any]:
    """Return the tools that may be called and whether one has to be; nothing where there are none."""
    offered = [*parameters.function_tools, *parameters.output_tools]
    if not offered:
        return {}
    functions = [
        {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters_json_schema}
        for tool in offered
    ]
    return {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": "auto" if parameters.allow_text_output else "required",
    }


def _request_part(part: Any) -> dict[str, Any] | None:
    if isinstance(part, SystemPromptPart):
        return {"role": "system", "content": part.content}
    if isinstance(part, UserPromptPart):
        content = part.content if isinstance(part.content, str) else json.dumps(part.content, default=str)
        return {"role": "user", "content": content}
    if isinstance(part, ToolReturnPart):
        return {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.model_response_str()}
    if isinstance(part, RetryFeedbackPart):
        return {"role": "user", "content": str(part.content)}
    if getattr(part, "part_kind", "") == "retry-prompt":  # the form that retries had before 2.68, in old histories
        role = {"role": "user"} if part.tool_name is None else {"role": "tool", "tool_call_id": part.tool_call_id}
        return {**role, "content": part.model_response()}
    return None


def _response_message(message: ModelResponse) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    calls = [
        {
            "id": part.tool_call_id,
            "type": "function",
            "function": {"name": part.tool_name, "arguments": _arguments(part)},
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    if calls:
        shown["tool_calls"] = calls
    return shown


def _arguments(part: ToolCallPart) -> str:
    """What a call's arguments were; those that were no JSON are told back as none, for vendors refuse them."""
    written = part.args_as_json_str()
    try:
        parsed: Any = json.loads(written)
    except json.JSONDecodeError:
        return "{}"
    return written if isinstance(parsed, dict) else "{}"
