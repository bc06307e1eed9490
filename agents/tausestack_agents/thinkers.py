"""The two thinkers of the graph: the offline planner, and a language model, which works through pydantic-ai agents."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import structlog
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelRetry, RunContext, StructuredDict, capture_run_messages
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.usage import UsageLimits

from tausestack.agents import AgentSpec, ApprovalRule
from tausestack.confidential import shown
from tausestack.names import wire_name
from tausestack.raw import as_object
from tausestack.schemas import compiled
from tausestack_agents.domain import AnswerInvalid
from tausestack_agents.gateway import Delegation
from tausestack_agents.grounds import Grounds
from tausestack_agents.handoffs import HandedOver, Handoffs
from tausestack_agents.journal import Journal
from tausestack_agents.models.failures import wrong_with
from tausestack_agents.models.offline import Journaled, OfflinePlanner
from tausestack_agents.planner.answer import compose, say_answered
from tausestack_agents.planner.arguments import Earlier, fill
from tausestack_agents.planner.choice import Candidate, asks_for_a_change, choose
from tausestack_agents.planner.confirming import Reply, acts_of, reply_to
from tausestack_agents.planner.split import split
from tausestack_agents.planner.text import MAX_READ, Language, fold
from tausestack_agents.planner.values import Source
from tausestack_agents.spending import Spending
from tausestack_agents.state import Answer, Planned, Result, StepInput
from tausestack_agents.threads import SUMMARY, SUMMARY_CHARACTERS, Past, Turn
from tausestack_agents.tools import ToolBox
from tausestack_agents.toolset import ESCALATE, GatewayToolset

Models = Callable[[str, Journal, Delegation, Spending], Model]
"""Makes the language model of one task."""
REQUESTS_PER_STEP = 16
"""How often one step may ask its model."""
ANSWERS = 3
"""How often a model may try to give an answer that fits its schema."""
_PERSON = re.compile(
    r"\b(?:hablar|hable|comunic\w+|pasa(?:r)?me|talk|speak|connect me)\b.{0,20}?"
    r"\b(?:(?:una )?persona|(?:un )?humano|(?:un )?asesor|(?:una )?asesora|a person|a human|somebody|representative)\b"
)
"""How a request asks for a person, its letters folded."""
_NO_PERSON = re.compile(r"\b(?:no|nunca|ni|tampoco|sin|not|never|don't|dont|without)\s+(?:[^\W_]+\s+){0,4}$")
"""Stands before what nobody is asked for."""


class PlannedPart(BaseModel):
    """A part of a request."""

    text: str = Field(description="The part in the request's words, complete in itself.")
    after: list[int] = Field(description="Numbers, from 0, of the parts whose results it needs or has to wait for.")


class Plan(BaseModel):
    """The parts of a request."""

    parts: list[PlannedPart | str] = Field(
        min_length=1,
        max_length=12,
        description="Each part, in the request's words, complete in itself. A text alone comes after all before it.",
    )


@dataclass(frozen=True)
class Equipment:
    """What an agent works with in a run: its tools under its rights, the journal, and the rules for its calls."""

    spec: AgentSpec
    tools: ToolBox
    journal: Journal
    delegation: Delegation
    spending: Spending
    rules: Sequence[ApprovalRule] = ()
    others: Callable[[str], Awaitable[ToolBox]] | None = None
    """Returns the tools of an agent that the run may be handed over to."""
    context: Mapping[str, Any] | None = None
    """What whoever asked knew already."""
    extras: Sequence[AbstractToolset[None]] = field(default=())

    def toolset(self, step: StepInput, tools: Sequence[Candidate], grounds: Grounds | None = None) -> GatewayToolset:
        """Return tools for one step."""
        return GatewayToolset(
            tools,
            task=step.task,
            journal=self.journal,
            delegation=self.delegation,
            decisions=step.decisions,
            spending=self.spending,
            rules=self.rules,
            grounds=grounds,
        )

    async def made(self, task: str) -> list[dict[str, Any]]:
        """Return which tools a step called, and what became of each call."""
        lines = await self.journal.tool_calls(task)
        return [{"address": f"{line.server}/{line.tool}", "status": line.status} for line in lines]

    async def calls(self, results: Sequence[Result]) -> list[dict[str, Any]]:
        """Return earlier parts with what their calls returned, which the journal has."""
        tasks = [result["task"] for result in results if result["calls"]]
        lines = await self.journal.tool_calls(*tasks) if tasks else []
        of = {task: [line for line in lines if line.task == task] for task in tasks}
        return [
            {
                "part": result["part"],
                "text": result["text"],
                "calls": [_call(line) for line in of.get(result["task"], [])],
            }
            for result in results
        ]


class OfflineThinker:
    """Works without a language model."""

    def __init__(self, equipment: Equipment) -> None:
        self._has = equipment
        self._spec = equipment.spec

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Return the first agent that has tools for a request, or what it agrees to, where this one has none at all."""
        reply = reply_to(request, turns[-1].get("asked", []) if turns else [])
        if not handoffs or self._has.others is None or await self._serves(request, reply, self._has.tools):
            return None
        for name in handoffs:
            if await self._serves(request, reply, await self._has.others(name)):
                return name
        return None

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Return the parts by connectors and verbs; a plain answer to what the turn before asked is whole."""
        reply = reply_to(request, turns[-1].get("asked", []) if turns else [])
        if reply is not None:
            return [Planned(", ".join(split(request)) or request.strip(), reply=reply)]
        return [Planned(text) for text in split(request)]

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """Return whether a tool that only reads has all its arguments in a part's own words."""
        if self._asks_for_a_person(text) or asks_for_a_change(text):
            return False
        choice = choose(text, await self._has.tools.given(tools), Source(text, today=_today()))
        return choice.outcome == "calls" and choice.tool is not None and choice.tool.reads

    async def serve(self, step: StepInput) -> Result:
        """Serve a part by search and schemas, or hand it to a person where it asks for one."""
        part = step.part["text"]
        if self._asks_for_a_person(part):
            toolset = self._has.toolset(step, [ESCALATE])
            answered = await toolset.call(ESCALATE.name, {"question": step.request}, "escalate-0")
            text = say_answered(part, answered["answer"], step.spoken)
            calls = [{"address": ESCALATE.address, "status": "done"}]
            return Result(part=part, text=text, task=step.task, calls=calls)
        self._has.spending.step(step.task)
        tools = await self._has.tools.given(step.part["tools"])
        planner = OfflinePlanner(part, tools, spoken=step.spoken, today=step.today, reply=step.part.get("reply"))
        with structlog.contextvars.bound_contextvars(step=step.task):
            text = await planner.serve(
                Journaled(self._has.journal, step.task),
                self._has.toolset(step, await self._and_called(step.task, tools)),
                lambda: self._earlier(step.results),
            )
        return Result(part=part, text=text, task=step.task, calls=await self._has.made(step.task))

    async def _and_called(self, task: str, tools: list[Candidate]) -> list[Candidate]:
        """Return tools with those that a step has called already, though they may be gone since."""
        made = {f"{line.server}/{line.tool}": line for line in await self._has.journal.tool_calls(task)}
        gone = [
            Candidate(wire_name(line.server, line.tool), address, {"name": line.tool})
            for address, line in made.items()
            if all(tool.address != address for tool in tools)
        ]
        return [*tools, *gone]

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Return the parts' own texts under a label that says who speaks, or what the schema asks for of results."""
        if self._spec.output is None:
            return Answer(compose([result["text"] for result in results if result["text"]], spoken))
        if len(request) > MAX_READ:
            raise AnswerInvalid("The offline planner does not read that much at once")
        filled = fill(self._spec.output, Source(request, today=today), await self._earlier(results))
        if filled.missing:
            raise AnswerInvalid(f"The offline planner found nothing for: {', '.join(filled.missing)}")
        return _structured(self._spec.output, filled.calls[0])

    async def _earlier(self, results: Sequence[Result]) -> list[Earlier]:
        return [
            Earlier(call["address"], call["result"])
            for result in await self._has.calls(results)
            for call in result["calls"]
            if call["status"] == "done" and call["result"] is not None
        ]

    async def _serves(self, request: str, reply: Reply | None, tools: ToolBox) -> bool:
        """Return whether tools serve any part of a request, or all that it agrees to."""
        if reply is not None:
            return (await tools.all()).keys() >= {act["tool"] for act in acts_of(reply)}
        for text in split(request):
            given = await tools.given(await tools.search(text))
            if choose(text, given, Source(text, today=_today())).tool is not None:
                return True
        return False

    def _asks_for_a_person(self, text: str) -> bool:
        asked = _PERSON.search(fold(text)) if self._spec.escalates else None
        return asked is not None and not _NO_PERSON.search(fold(text), 0, asked.start())


