"""The tools of a run: what the tenant has that the agent may use, and what search finds for each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import structlog

from tausestack.agents import AgentSpec
from tausestack.contract import META_TOOL
from tausestack.errors import TauseError, Unauthenticated
from tausestack.names import wire_name
from tausestack_agents.gateway import Delegation, text_of
from tausestack_agents.planner.choice import Candidate, Rarity, asked, score

logger = structlog.get_logger("agents")


class ToolBox:
    """The tools that an agent may use in a run, asked for once."""

    def __init__(self, delegation: Delegation, spec: AgentSpec) -> None:
        self._delegation = delegation
        self._spec = spec
        self._tools: dict[str, Candidate] | None = None
        self._rarity: Rarity | None = None
        self._found: dict[str, list[str]] = {}

    async def all(self) -> dict[str, Candidate]:
        """Return every tool by address, in the order of addresses."""
        if self._tools is None:
            listed = await self._delegation.list_tools()
            found = [_candidate(tool) for tool in listed]
            self._tools = {tool.address: tool for tool in found if self._spec.takes(tool.address)}
        return self._tools

    async def search(self, part: str) -> list[str]:
        """Return the addresses of the best tools for a part of a request: the index's, and those whose words match.

        Without the index's answer, as where the agent's person may not search it, it goes by words alone.
        """
        if not self._spec.tools and not self._spec.servers:
            return []
        if part in self._found:
            return self._found[part]
        known = await self.all()
        few = len(known) <= self._spec.tools_per_step  # so few that all are given: only their order is at stake
        hits = [] if few else [address for address in await self._index(part) if address in known]
        verbs, nouns = asked(part)
        everything = list(known.values())
        rarity = self._rarity = self._rarity or Rarity(everything)
        scored = sorted((-score(verbs, nouns, tool, rarity), tool.address) for tool in everything)
        by_words = [address for points, address in scored if points < 0]
        merged = [address for pair in _interleaved(hits, by_words) for address in pair]
        if few:
            merged += known
        self._found[part] = list(dict.fromkeys(merged))[: self._spec.tools_per_step]
        return self._found[part]

    async def given(self, addresses: Sequence[str]) -> list[Candidate]:
        """Return tools by address, ranked as given; those that are gone since are left out."""
        known = await self.all()
        return [replace(known[address], rank=rank) for rank, address in enumerate(addresses) if address in known]

    async def _index(self, part: str) -> list[str]:
        query = {"query": part[:500], "limit": self._spec.tools_per_step}
        try:
            result = await self._delegation.call("registry", "find_tools", query)
        except Unauthenticated:
            raise
        except TauseError as error:
            return self._unanswered(error.code, error.message)
        if result.get("isError"):
            return self._unanswered("tool_error", text_of(result))
        hits = cast("list[dict[str, Any]]", result["structuredContent"]["tools"])
        return [str(hit["address"]) for hit in hits]

    def _unanswered(self, code: str, reason: str) -> list[str]:
        acting = self._delegation.principal
        logger.warning(
            "the index was not searched: tools are chosen by words alone",
            tenant=acting.tenant,
            run=acting.run,
            code=code,
            reason=reason,
        )
        return []


def _interleaved(one: Sequence[str], other: Sequence[str]) -> list[list[str]]:
    return [list(one[index : index + 1]) + list(other[index : index + 1]) for index in range(max(len(one), len(other)))]


def _candidate(tool: dict[str, Any]) -> Candidate:
    """Return a tool as `/api/v2` lists it in the shape of its definition."""
    raw: dict[str, Any] = {
        "name": tool["name"],
        "description": tool.get("description") or "",
        "inputSchema": tool.get("input_schema") or {"type": "object"},
        "_meta": {
            META_TOOL: {name: tool[name] for name in ("side_effect", "idempotent", "keyed", "approval") if name in tool}
        },
    }
    if tool.get("output_schema"):
        raw["outputSchema"] = tool["output_schema"]
    if tool.get("title"):
        raw["title"] = tool["title"]
    return Candidate(wire_name(tool["server"], tool["name"]), tool["address"], raw)
