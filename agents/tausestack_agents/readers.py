"""Who reads what runs, threads and schedules say."""

from __future__ import annotations

from tausestack.contract import Principal
from tausestack.errors import Forbidden
from tausestack.scopes import RUNS_WRITE, TOOLS_READ, covers, reaches


def check_reader(principal: Principal) -> None:
    """Raise `Forbidden` for who may neither read in the tenant, nor start runs, nor call anything of the agents'."""
    for bound in principal.limits:
        if not (covers(bound, TOOLS_READ) or covers(bound, RUNS_WRITE) or reaches([bound], "agents")):
            raise Forbidden(f"This credential lacks the scope {TOOLS_READ}", scope=TOOLS_READ)
