"""A loopback gateway for the agents service: what the service needs of the internal door, with effects by key."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tausestack.errors import ApprovalRequired, Forbidden, TauseError, Unauthenticated, to_jsonrpc
from tausestack.limits import exceeded

TOOLS = json.loads((Path(__file__).parents[1] / "agents" / "tools.json").read_text())
PROCESS = "process-credential"

Answer = Callable[[dict[str, Any]], Any]


@dataclass
class Sent:
    """A tool call as the gateway saw it."""

    tenant: str
    address: str
    arguments: dict[str, Any]
    key: str | None
    approval: str | None
    credential: str
    hold: bool = False


@dataclass
class FakeGateway:
    """Speaks what the agents service needs of the gateway's internal door; effects are kept by idempotency key."""

    path: str
    answers: dict[str, Answer] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    """The addresses that every search finds."""
    calls: list[Sent] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)
    tools: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(TOOLS))
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: bool = False
    may_search: bool = True
    decided_early: bool = False
    expires_in: float = 3600
    """How long an approval waits, in seconds."""
    delegations: list[dict[str, Any]] = field(default_factory=list)
    budget_is_spent: bool | str = False
    """Or which budget is."""
    spent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    started: list[tuple[dict[str, Any], str, str | None]] = field(default_factory=list)
    """Runs that were started through it."""
    done: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, list[str]] = field(default_factory=dict)
    nested: Callable[[Sent], Any] | None = None  # calls the service itself for a run, in a thread
    gates: dict[str, threading.Event] = field(default_factory=dict)
    arrived: dict[str, threading.Event] = field(default_factory=dict)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/tenants/{tenant}/servers/{server}/mcp", self._mcp, methods=["POST"]),
                Route("/api/v2/tenants/{tenant}/tools", self._list),
            ]
        )

    def hold(self, address: str) -> threading.Event:
        """Let calls of a tool wait, before they have an effect, until the event that is returned is set."""
        self.gates[address] = threading.Event()
        self.arrived[address] = threading.Event()
        return self.gates[address]

    async def reached(self, address: str) -> None:
        """Wait until a call of a held tool has come in."""
        assert await asyncio.to_thread(self.arrived[address].wait, 20)

    def sent(self, address: str) -> list[Sent]:
        """Return the calls of one tool."""
        return [call for call in self.calls if call.address == address]

    async def _list(self, request: Request) -> Response:
        shown = [
            {
                **{name: tool[name] for name in ("address", "name", "description")},
                "server": tool["address"].split("/")[0],
                "input_schema": tool["inputSchema"],
                "output_schema": tool.get("outputSchema"),
                **_policy(tool),
            }
            for tool in self.tools
        ]
        return JSONResponse({"tools": shown, "next_cursor": None})

    async def _mcp(self, request: Request) -> Response:
        body = await request.json()
        params, meta = body["params"], body["params"]["_meta"]
        credential = request.headers["authorization"].removeprefix("Bearer ")
        sent = Sent(
            request.path_params["tenant"],
            f"{request.path_params['server']}/{params['name']}",
            params["arguments"],
            meta.get("pro.tause/idempotency-key"),
            meta.get("pro.tause/approval"),
            credential,
            meta.get("pro.tause/hold") is True,
        )
        try:
            found = self._tick(sent) if ":schedule:" in sent.credential else await self._answer(sent)
        except TauseError as error:
            return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "error": to_jsonrpc(error)}, error.status)
        text = {"type": "text", "text": json.dumps(found)}
        result = {"content": [text], "structuredContent": found, "isError": False}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": result})

    def _tick(self, sent: Sent) -> Any:
        self.started.append((sent.arguments, sent.credential, sent.key))
        return {"id": f"run_of_{sent.key}", "status": "pending"}

    async def _answer(self, sent: Sent) -> Any:
        if sent.address == "platform/delegate":
            assert (sent.credential, sent.tenant) == (PROCESS, "_system")
            if self.revoked:
                raise Unauthenticated("Whoever this run acts for was revoked")
            self.delegations.append(sent.arguments)
            return {"token": f"delegation:{sent.arguments['tenant']}:{sent.arguments['run']}", "expires_in": 600}
        if sent.address in {"platform/reserve", "platform/settle"}:
            if sent.address == "platform/reserve" and self.budget_is_spent:
                limit = self.budget_is_spent if isinstance(self.budget_is_spent, str) else "tokens_per_month"
                raise exceeded(limit, "tokens", 10, 10, asked=sent.arguments["tokens"])
            self.spent.append((sent.address.partition("/")[2], sent.arguments))
            return {"counted": True}
        if sent.address == "platform/decide_approval":
            held = self.approvals[sent.arguments["id"]]
            held["status"] = "approved" if sent.arguments["decision"] == "approve" else "rejected"
            held["arguments"] = sent.arguments.get("arguments") or held["arguments"]
            return {"id": sent.arguments["id"], "status": held["status"], "arguments": held["arguments"]}
        if sent.address == "platform/withdraw_approvals":
            pending = [held for held in self.approvals.values() if held["status"] == "pending"]
            for held in pending:
                held["status"] = "withdrawn"
            return {"withdrawn": len(pending)}
        if sent.address in {"registry/offer", "platform/seal"}:
            return self._kept(sent)
        assert sent.credential.startswith(f"delegation:{sent.tenant}:")
        if sent.address == "registry/find_tools":
            if not self.may_search:
                raise Forbidden("This credential lacks the scope tools:read", scope="tools:read")
            self.searched.append(sent.arguments["query"])
            return {"tools": [{"address": address} for address in self.finds]}
        self.calls.append(sent)
        self._approve(sent)
        if self.nested is not None and sent.address.startswith("agents/"):
            return await asyncio.to_thread(self.nested, sent)
        return await self._tool(sent)

    def _kept(self, sent: Sent) -> Any:
        if sent.address == "platform/seal":
            return {"arguments": sent.arguments["arguments"]}
        self.offered[sent.tenant] = [tool["name"] for tool in sent.arguments["tools"]]
        return {"kept": True}

    async def _tool(self, sent: Sent) -> Any:
        if sent.address in self.gates:
            self.arrived[sent.address].set()
            await asyncio.to_thread(self.gates[sent.address].wait, 30)
        if sent.key in self.done:
            return self.done[sent.key]
        answer = self.answers.get(sent.address, _echo)
        found = answer(sent.arguments)
        if isinstance(found, TauseError):
            raise found
        self.effects[sent.address] += 1
        if sent.key:
            self.done[sent.key] = found
        return found

    def _approve(self, sent: Sent) -> None:
        tool = next(tool for tool in self.tools if tool["address"] == sent.address)
        if _policy(tool).get("approval") != "agents" and not sent.hold:
            return
        if sent.approval is None:
            known = next((one for one, held in self.approvals.items() if held["key"] == sent.key), None)
            identifier = known or f"apr_{len(self.approvals)}"
            status = "approved" if self.decided_early else "pending"
            self.approvals.setdefault(
                identifier, {"status": status, "arguments": sent.arguments, "key": sent.key, "address": sent.address}
            )
            expires_at = self.approvals[identifier].setdefault(
                "expires_at", (datetime.now(UTC) + timedelta(seconds=self.expires_in)).isoformat()
            )
            raise ApprovalRequired("waits for a person's approval", approval=identifier, expires_at=expires_at)
        held = self.approvals[sent.approval]
        if held["status"] == "pending" and held["expires_at"] <= datetime.now(UTC).isoformat():
            raise Forbidden("Its approval has expired", approval=sent.approval, decision="expired")
        if held["status"] == "rejected":
            raise Forbidden("A person rejected this call", approval=sent.approval, decision="reject")
        if held["status"] != "approved" or held["arguments"] != sent.arguments:
            raise Forbidden("The approval is for another call, or not decided", approval=sent.approval)


def _policy(tool: dict[str, Any]) -> dict[str, Any]:
    own = tool.get("_meta", {}).get("pro.tause/tool")
    return own or {"side_effect": "read" if tool.get("annotations", {}).get("readOnlyHint") is True else "external"}


def _echo(arguments: dict[str, Any]) -> Any:
    return {"echo": arguments}
