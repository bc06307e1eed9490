"""The two thinkers of the graph: the offline planner, and a language model; both work through pydantic-ai agents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.usage import UsageLimits

from tausestack.raw import as_object
from tausestack_agents.gateway import Delegation
from tausestack_agents.graph import StepInput, Turn
from tausestack_agents.journal import Journal
from tausestack_agents.models.journaled import JournaledModel
from tausestack_agents.models.offline import OfflineModel
from tausestack_agents.planner.answer import compose
from tausestack_agents.planner.arguments import Earlier
from tausestack_agents.planner.split import split
from tausestack_agents.planner.text import Language
from tausestack_agents.specs import AgentSpec
from tausestack_agents.spending import Spending
from tausestack_agents.tools import ToolBox
from tausestack_agents.toolset import GatewayToolset

Models = Callable[[str, Journal, Delegation, Spending], Model]
"""Makes the language model of one task."""
REQUESTS_PER_STEP = 16
"""How often one step may ask its model."""
MAX_TURNS = 6
"""How many earlier turns of the thread a language model is told of."""


class Plan(BaseModel):
    """The parts of a request."""

    parts: list[str] = Field(
        min_length=1, max_length=12, description="Each part, in the request's words, complete in itself."
    )


class _Steps:
    """What both thinkers share: the run's tools, journal and delegation, and how a step's agent is run."""

    def __init__(
        self, spec: AgentSpec, tools: ToolBox, journal: Journal, delegation: Delegation, spending: Spending
    ) -> None:
        self._spec = spec
        self._spending = spending
        self._tools = tools
        self._journal = journal
        self._delegation = delegation

    async def _run(self, step: StepInput, model: Model, prompt: str, history: list[ModelMessage]) -> dict[str, Any]:
        self._spending.step(step.task)
        tools = await self._tools.given(step.part["tools"])
        toolset = GatewayToolset(
            tools,
            task=step.task,
            journal=self._journal,
            delegation=self._delegation,
            decisions=step.decisions,
            spending=self._spending,
        )
        agent = Agent(
            model,
            output_type=str,
            deps_type=type(None),
            instructions=self._spec.instructions,
            toolsets=[toolset],
        )
        ran = await agent.run(
            prompt, message_history=history, usage_limits=UsageLimits(request_limit=REQUESTS_PER_STEP)
        )
        return {"part": step.part["text"], "text": ran.output, "calls": await self._calls(step.task)}

    async def _calls(self, task: str) -> list[dict[str, Any]]:
        return [
            {
                "address": f"{line.server}/{line.tool}",
                "arguments": line.arguments,
                "status": line.status,
                "result": (as_object(line.result) or {}).get("structuredContent"),
            }
            for line in await self._journal.tool_calls(task)
        ]


class OfflineThinker(_Steps):
    """Works without a language model."""

    async def divide(self, request: str, turns: list[Turn]) -> list[str]:
        """Return the parts by connectors and verbs."""
        return split(request)

    async def serve(self, step: StepInput) -> dict[str, Any]:
        """Serve a part by search and schemas."""
        tools = await self._tools.given(step.part["tools"])
        earlier = [
            Earlier(call["address"], call["result"])
            for result in step.results
            for call in result["calls"]
            if call["status"] == "done" and call["result"] is not None
        ]
        model = OfflineModel(step.part["text"], tools, spoken=step.spoken, earlier=earlier, today=step.today)
        journaled = JournaledModel(model, journal=self._journal, task=step.task)
        return await self._run(step, journaled, step.part["text"], [])

    async def word(self, request: str, results: list[dict[str, Any]], spoken: Language) -> str:
        """Return the parts' own texts under a label that says who speaks."""
        return compose([result["text"] for result in results], spoken)


class LanguageThinker(_Steps):
    """Works with a language model."""

    def __init__(
        self,
        spec: AgentSpec,
        tools: ToolBox,
        journal: Journal,
        delegation: Delegation,
        spending: Spending,
        models: Models,
    ) -> None:
        super().__init__(spec, tools, journal, delegation, spending)
        self._models = models

    def _model(self, task: str) -> Model:
        return self._models(task, self._journal, self._delegation, self._spending)

    async def divide(self, request: str, turns: list[Turn]) -> list[str]:
        """Ask the model for the parts."""
        agent = Agent(
            self._model("plan"),
            output_type=Plan,
            instructions=(
                "Divide the request into the parts that need different tools, in the order in which they have to be "
                "done. Keep the request's language, names, numbers and identifiers exactly. Don't answer it."
            ),
        )
        return (await agent.run(request, message_history=_history(turns))).output.parts

    async def serve(self, step: StepInput) -> dict[str, Any]:
        """Let the model use the tools found for a part."""
        prompt = step.part["text"]
        if step.results:
            told = [{"part": result["part"], "calls": result["calls"]} for result in step.results]
            prompt += "\n\nResults of the earlier parts of the same request:\n" + json.dumps(told, ensure_ascii=False)
        return await self._run(step, self._model(step.task), prompt, _history(step.turns))

    async def word(self, request: str, results: list[dict[str, Any]], spoken: Language) -> str:
        """Let the model word the answer from the parts' results alone."""
        if len(results) == 1:
            return results[0]["text"]
        agent = Agent(
            self._model("answer"),
            output_type=str,
            instructions=(
                "Answer the request in its own language from these results alone; add nothing that they don't hold. "
                "Say plainly what was not done."
            ),
        )
        told = json.dumps({"request": request, "results": results}, ensure_ascii=False)
        return (await agent.run(told)).output


def _history(turns: list[Turn]) -> list[ModelMessage]:
    messages: list[ModelMessage] = []
    for turn in turns[-MAX_TURNS:]:
        messages.append(ModelRequest(parts=[UserPromptPart(turn["input"])]))
        messages.append(ModelResponse(parts=[TextPart(turn["output"])]))
    return messages
