"""A model whose responses are journaled: on resume they are replayed, not asked for and paid again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from tausestack_agents.journal import Journal
from tausestack_agents.models.budget import Budget, Use

Most = Callable[[list[ModelMessage], ModelSettings | None, ModelRequestParameters], Awaitable[Use]]


class JournaledModel(WrapperModel):
    """Wraps the model of one graph task; its requests are numbered from 0 each time the task is run."""

    def __init__(
        self, wrapped: Model, *, journal: Journal, task: str, budget: Budget | None = None, most: Most | None = None
    ) -> None:
        """`most` tells what a request may use of the budget."""
        super().__init__(wrapped)
        self._budget, self._most = budget, most
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
        if line is not None:
            replayed = ModelMessagesTypeAdapter.validate_python([line.result])[0]
            assert isinstance(replayed, ModelResponse)
            return replayed
        response = await self._asked_for(call, messages, model_settings, model_request_parameters)
        kept = ModelMessagesTypeAdapter.dump_python([response], mode="json")[0]
        outputs = {tool.name for tool in model_request_parameters.output_tools}
        last = not response.tool_calls or any(each.tool_name in outputs for each in response.tool_calls)
        await self._journal.keep_model(self._task, call, kept, last=last)
        return response

    async def _asked_for(
        self,
        call: str,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model, within the budget where there is one."""
        if self._budget is None or self._most is None:
            return await self.wrapped.request(messages, settings, parameters)
        # A run that is taken up again after a crash asks anew, and pays anew: that is another request.
        request = f"{self._journal.run}/{self._task}/{call}/{self._journal.fence}"
        most = await self._most(messages, settings, parameters)
        async with self._budget.reserved(request, most) as use:
            response = await self.wrapped.request(messages, settings, parameters)
            use.tokens = response.usage.input_tokens + response.usage.output_tokens
            use.usd = float((response.provider_details or {}).get("usd") or 0)
        return response
