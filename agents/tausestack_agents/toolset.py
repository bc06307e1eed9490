"""The tools of one step: pydantic-ai's toolset over the gateway, each call journaled."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema, to_jsonable_python

from tausestack.agents import ApprovalRule
from tausestack.confidential import restored, shown
from tausestack.contract import META_TOOL, tool_policy
from tausestack.errors import ApprovalRequired, Forbidden, InDoubt, TauseError, Unauthenticated
from tausestack.raw import as_object, object_at
from tausestack_agents.domain import ENDED, Decision, call_key
from tausestack_agents.failpoints import passing
from tausestack_agents.gateway import Delegation, text_of
from tausestack_agents.grounds import FOREIGN, Grounds
from tausestack_agents.journal import Journal, ToolCall
from tausestack_agents.lines import Line
from tausestack_agents.planner.choice import Candidate
from tausestack_agents.spending import Spending

_ANY = SchemaValidator(schema=core_schema.any_schema())
"""The gateway checks arguments against the tool's own schema, and says what is wrong."""
RETRIES = 2
"""How often a call that broke midway is sent again before it counts as in doubt."""
_DOUBT = "It may or may not have taken effect"
_LEFT = "Nobody knows whether this call took effect; a person decided not to repeat it"
ESCALATE = Candidate(
    "agents__escalate",
    "agents/escalate",
    {
        "name": "escalate",
        "description": "Ask a person and wait for the answer: where only somebody of the business can know or decide "
        "it, or where the request asks for a person.",
        "inputSchema": {
            "type": "object",
            "properties": {"question": {"type": "string", "minLength": 1, "maxLength": 4000}},
            "required": ["question"],
            "additionalProperties": False,
        },
        "_meta": {META_TOOL: {"side_effect": "read"}},
    },
)
"""What an agent hands a question to a person with; it is answered by whoever resumes the run."""


class Held(Exception):
    """A tool call waits for a person: the graph has to stop here and come back with a decision."""

    def __init__(self, interrupt: dict[str, Any]) -> None:
        super().__init__(interrupt["kind"])
        self.interrupt = interrupt


