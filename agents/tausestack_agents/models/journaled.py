"""A model whose responses are journaled: on resume they are replayed, not asked for and paid again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponsePart,
    ToolCallPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from tausestack.raw import object_at, objects_in
from tausestack_agents.gateway import Delegation
from tausestack_agents.journal import Journal
from tausestack_agents.tracing import of_request, used


class JournaledModel(WrapperModel):
    """Wraps the model of one graph task; its requests are numbered from 0 each time the task is run."""

    def __init__(self, wrapped: Model, *, journal: Journal, task: str, delegation: Delegation) -> None:
        super().__init__(wrapped)
        self._delegation = delegation
        self._journal = journal
        self._task = task
        self._asked = 0

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the journaled response to this request, else the model's, journaled."""
        call = f"model-{self._asked}"
        self._asked += 1
        line = await self._journal.find(self._task, call)
        if line is not None and line.status == "done":
            replayed = ModelMessagesTypeAdapter.validate_python([line.result])[0]
            assert isinstance(replayed, ModelResponse)
            return replayed
        earlier = [] if line is None else objects_in(object_at(line.arguments).get("attempts"))
        with of_request(self._journal.tracing, self.model_name) as span:
            response = await self.asked_for(call, earlier, messages, model_settings, model_request_parameters)
            used(span, response)
        response = await self._sealed(_told_apart(response, messages), model_request_parameters)
        kept = ModelMessagesTypeAdapter.dump_python([response], mode="json")[0]
        outputs = {tool.name for tool in model_request_parameters.output_tools}
        last = not response.tool_calls or any(each.tool_name in outputs for each in response.tool_calls)
        await self._journal.keep_model(self._task, call, kept, self.attempts(), last=last)
        return response

    async def asked_for(
        self,
        call: str,
        earlier: Sequence[dict[str, object]],
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model; `earlier` is what attempts at the same request used before the run was taken up again."""
        return await self.wrapped.request(messages, settings, parameters)

    async def _sealed(self, response: ModelResponse, parameters: ModelRequestParameters) -> ModelResponse:
        """Return a response in which the secrets among the arguments of its calls are sealed: it is kept."""
        tools = {tool.name: tool for tool in parameters.function_tools}
        parts: list[ModelResponsePart] = []
        for part in response.parts:
            tool = tools.get(part.tool_name) if isinstance(part, ToolCallPart) else None
            address = (tool.metadata or {}).get("address") if tool is not None else None
            if isinstance(part, ToolCallPart) and tool is not None and address is not None:
                given = part.args_as_dict()
                kept = await self._delegation.sealed(address, tool.parameters_json_schema, given)
                parts.append(part if kept is given else replace(part, args=kept))
            else:
                parts.append(part)
        return replace(response, parts=parts)

    def attempts(self) -> list[dict[str, object]]:
        """Return what attempts at the last request used beside the one that succeeded."""
        return []


def _told_apart(response: ModelResponse, messages: Sequence[ModelMessage]) -> ModelResponse:
    """Return a response whose calls bear ids of their own.

    There are servers that give the same ids again in each answer; a call is known by its id, and its result would be
    taken for that of another. The very same call twice in one answer is one.
    """
    known = {part.tool_call_id for message in messages for part in message.parts if isinstance(part, ToolCallPart)}
    here: dict[str, tuple[str, str]] = {}
    parts: list[ModelResponsePart] = []
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            asked = (part.tool_name, part.args_as_json_str())
            if part.tool_call_id in known or here.get(part.tool_call_id, asked) != asked:
                taken = known | here.keys()
                free = (name for number in count(2) if (name := f"{part.tool_call_id}-{number}") not in taken)
                part = replace(part, tool_call_id=next(free))
            here[part.tool_call_id] = asked
        parts.append(part)
    return replace(response, parts=parts)
