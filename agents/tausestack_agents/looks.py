"""What is done when a timer has run out, by its kind."""

from __future__ import annotations

from tausestack_agents import expiring, schedules
from tausestack_agents.expiring import Expiries
from tausestack_agents.gateway import GatewayClient
from tausestack_agents.keeping import State
from tausestack_agents.schedules import Scheduler
from tausestack_agents.timers import Look


def looks(state: State, gateway: GatewayClient) -> dict[str, Look]:
    """Return what looks at each kind."""
    return {
        schedules.KIND: Scheduler(state.databases, gateway).look,
        expiring.KIND: Expiries(state.databases, state.make_due).look,
    }
