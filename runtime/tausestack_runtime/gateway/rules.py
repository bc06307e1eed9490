"""Which rule decides: a role, what narrows it, or a scope that was given; lines of the ledger and `explain` say it."""

from __future__ import annotations

from functools import lru_cache

from tausestack.contract import Principal
from tausestack.errors import Forbidden
from tausestack.scopes import OPERATOR, OR, OWN, ROLES, covers


class Lacking(Forbidden):
    """Somebody lacks what a tool needs; of a need that several scopes cover the first is named."""

    def __init__(self, need: str) -> None:
        scope = need.partition(OR)[0]
        super().__init__(f"This credential lacks the scope {scope}", scope=scope)
        self.need = need


def denying(who: Principal, need: str) -> str:
    """Return the rule that keeps somebody from what needs a scope.

    `operator` for the operator, who makes tenants and nothing in them; `role:…` where the role never has it;
    `bound:key`, `bound:grant` where the key or the consent is narrower than the role; `bound:agent`, `bound:client`
    where the agent, or the client that exchanged a token, is.
    """
    if OPERATOR in who.scopes:
        return "operator"
    if not covers(_of_roles(who.role), need):
        return f"role:{who.role or 'none'}"
    if not covers(who.scopes, need):
        return "bound:key" if who.id.startswith("key:") else "bound:grant"
    return "bound:client" if who.agent is None else "bound:agent"


def allowing(who: Principal, needs: tuple[str, ...]) -> str:
    """Return the rule that lets somebody, who has what is needed.

    `any` for what everybody may, `role:…`, or the `scope:…` that was given; `system` for the stack's own.
    """
    return _allowing(who.role, who.scopes, needs)


@lru_cache(4096)
def _allowing(role: str, scopes: frozenset[str], needs: tuple[str, ...]) -> str:
    if not needs:
        return "any"
    if needs[0] in OWN:
        return "system"
    given = next(scope for scope in sorted(scopes) if covers([scope], needs[0]))
    return f"role:{role}" if given in _of_roles(role) else f"scope:{given}"


def _of_roles(role: str) -> frozenset[str]:
    return frozenset[str]().union(*(ROLES.get(each, frozenset()) for each in role.split(",")))
