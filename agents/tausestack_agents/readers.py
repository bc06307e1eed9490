"""Who reads what runs, threads and schedules say."""

from __future__ import annotations

from tausestack.contract import Principal
from tausestack.errors import Forbidden
from tausestack.scopes import OR, RUNS_WRITE, TOOLS_CALL, TOOLS_READ, missing

READER = OR.join((TOOLS_READ, RUNS_WRITE, f"{TOOLS_CALL}:agents/"))
"""What reading needs: who reads in the tenant, starts runs, or calls anything of the agents' may."""


def check_reader(principal: Principal) -> None:
    """Raise `Forbidden` for who may not read: of a route that is no tool the gateway does not know what it needs."""
    if missing(principal.limits, [READER]) is not None:
        raise Forbidden(f"This credential lacks the scope {TOOLS_READ}", scope=TOOLS_READ)
