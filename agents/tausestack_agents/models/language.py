"""A language model through litellm, in the shape of a pydantic-ai model."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import anyio.to_thread
from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from tausestack_agents.models.budget import Use

SECONDS = 120.0
RETRIES = 2
MAX_OUTPUT = 16_000
"""Tokens of one answer, what the model thinks among them; fewer where it can't give as many."""
BYTES_A_TOKEN = 2
"""Of what is sent: so few that hardly a text has more tokens than its bytes say."""


class LanguageModel(Model):
    """Any model that litellm knows, by litellm's name for it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def model_name(self) -> str:
        """litellm's name."""
        return self._name

    @property
    def system(self) -> str:
        """The provider."""
        return self._name.partition("/")[0] if "/" in self._name else "litellm"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model; raises `ModelAPIError` with the provider's reason."""
        litellm: Any = await anyio.to_thread.run_sync(_litellm)
        asked = self._request(litellm, messages, model_settings, model_request_parameters)
        try:
            answer: Any = await litellm.acompletion(timeout=SECONDS, num_retries=RETRIES, **asked)
        except Exception as error:
            # litellm's errors share no base but Exception; whatever they are, the model could not be asked.
            raise ModelAPIError(self._name, f"{type(error).__name__}: {error}") from error
        return self._response(litellm, answer)

    async def most(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> Use:
        """Return the most that a request may use; its price is 0 for a model that litellm doesn't know."""
        litellm: Any = await anyio.to_thread.run_sync(_litellm)
        asked = self._request(litellm, messages, model_settings, model_request_parameters)
        sent = len(json.dumps(asked, ensure_ascii=False).encode()) // BYTES_A_TOKEN
        answer = int(asked.get("max_tokens", MAX_OUTPUT))
        try:
            prices = litellm.cost_per_token(model=self._name, prompt_tokens=sent, completion_tokens=answer)
        except Exception:  # noqa: BLE001 an unlisted model raises a bare Exception, and has no price here
            return Use(sent + answer, 0.0)
        return Use(sent + answer, sum(float(price) for price in prices))

    def _request(
        self,
        litellm: Any,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> dict[str, Any]:
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        tools = [*parameters.function_tools, *parameters.output_tools]
        given = {name: value for name, value in (settings or {}).items() if name in {"temperature", "max_tokens"}}
        asked: dict[str, Any] = {
            "model": self._name,
            "messages": _messages(messages),
            **_most_output(litellm, self._name),
            **given,
        }
        if tools:
            asked["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description or "",
                        "parameters": tool.parameters_json_schema,
                    },
                }
                for tool in tools
            ]
            asked["tool_choice"] = "auto" if parameters.allow_text_output else "required"
        return asked

    def _response(self, litellm: Any, answer: Any) -> ModelResponse:
        raw: dict[str, Any] = answer.model_dump()
        choices = cast("list[dict[str, Any]]", raw.get("choices") or [])
        if not choices:
            raise UnexpectedModelBehavior("The model gave no answer")
        message = cast("dict[str, Any]", choices[0].get("message") or {})
        parts: list[TextPart | ToolCallPart] = []
        if message.get("content"):
            parts.append(TextPart(str(message["content"])))
        for call in cast("list[dict[str, Any]]", message.get("tool_calls") or []):
            function = cast("dict[str, Any]", call["function"])
            parts.append(ToolCallPart(str(function["name"]), str(function.get("arguments") or "{}"), str(call["id"])))
        usage = cast("Mapping[str, Any]", raw.get("usage") or {})
        return ModelResponse(
            parts=parts,
            model_name=self._name,
            usage=RequestUsage(
                input_tokens=int(usage.get("prompt_tokens") or 0),
                output_tokens=int(usage.get("completion_tokens") or 0),
            ),
            provider_details={"usd": _price(litellm, answer)},
        )


def _litellm() -> Any:
    """Import litellm: it starts threads and takes seconds, so only a process that asks a model pays for it."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import fetches a price list
    return importlib.import_module("litellm")


def _most_output(litellm: Any, name: str) -> dict[str, int]:
    """Return how long an answer may be, where litellm knows the model: `{"max_tokens"}`, else nothing."""
    try:
        most = litellm.get_model_info(name).get("max_output_tokens")
    except Exception:  # noqa: BLE001 an unlisted model raises a bare Exception, and is asked without
        return {}
    return {"max_tokens": min(MAX_OUTPUT, int(most))} if most else {}


def _price(litellm: Any, answer: Any) -> float | None:
    """What litellm's price list says; None for a model that it doesn't know."""
    try:
        return float(litellm.completion_cost(completion_response=answer))
    except Exception:  # noqa: BLE001 an unlisted model raises a bare Exception, and has no price here
        return None


def _messages(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
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
            "function": {"name": part.tool_name, "arguments": part.args_as_json_str()},
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    if calls:
        shown["tool_calls"] = calls
    return shown