class GatewayToolset(AbstractToolset[None]):
    """The tools that a step was given, called under the run's delegation.

    A call with a journaled result is replayed. One that is held, or whose outcome nobody knows, raises `Held` until a
    decision on it is given.
    """

    def __init__(
        self,
        tools: Sequence[Candidate],
        *,
        task: str,
        journal: Journal,
        delegation: Delegation,
        decisions: Mapping[str, Decision],
        spending: Spending,
        rules: Sequence[ApprovalRule] = (),
        grounds: Grounds | None = None,
    ) -> None:
        """`rules` say which calls wait for a person beside those that the gateway holds by itself.

        With `grounds`, so do those that change something after a tool has told the run anything, and that people did
        not ask for: what tools return is not to be obeyed.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._rules = rules
        self._grounds = grounds
        self._foreign: set[str] = set()
        """Calls that nobody asked for in these words."""
        self._task = task
        self._journal = journal
        self._delegation = delegation
        self._decisions = decisions
        self._spending = spending

    @property
    def id(self) -> str:
        """The toolset's name."""
        return "gateway"

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        """Return the tools, one after the other in use: a held call stops the step with no other under way."""
        return {
            name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=name,
                    description=str(tool.raw.get("description") or tool.address),
                    parameters_json_schema=tool.schema or {"type": "object", "properties": {}},
                    sequential=True,
                    metadata={"address": tool.address},
                ),
                max_retries=1,
                args_validator=_ANY,
            )
            for name, tool in self._tools.items()
        }

    def tool(self, name: str) -> Candidate | None:
        """Return the tool of a name, or None."""
        return self._tools.get(name)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> Any:
        """Call a tool, or replay what the journal has; a failure is told to the model and to nobody else."""
        return await self.call(name, tool_args, ctx.tool_call_id or name)

    async def call(self, name: str, arguments: dict[str, Any], identifier: str) -> Any:
        """Make the call that has this identifier in its task, once however often it is asked for.

        Raises `Held` where it waits, and `ToolFailed` where it failed.
        """
        chosen = self._tools[name]
        server, _, own_name = chosen.address.partition("/")
        line = await self._journal.find(self._task, identifier)
        if _starts_a_run(chosen.address):
            arguments = {name: value for name, value in arguments.items() if name != "wait"}
        arguments = arguments if line is None else line.arguments or {}
        call = ToolCall(
            self._task, identifier, server, own_name, arguments, call_key(self._journal.run, self._task, identifier)
        )
        if chosen.address == ESCALATE.address:
            return await self._escalated(call, line)
        policy = tool_policy(chosen.raw)
        safe = policy.retriable or policy.keyed
        if (line is None or line.status in {"intent", "waiting"}) and await self._is_foreign(chosen, arguments):
            self._foreign.add(identifier)
        if line is None:
            self._spending.tool_call()
            call = replace(call, arguments=await self.sealed(chosen, arguments))
            await self._journal.intend(call)
            return await self._send(call, None, safe=safe)
        if line.status == "done":
            return _content(line.result)
        if line.status in {"failed", "rejected"}:
            raise ToolFailed(str((as_object(line.error) or {}).get("message", "")))
        if line.status == "waiting" and (other := _other_run(line)) is not None:
            # Not the call again: under its key it is answered as it was when it was made.
            return await self._settled(call, await self._delegation.call("agents", "get_run", {"run": other}))
        if line.status == "waiting":
            return await self._decided(call, line.approval, safe=safe)
        if line.status == "intent" and safe:
            return await self._send(call, line.approval, safe=safe)
        return await self._doubted(call, line)

    async def sealed(self, tool: Candidate, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return arguments for a tool as they may be kept: the secrets among them sealed."""
        return await self._delegation.sealed(tool.address, tool.schema, arguments)

    def decide(self, call: str, decision: Mapping[str, Any]) -> None:
        """Take a decision that came while the step goes on."""
        self._decisions = {**self._decisions, call: Decision(**decision)}

    async def own(
        self, name: str, arguments: dict[str, Any], identifier: str, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Do what is no tool's call once, as a call of `own/{name}`; one that broke midway waits for a decision."""
        line = await self._journal.find(self._task, identifier)
        key = call_key(self._journal.run, self._task, identifier)
        call = ToolCall(self._task, identifier, "own", name, arguments, key)
        if line is None:
            self._spending.tool_call()
            await self._journal.intend(call)
        elif line.status == "done":
            return object_at(line.result, "structuredContent").get("result")
        elif line.status in {"failed", "rejected"}:
            raise ToolFailed(str((as_object(line.error) or {}).get("message", "")))
        elif line.status != "waiting":
            await self._repeated(call, line)
            await self._journal.edit(call)
        try:
            result = as_plain(await work())
        except Held:
            await self._journal.settle(call, "waiting")  # for a call within it, which is journaled itself
            raise
        await self._journal.settle(call, "done", result={"structuredContent": {"result": result}, "isError": False})
        return result

    async def _send(self, call: ToolCall, approval: str | None, *, safe: bool) -> Any:
        try:
            passing("call.before", call.server)
            self._journal.check_held()
            result = await self._call(call, approval, safe=safe)
            passing("call.after", call.server)
        except ApprovalRequired as error:
            await self._journal.settle(call, "waiting", approval=str(error.data.get("approval", "")))
            expires = {"expires_at": error.data["expires_at"]} if "expires_at" in error.data else {}
            raise Held({**self._interrupt(call, str(error.data.get("approval", ""))), **expires}) from error
        except Forbidden as error:
            decided = error.data.get("decision")
            told = {**_told(error), **({"code": "approval_expired"} if decided == "expired" else {})}
            await self._journal.settle(call, "rejected" if decided in {"reject", "expired"} else "failed", error=told)
            raise ToolFailed(error.message) from error
        except InDoubt as error:
            raise await self._ask(call, error.message) from error
        except Unauthenticated:
            raise
        except TauseError as error:
            await self._journal.settle(call, "failed", error=_told(error))
            raise ToolFailed(error.message) from error
        return await self._settled(call, result)

    async def _settled(self, call: ToolCall, result: dict[str, Any]) -> Any:
        """Journal what came of a call, and return what the model is told of it."""
        if _starts_a_run(f"{call.server}/{call.tool}") and not result.get("isError"):
            result = await self._ran(call, result)
        if result.get("isError"):
            text = text_of(result) or "The tool reported a failure without saying why"
            await self._journal.settle(
                call, "failed", result=_kept(result), error={"code": "tool_error", "message": text}
            )
            raise ToolFailed(text)
        await self._journal.settle(call, "done", result=_kept(result))
        return _content(result)

    async def _call(self, call: ToolCall, approval: str | None, *, safe: bool) -> dict[str, Any]:
        """Send a call; one that broke midway is sent again, under the same key, where that can do no harm."""
        # A grant is claimed however the arguments were edited since.
        hold = approval is not None or self._rule(call) is not None
        for _ in range(RETRIES if safe else 0):
            try:
                return await self._delegation.call(
                    call.server, call.tool, call.arguments, key=call.key, approval=approval, hold=hold
                )
            except InDoubt:
                continue
        return await self._delegation.call(
            call.server, call.tool, call.arguments, key=call.key, approval=approval, hold=hold
        )

    async def _is_foreign(self, tool: Candidate, arguments: Mapping[str, Any]) -> bool:
        """Return whether a call may have been made up by what a tool returned."""
        if self._grounds is None or self._grounds.cover(tool, arguments):
            return False
        return self._grounds.outside or await self._journal.has_results()

    def _rule(self, call: ToolCall) -> ApprovalRule | None:
        """Return the rule of an agent's spec by which a call waits for a person, or None.

        What starts another run waits only where it is named: that run is under the same rules itself.
        """
        address = f"{call.server}/{call.tool}"
        chosen = next((tool for tool in self._tools.values() if tool.address == address), None)
        effect = "write" if chosen is None else tool_policy(chosen.raw).side_effect
        rules = (rule for rule in self._rules if rule.tool is not None or not _starts_a_run(address))
        own = next((rule for rule in rules if rule.asks(address, effect, call.arguments)), None)
        return own if own is not None or call.call not in self._foreign else FOREIGN

    def _interrupt(self, call: ToolCall, approval: str | None) -> dict[str, Any]:
        """Return what a run waits for where a call waits for its approval, with the reason that the rule gives."""
        found, rule = _interrupt("approval", call, approval), self._rule(call)
        return found if rule is None or not rule.reason else {**found, "reason": rule.reason}

    async def _ran(self, call: ToolCall, result: dict[str, Any]) -> dict[str, Any]:
        """Return what came of another run that a call started; raises `Held` until that has ended."""
        run = as_object(result.get("structuredContent")) or {}
        about = {"run": run.get("id"), "agent": run.get("agent"), "status": run.get("status")}
        if run.get("status") not in ENDED:
            await self._journal.settle(call, "waiting", result={"structuredContent": about})
            raise Held({**_place("run", call), "run": about["run"]})
        if run["status"] != "success":
            why = (as_object(run.get("error")) or {}).get("message", "")
            text = f"The run {about['run']} of {about['agent']} ended as {run['status']}: {why}"
            return {"isError": True, "content": [{"type": "text", "text": text}], "structuredContent": about}
        return {"structuredContent": {**about, "output": run.get("output")}, "isError": False}

    async def _escalated(self, call: ToolCall, line: Line | None) -> Any:
        """Return what a person answered; raises `Held` until somebody has."""
        decision = self._decisions.get(f"{self._task}/{call.call}")
        if line is None:
            await self._journal.intend(call)
            await self._journal.settle(call, "waiting")
        elif line.status == "done":
            return _content(line.result)
        elif line.status in {"failed", "rejected"}:
            raise ToolFailed(str((as_object(line.error) or {}).get("message", "")))
        if decision is None:
            raise Held({**_place("input", call), "message": str(call.arguments.get("question", ""))})
        if not decision.approve:
            text = f"Nobody answered: {decision.reason}" if decision.reason else "Nobody answered"
            await self._journal.settle(call, "rejected", error={"code": "rejected", "message": text})
            raise ToolFailed(text)
        answer = {"structuredContent": {"answer": decision.input}, "isError": False}
        await self._journal.settle(call, "done", result=answer)
        return answer["structuredContent"]

    async def _decided(self, call: ToolCall, approval: str | None, *, safe: bool) -> Any:
        decision = self._decisions.get(f"{self._task}/{call.call}")
        if decision is None:
            raise Held(self._interrupt(call, approval))
        if not decision.approve:
            text = (
                f"A person rejected this call: {decision.reason}" if decision.reason else "A person rejected this call"
            )
            await self._journal.settle(call, "rejected", error={"code": "rejected", "message": text})
            raise ToolFailed(text)
        return await self._approved(call, decision, approval, safe=safe)

    async def _doubted(self, call: ToolCall, line: Line) -> Any:
        return await self._approved(call, await self._repeated(call, line), line.approval, safe=False)

    async def _repeated(self, call: ToolCall, line: Line) -> Decision:
        """Return the decision to repeat a call whose outcome nobody knows; each decision is for one doubt alone.

        Raises `Held` until there is one, and `ToolFailed` where it is to leave the call.
        """
        asked = _times(line)
        decision = self._decisions.get(_doubt(call, asked)) if line.status == "in_doubt" else None
        if decision is None:
            if line.status == "in_doubt":
                raise Held(_interrupt("decision", call, None, asked))
            raise await self._ask(call, _DOUBT)
        if decision.approve:
            return decision
        await self._journal.settle(call, "rejected", error={"code": InDoubt.code, "message": _LEFT})
        raise ToolFailed(_LEFT)

    async def _ask(self, call: ToolCall, text: str) -> Held:
        """Note that a call is in doubt, once more where it was before, and return what asks a person."""
        line = await self._journal.find(call.task, call.call)
        asked = 1 if line is None else _times(line) + 1
        await self._journal.settle(call, "in_doubt", error={"code": InDoubt.code, "message": text, "times": asked})
        return Held(_interrupt("decision", call, None, asked))

    async def _approved(self, call: ToolCall, decision: Decision, approval: str | None, *, safe: bool) -> Any:
        """Send a call that was held, with a person's arguments where they gave others."""
        if decision.arguments is not None:
            call = replace(call, arguments=restored(decision.arguments, call.arguments))
        await self._journal.edit(call, approved=not decision.asks_again)
        return await self._send(call, approval, safe=safe)


def as_plain(value: Any) -> Any:
    """Return what own code gave as JSON that every reader takes: what is no number as null, no half of a character."""
    text = json.dumps(to_jsonable_python(value), ensure_ascii=False).encode("utf-8", "replace")
    return json.loads(text, parse_constant=lambda _: None)


def _told(error: TauseError) -> dict[str, str]:
    """What of an error is journaled."""
    return {"code": error.code, "message": error.message}


def _starts_a_run(address: str) -> bool:
    """Whether a tool starts a run of another agent, which goes on by itself."""
    return address in {"agents/run", "agents/run_team"} or address.startswith("agents/ask-")


def _other_run(line: Line) -> str | None:
    """Return the run that a call waits for, or None."""
    found = object_at(line.result, "structuredContent").get("run")
    return found if isinstance(found, str) else None


def _place(kind: str, call: ToolCall) -> dict[str, Any]:
    place = f"{call.task}/{call.call}"
    return {"kind": kind, "call": place, "server": call.server, "tool": call.tool, "arguments": shown(call.arguments)}


def _times(line: Line) -> int:
    """Return how often a call was in doubt."""
    return int((as_object(line.error) or {}).get("times", 0))


def _doubt(call: ToolCall, asked: int) -> str:
    """Return what the decision on a doubt goes by: not that on an approval, nor on an earlier doubt."""
    return f"{call.task}/{call.call}/{asked}"


def _interrupt(kind: str, call: ToolCall, approval: str | None, asked: int = 0) -> dict[str, Any]:
    found = _place(kind, call)
    if approval is not None:
        found["approval"] = approval
    else:
        found["asked"] = _doubt(call, asked)
        found["message"] = "This call broke midway: approve to send it again, reject to leave it"
    return found


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    """What of a result is journaled."""
    return {name: result[name] for name in ("content", "structuredContent", "isError") if name in result}


def _content(result: dict[str, Any]) -> Any:
    structured = result.get("structuredContent")
    return structured if structured is not None else text_of(result)
