"""A model whose responses are journaled: on resume they are replayed, not asked for and paid again."""

from __future__ import annotations

from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from tausestack_agents.journal import Journal


class JournaledModel(WrapperModel):
    """Wraps the model of one graph task; its requests are numbered from 0 each time the task is run."""

    def __init__(self, wrapped: Model, *, journal: Journal, task: str) -> None:
        super().__init__(wrapped)
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
        response = await self.wrapped.request(messages, model_settings, model_request_parameters)
        await self._journal.keep_model(
            self._task, call, ModelMessagesTypeAdapter.dump_python([response], mode="json")[0]
        )
        return response
