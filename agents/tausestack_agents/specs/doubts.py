"""What can be saved and yet may not be meant: an agent's warnings, for whoever saves it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from tausestack.agents import AgentSpec
from tausestack.scopes import RUNS_WRITE, covers

SPOKEN_OFFLINE = ("es", "en")
"""What the offline planner speaks."""


class Seen(NamedTuple):
    """A tool of the tenant's: the scopes that it needs, and its side effect."""

    scopes: Sequence[str]
    side_effect: str


def doubts(
    spec: AgentSpec, tools: Mapping[str, Seen], agents: Collection[str], *, offline: bool, rated: bool
) -> list[str]:
    """Return what had better be looked at in a spec, each with its field.

    `tools` are the tenant's as they are now, by address; `agents` those that there are; `rated` is whether the
    deployment says what a dollar is in pesos.
    """
    servers = {address.partition("/")[0] for address in tools}
    found = [
        f"servers: '{pattern}' matches no installed server"
        for pattern in spec.servers
        if not any(fnmatchcase(server, pattern.removeprefix("!")) for server in servers)
    ]
    found += [
        f"tools: '{pattern}' matches no tool of the installed servers"
        for pattern in spec.tools
        if not _matched(pattern.removeprefix("!"), tools)
    ]
    if (spec.tools or spec.servers) and not found and not any(spec.takes(address) for address in tools):
        found.append("tools: what they give, the patterns with '!' take away: the agent has no tool")
    found += [
        f"approvals.{place}.tool: '{rule.tool}' matches no tool of the installed servers"
        for place, rule in enumerate(spec.approvals)
        if rule.tool is not None and not _matched(rule.tool, tools)
    ]
    found += [_unreached(spec, address, tools[address].scopes) for address in spec.tools if address in tools]
    unasked = [address for address, seen in tools.items() if _unasked(spec, address, seen)]
    if unasked:
        named = ", ".join(unasked[:5]) + (f" and {len(unasked) - 5} more" if len(unasked) > 5 else "")
        found.append(f"approvals: nobody is asked before {named}: they act outside, or don't say that they only read")
    found += [f"handoffs: there is no agent '{name}'" for name in spec.handoffs if name not in agents]
    found += [] if rated else _pesos(spec)
    return [each for each in found if each] + _languages(spec, offline=offline)


def _pesos(spec: AgentSpec) -> list[str]:
    """Return which budgets are in pesos where nobody can say how much that is."""
    given = {"budget": spec.budget, "monthly": spec.monthly}
    lacking = "it is in COP, and TAUSESTACK_COP_PER_USD says no rate: until the operator sets it each run ends at once"
    return [f"{name}.cost: {lacking}" for name, one in given.items() if one.cost is not None and one.currency == "COP"]


def _matched(pattern: str, tools: Collection[str]) -> bool:
    return any(fnmatchcase(address, pattern) for address in tools)


def _unasked(spec: AgentSpec, address: str, seen: Seen) -> bool:
    external = seen.side_effect == "external" and spec.takes(address)
    return external and not any(rule.asks(address, seen.side_effect, {}) for rule in spec.approvals)


def _unreached(spec: AgentSpec, address: str, needs: Sequence[str]) -> str:
    lacking = [scope for scope in needs if not covers(spec.scopes, scope)]
    if not lacking:
        return ""
    more = ": it starts runs" if RUNS_WRITE in lacking else ""
    return f"scopes: '{address}' needs {', '.join(lacking)}, which the agent is not held to{more}"


def _languages(spec: AgentSpec, *, offline: bool) -> list[str]:
    found: list[str] = []
    for language in spec.languages:
        if isinstance(spec.instructions, dict) and language not in spec.instructions:
            other = next(iter(spec.instructions))
            found.append(f"languages: there are no instructions in '{language}': those in '{other}' are taken")
        if offline and language not in SPOKEN_OFFLINE:
            found.append(
                f"languages: '{language}' is spoken by language models alone, and there is none: without one an agent "
                "answers in Spanish or English"
            )
    return found
