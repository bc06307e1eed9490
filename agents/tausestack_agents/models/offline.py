"""The offline planner in the shape of a pydantic-ai model: it asks for tool calls, then says what came of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from tausestack_agents.planner.answer import (
    Called,
    say_asked_how,
    say_calls,
    say_depends,
    say_forbidden,
    say_missing,
    say_no_tool,
    say_unsure,
)
from tausestack_agents.planner.arguments import Earlier
from tausestack_agents.planner.choice import Candidate, Choice, choose
from tausestack_agents.planner.text import Language
from tausestack_agents.planner.values import Source


class OfflineModel(Model):
    """Serves one part of a request with the tools that search found, by words and schemas alone."""

    def __init__(
        self, part: str, tools: Sequence[Candidate], *, spoken: Language, earlier: Sequence[Earlier], today: date
    ) -> None:
        super().__init__()
        self._part = part
        self._tools: Mapping[str, Candidate] = {tool.name: tool for tool in tools}
        self._spoken: Language = spoken
        self._earlier = earlier
        self._today = today

    @property
    def model_name(self) -> str:
        """Its name in costs and events."""
        return "offline"

    @property
    def system(self) -> str:
        """Its provider."""
        return "tausestack"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the tool calls for the part, or once these have ended, the text."""
        called = self._called(messages)
        if called:
            return self._response([TextPart(say_calls(self._part, called, self._spoken))])
        source = Source(self._part, today=self._today, spoken=self._spoken)
        choice = choose(self._part, list(self._tools.values()), source, self._earlier)
        tool = choice.tool
        if choice.outcome != "calls" or tool is None:
            return self._response([TextPart(self._declined(choice))])
        return self._response(
            [
                ToolCallPart(tool.name, arguments, _call_id(tool, index, arguments))
                for index, arguments in enumerate(choice.calls)
            ]
        )

    def _declined(self, choice: Choice) -> str:
        """Say why nothing is called."""
        if choice.outcome == "forbidden":
            return say_forbidden(self._part, self._spoken)
        if choice.outcome == "asked_how":
            return say_asked_how(self._part, choice.tool, self._spoken)
        if choice.outcome == "depends":
            return say_depends(self._part, choice.tool, self._spoken)
        if choice.outcome == "unsure" and choice.tool is not None and choice.other is not None:
            return say_unsure(self._part, [choice.tool, choice.other], self._spoken)
        if choice.outcome == "missing" and choice.tool is not None:
            return say_missing(self._part, choice.tool, choice.missing, self._spoken)
        return say_no_tool(self._part, self._spoken)

    def _called(self, messages: list[ModelMessage]) -> list[Called]:
        """What was called since the part was given, with what came of it."""
        asked: dict[str, ToolCallPart] = {}
        called: list[Called] = []
        for message in messages:
            for part in message.parts:
                if isinstance(message, ModelRequest) and isinstance(part, UserPromptPart):
                    asked, called = {}, []
                elif isinstance(part, ToolCallPart):
                    asked[part.tool_call_id] = part
                elif isinstance(part, ToolReturnPart) and part.tool_call_id in asked:
                    call = asked[part.tool_call_id]
                    tool = self._tools[call.tool_name]
                    arguments: dict[str, Any] = call.args_as_dict()
                    called.append(Called(tool, arguments, part.content, failed=part.outcome != "success"))
        return called

    def _response(self, parts: Sequence[TextPart | ToolCallPart]) -> ModelResponse:
        return ModelResponse(parts=list(parts), model_name="offline", usage=RequestUsage())


def _call_id(tool: Candidate, index: int, arguments: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([tool.address, arguments], sort_keys=True).encode()).hexdigest()
    return f"{index}-{digest[:12]}"
