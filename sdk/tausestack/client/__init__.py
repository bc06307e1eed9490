"""Calling a stack: a tenant's tools, servers and agents, over the gateway's REST door.

```python
client = connect(tenant="acme", api_key="tsk_…", url="http://127.0.0.1:8000")
invoice = await client.call("billing/create_invoice", {...}, idempotency_key="order-77")
```
"""

from __future__ import annotations

from tausestack.client.agents import Agents, Event
from tausestack.client.approvals import Approvals
from tausestack.client.client import DEFAULT_URL, Client
from tausestack.client.operator import Operator
from tausestack.client.runs import Interrupt, Run, RunStatus, Step
from tausestack.client.sync import SyncAgents, SyncApprovals, SyncClient

__all__ = [
    "DEFAULT_URL",
    "Agents",
    "Approvals",
    "Client",
    "Event",
    "Interrupt",
    "Operator",
    "Run",
    "RunStatus",
    "Step",
    "SyncAgents",
    "SyncApprovals",
    "SyncClient",
    "connect",
    "connect_operator",
    "connect_sync",
]


def connect(tenant: str, api_key: str, url: str = DEFAULT_URL) -> Client:
    """Return an asynchronous client of a tenant; it opens its connections on first use.

    Close it with `async with` or `aclose`.
    """
    return Client(tenant, api_key, url)


def connect_sync(tenant: str, api_key: str, url: str = DEFAULT_URL) -> SyncClient:
    """Return a client of a tenant for scripts; close it with `with` or `close`."""
    return SyncClient(tenant, api_key, url)


def connect_operator(operator_key: str, url: str = DEFAULT_URL) -> Operator:
    """Return an asynchronous client of the operator, who makes tenants and their keys and nothing inside them."""
    return Operator(operator_key, url)
