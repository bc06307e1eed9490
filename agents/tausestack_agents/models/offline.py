"""The offline planner at a step: it chooses tool calls by words and schemas, makes them, and says what came of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Any

from pydantic_ai.exceptions import ToolFailed

from tausestack.names import wire_name
from tausestack.raw import object_at, objects_in
from tausestack_agents.journal import Journal
from tausestack_agents.models import OFFLINE
from tausestack_agents.planner.answer import Called, say_calls, title
from tausestack_agents.planner.arguments import Earlier
from tausestack_agents.planner.choice import Candidate, choose
from tausestack_agents.planner.confirming import Act, Question, Reply, acts_of, say_replied
from tausestack_agents.planner.declining import say_declined
from tausestack_agents.planner.text import Language
from tausestack_agents.planner.values import Source
from tausestack_agents.toolset import GatewayToolset
from tausestack_agents.tracing import of_request

_GONE = "This tool is no longer installed"


class Journaled:
    """What the planner says at a step, in the shape of a model's responses, each said once."""

    def __init__(self, journal: Journal, task: str) -> None:
        self._journal = journal
        self._task = task
        self._said = 0

    async def parts(self, say: Callable[[], Awaitable[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
        """Return the parts that were said here before, else those that are said now; a text alone ends the step."""
        call = f"model-{self._said}"
        self._said += 1
        line = await self._journal.find(self._task, call)
        if line is not None:
            return objects_in(object_at(line.result).get("parts"))
        with of_request(self._journal.tracing, OFFLINE):
            parts = await say()
        last = all(part["part_kind"] == "text" for part in parts)
        response = {"kind": "response", "model_name": OFFLINE, "parts": parts}
        await self._journal.keep_model(self._task, call, response, last=last)
        return parts


class OfflinePlanner:
    """Serves one part of a request with the tools that search found."""

    def __init__(
        self, part: str, tools: Sequence[Candidate], *, spoken: Language, today: date, reply: Reply | None = None
    ) -> None:
        """`reply`: the part is an answer to what the turn before asked, and nothing else."""
        self._reply = reply
        self._part = part
        self._tools = tools
        self._spoken: Language = spoken
        self._today = today

    async def serve(
        self, said: Journaled, toolset: GatewayToolset, earlier: Callable[[], Awaitable[list[Earlier]]]
    ) -> str:
        """Make the calls for the part, one after the other, and return what came of them, or why there are none.

        `earlier` tells what calls of the steps before returned. Raises `Held`.
        """

        async def chosen() -> list[dict[str, Any]]:
            return await self._chosen(await earlier(), toolset)

        parts = await said.parts(chosen)
        called = [await _made(toolset, part) for part in parts if part["part_kind"] == "tool-call"]
        if called:

            async def told() -> list[dict[str, Any]]:
                return _text(say_calls(self._part, called, self._spoken))

            parts = await said.parts(told)
        return "".join(str(part["content"]) for part in parts if part["part_kind"] == "text")

    async def _chosen(self, earlier: Sequence[Earlier], toolset: GatewayToolset) -> list[dict[str, Any]]:
        if self._reply is not None:
            return await self._replied(self._reply, toolset)
        source = Source(self._part, today=self._today, spoken=self._spoken)
        choice = choose(self._part, self._tools, source, earlier)
        tool = choice.tool
        if choice.outcome == "calls" and tool is not None:
            return [await _call(toolset, tool, index, arguments) for index, arguments in enumerate(choice.calls)]
        text = say_declined(self._part, choice, self._spoken)
        if tool is None or choice.outcome == "forbidden":
            return _text(text)
        acts = [Act(tool=tool.address, arguments=arguments) for arguments in choice.proposed]
        return _text(text, [Question(text=text, acts=acts, spoken=self._spoken)])

    async def _replied(self, reply: Reply, toolset: GatewayToolset) -> list[dict[str, Any]]:
        """Return the very calls that were asked about, where a yes is an answer to all that was asked."""
        acts = acts_of(reply)
        if not acts:
            text = f"{title(self._part)} — {say_replied(reply, self._spoken)}"
            return _text(text, reply["questions"] if reply["agrees"] else ())
        known = {tool.address: tool for tool in self._tools}
        tools = [known.get(act["tool"]) or _gone(act["tool"]) for act in acts]
        return [
            await _call(toolset, tool, index, act["arguments"])
            for index, (tool, act) in enumerate(zip(tools, acts, strict=True))
        ]


async def _made(toolset: GatewayToolset, part: dict[str, Any]) -> Called:
    """Make a call, or replay it; a failure is told like a result."""
    name, arguments = str(part["tool_name"]), dict(part["args"])
    tool = toolset.tool(name)
    if tool is None:
        return Called(Candidate(name, name.replace("__", "/", 1), {}), arguments, _GONE, failed=True)
    try:
        return Called(tool, arguments, await toolset.call(name, arguments, str(part["tool_call_id"])))
    except ToolFailed as error:
        return Called(tool, arguments, error.message, failed=True)


async def _call(toolset: GatewayToolset, tool: Candidate, index: int, arguments: dict[str, Any]) -> dict[str, Any]:
    sealed = await toolset.sealed(tool, arguments)
    called = _call_id(tool, index, sealed)
    return {"part_kind": "tool-call", "tool_name": tool.name, "args": sealed, "tool_call_id": called}


def _gone(address: str) -> Candidate:
    return Candidate(wire_name(*address.split("/", 1)), address, {})


def _text(text: str, asked: Sequence[Question] = ()) -> list[dict[str, Any]]:
    return [{"part_kind": "text", "content": text, **({"asked": list(asked)} if asked else {})}]


def _call_id(tool: Candidate, index: int, arguments: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([tool.address, arguments], sort_keys=True).encode()).hexdigest()
    return f"{index}-{digest[:12]}"