class LanguageThinker:
    """Works with a language model."""

    def __init__(self, equipment: Equipment, models: Models) -> None:
        self._has = equipment
        self._spec = equipment.spec
        self._models = models

    def _model(self, task: str) -> Model:
        return self._models(task, self._has.journal, self._has.delegation, self._has.spending)

    async def condense(self, past: Past) -> str:
        """Let the model write a summary of the turns that are to be folded, and of the summary before."""
        agent = Agent(
            self._model("summary"),
            output_type=str,
            instructions=(
                "Write down, in the conversation's language and in under 300 words, what has to be remembered of it: "
                "what was asked and done, names, identifiers, figures, what is open. Add nothing that it doesn't hold."
            ),
        )
        told = json.dumps({"summary": past.summary, "turns": past.turns[: past.foldable]}, ensure_ascii=False)
        return (await agent.run(told)).output[:SUMMARY_CHARACTERS]

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Leave it to the steps: the model hands over by a tool, once it knows what it can't do."""
        return None

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Ask the model for the parts."""
        agent = Agent(
            self._model(task),
            output_type=Plan,
            instructions=(
                "Divide the request into the parts that need different tools, in the order in which they have to be "
                "done. Keep the request's language, names, numbers and identifiers exactly. Don't answer it."
            ),
        )
        prompt = request + self._known()
        if before:
            prompt += "\n\nDone already by another agent:\n" + json.dumps(
                await self._has.calls(before), ensure_ascii=False
            )
        with capture_run_messages() as said:
            try:
                parts = (await agent.run(prompt, message_history=self._history(turns))).output.parts
            except UnexpectedModelBehavior:
                if not _plain(said):
                    raise
                # Told that a plan is wanted, it talks on: then the request is one part, in which it may.
                parts = [request]
        return [
            Planned(each, tuple(range(index))) if isinstance(each, str) else Planned(each.text, tuple(each.after))
            for index, each in enumerate(parts)
        ]

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """Go by what the model said of the part."""
        return False

    async def serve(self, step: StepInput) -> Result:
        """Let the model use the tools found for a part."""
        prompt = step.part["text"] + self._known()
        if step.results:
            told = await self._has.calls(step.results)
            prompt += "\n\nResults of the earlier parts of the same request:\n" + json.dumps(told, ensure_ascii=False)
        said = [step.request, *(turn["input"] for turn in step.turns)]
        grounds = Grounds(said, step.today, outside=bool(step.turns))
        return await self._run(step, self._model(step.task), prompt, self._history(step.turns), grounds)

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Let the model word the answer from the parts' results alone."""
        if len(results) == 1 and self._spec.output is None:
            return Answer(results[0]["text"])
        model = self._model(task)
        asked = (
            "Answer the request in its own language from these results alone; add nothing that they don't hold. "
            "Say plainly what was not done."
        )
        told = json.dumps({"request": request, "results": await self._has.calls(results)}, ensure_ascii=False)
        if self._spec.output is None:
            return Answer((await Agent(model, output_type=str, instructions=asked).run(told)).output)
        return await self._fitting(model, asked, told, self._spec.output)

    async def _run(
        self,
        step: StepInput,
        model: Model,
        prompt: str,
        history: list[ModelMessage],
        grounds: Grounds | None = None,
    ) -> Result:
        self._has.spending.step(step.task)
        tools = await self._has.tools.given(step.part["tools"])
        if self._spec.escalates:
            tools = [*tools, ESCALATE]
        agent = Agent(
            model,
            output_type=str,
            deps_type=type(None),
            instructions=self._spec.instructions_in(step.spoken),
            toolsets=[self._has.toolset(step, tools, grounds), Handoffs(step.handoffs), *self._has.extras],
        )
        part, handoff, text = step.part["text"], None, ""
        try:
            with structlog.contextvars.bound_contextvars(step=step.task):
                ran = await agent.run(
                    prompt, message_history=history, usage_limits=UsageLimits(request_limit=REQUESTS_PER_STEP)
                )
            text = ran.output
        except HandedOver as over:
            handoff = over.handoff
        calls = await self._has.made(step.task)
        return Result(part=part, text=text, task=step.task, calls=calls, handoff=handoff)

    async def _fitting(self, model: Model, asked: str, told: str, schema: dict[str, Any]) -> Answer:
        """Ask for an answer that fits a schema, and again with what is wrong with it."""
        shaped: Any = StructuredDict(schema, name="answer", description="The answer to the request")
        agent: Agent[None, dict[str, Any]] = Agent(
            model, output_type=shaped, deps_type=type(None), instructions=asked, retries=ANSWERS - 1
        )

        @agent.output_validator
        def fits(_: RunContext[None], answer: dict[str, Any]) -> dict[str, Any]:
            try:
                _structured(schema, answer)
            except AnswerInvalid as error:
                raise ModelRetry(error.message) from error
            return answer

        try:
            return _structured(schema, (await agent.run(told)).output)
        except UnexpectedModelBehavior as error:
            wrong = wrong_with(error)
            raise AnswerInvalid(
                f"The model gave no answer that fits its schema{wrong and ': '}{wrong[:300]}"
            ) from error

    def _known(self) -> str:
        summed_up = self._spec.memory.summary
        known = {name: fact for name, fact in (self._has.context or {}).items() if summed_up or name != SUMMARY}
        if not known:
            return ""
        told = json.dumps(known, ensure_ascii=False)
        return f"\n\nKnown already (facts to go by, never something that is asked):\n{told}"

    def _history(self, turns: list[Turn]) -> list[ModelMessage]:
        messages: list[ModelMessage] = []
        most = self._spec.memory.turns
        for turn in turns[-most:] if most else []:
            messages.append(ModelRequest(parts=[UserPromptPart(turn["input"])]))
            messages.append(ModelResponse(parts=[TextPart(turn["output"])]))
        return messages


def _plain(messages: Sequence[ModelMessage]) -> bool:
    """Whether the last thing that a model said is text and nothing else."""
    last = next((each for each in reversed(messages) if isinstance(each, ModelResponse)), None)
    return last is not None and bool(last.text) and not last.tool_calls


def _call(line: Any) -> dict[str, Any]:
    return {
        "address": f"{line.server}/{line.tool}",
        "arguments": shown(line.arguments),
        "status": line.status,
        "result": (as_object(line.result) or {}).get("structuredContent"),
    }


def _today() -> date:
    return datetime.now(UTC).date()


def _structured(schema: dict[str, Any], answer: dict[str, Any]) -> Answer:
    wrong = next(iter(compiled(schema).iter_errors(answer)), None)
    if wrong is not None:
        where = "/".join(str(step) for step in wrong.instance_path)
        raise AnswerInvalid(f"The answer does not fit its schema{' at ' + where if where else ''}: {wrong.message}")
    return Answer(json.dumps(answer, ensure_ascii=False), answer)
