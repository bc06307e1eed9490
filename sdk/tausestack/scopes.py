"""Roles, scopes, and the one question asked of them: does this grant cover that need?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Literal

TOOLS_READ = "tools:read"
TOOLS_CALL = "tools:call"
SERVERS_MANAGE = "servers:manage"
RUNS_WRITE = "runs:write"
TENANT_ADMIN = "tenant:admin"
OPERATOR = "operator"
"""Held by the operator alone: makes tenants and their keys, and nothing inside them."""
ANY = "any"
"""Declared by a tool that every credential of the tenant may call, whatever its role."""
OR = "|"
"""Between the scopes of a need that any of them covers."""
SYSTEM = "system"
"""Held by our own processes alone; a tool that needs it is shown to nobody else."""
OWN = frozenset({OPERATOR, SYSTEM})
"""The stack's own scopes: no role of a tenant holds them, and a tool that needs one is shown to no tenant."""

Role = Literal["admin", "developer", "agent", "viewer"]
ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "admin": frozenset({TOOLS_READ, TOOLS_CALL, SERVERS_MANAGE, RUNS_WRITE, TENANT_ADMIN}),
        "developer": frozenset({TOOLS_READ, TOOLS_CALL, SERVERS_MANAGE, RUNS_WRITE}),
        "agent": frozenset({TOOLS_CALL, RUNS_WRITE}),
        "viewer": frozenset({TOOLS_READ}),
    }
)
"""What each role of a tenant may do."""

MAX_SCOPES = 64
"""How many scopes a key, a user or a token may be narrowed to."""
_TOOLS = re.compile(r"tools:call:(\*|[a-z0-9][a-z0-9-]{0,39}/(\*|[A-Za-z0-9_.-]{1,128}\*?))")


def call_scope(server: str, tool: str) -> str:
    """Return the scope that calling one tool needs."""
    return f"{TOOLS_CALL}:{server}/{tool}"


def needed(server: str, tool: str, declared: Collection[str]) -> tuple[str, ...]:
    """Return the scopes a call needs: those the tool declares, else its own call scope.

    A declared `tools:call…` pattern stands for the tool's own call scope; `any` needs nothing. `a|b` is one need, which
    either scope covers, and in it `tools:call:{server}/` what lets anything of a server be called.
    """
    if ANY in declared:
        return ()
    own = call_scope(server, tool)
    found = {own if scope.startswith(TOOLS_CALL) else scope for scope in declared}
    return tuple(sorted(found)) or (own,)


def is_grantable(scope: str) -> bool:
    """Return whether a scope may be given to a key, a user or a token: a role's own, or a pattern of tools.

    Patterns are `tools:call:{server}/{tool}`, `tools:call:{server}/{prefix}*`, `tools:call:{server}/*`, `tools:call:*`.
    """
    return scope in ROLES["admin"] or _TOOLS.fullmatch(scope) is not None


def within(limits: Iterable[Iterable[str]]) -> frozenset[str]:
    """Return the scopes that every limit covers: what is left where one narrows another."""
    sets = [frozenset(limit) for limit in limits]
    every = frozenset[str]().union(*sets)
    return frozenset(scope for scope in every if all(covers(limit, scope) for limit in sets))


def covers(grants: Iterable[str], need: str) -> bool:
    """Return whether any grant covers a need.

    `tools:call` covers `tools:call:billing/pay_invoice`, and so do `tools:call:billing/*` and `tools:call:*`.
    A `*` stands only at a grant's end, and never for a scope of the stack's own.
    """
    return any(_covers(grant, need) for grant in grants)


def reaches(bounds: Iterable[Iterable[str]], server: str) -> bool:
    """Return whether every bound lets something of a server be called."""
    return all(covers(bound, f"{TOOLS_CALL}:{server}/") for bound in bounds)


def missing(bounds: Iterable[Iterable[str]], needs: Iterable[str]) -> str | None:
    """Return the first need that some bound does not cover, or None; every bound has to cover every need."""
    limits = [frozenset(bound) for bound in bounds]
    return next((need for need in needs if not all(covers(limit, need) for limit in limits)), None)


def _covers(grant: str, need: str) -> bool:
    if grant == need or (need.endswith("/") and grant.startswith(need)):
        return True
    if OR in need:
        return any(_covers(grant, each) for each in need.split(OR))
    if grant.endswith("*"):
        return need.startswith(grant[:-1]) and need not in OWN
    return need.startswith(grant + ":")
