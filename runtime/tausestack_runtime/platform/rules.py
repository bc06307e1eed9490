"""Which rule decides: a role, what narrows it, or a scope that was given."""

from __future__ import annotations

from collections.abc import Sequence

from tausestack.contract import Principal
from tausestack.scopes import ROLES, covers


def denying(who: Principal, need: str) -> str:
    """Return the rule that keeps somebody from what needs a scope.

    `role:…` where the role never has it; `bound:key`, `bound:grant` where the key or the consent is narrower than the
    role; `bound:agent`, `bound:client` where the agent, or the client that exchanged a token, is.
    """
    if not covers(_of_roles(who), need):
        return f"role:{who.role}"
    if not covers(who.scopes, need):
        return "bound:key" if who.id.startswith("key:") else "bound:grant"
    return "bound:client" if who.agent is None else "bound:agent"


def allowing(who: Principal, needs: Sequence[str]) -> str:
    """Return the rule that lets somebody: `any` for what everybody may, `role:…`, or the `scope:…` that was given."""
    if not needs:
        return "any"
    given = next(scope for scope in sorted(who.scopes) if covers([scope], needs[0]))
    return f"role:{who.role}" if given in _of_roles(who) else f"scope:{given}"


def _of_roles(who: Principal) -> frozenset[str]:
    return frozenset[str]().union(*(ROLES.get(role, frozenset()) for role in who.role.split(",")))
