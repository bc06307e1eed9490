"""The kit that servers are written with, ours and yours: tools as plain functions, bound to one tenant a call.

```python
server = Server("inventory", version="1.0.0")

@server.tool("inventory/reserve")
async def reserve(sku: str, quantity: int, ctx: Context) -> Reservation:
    \"\"\"Reserve stock of one item.\"\"\"
```
"""

from __future__ import annotations

from tausestack.contract import ToolPolicy, tool_policy_schema
from tausestack.mcp.client import connect
from tausestack.mcp.context import Context, Secrets
from tausestack.mcp.environment import ServiceEnv
from tausestack.mcp.server import Server
from tausestack.mcp.service import Service
from tausestack.mcp.serving import serve_socket
from tausestack.mcp.tasks import TaskLimits
from tausestack.mcp.tenant_work import Keeper
from tausestack.mcp.tools import tool

__all__ = [
    "Context",
    "Keeper",
    "Secrets",
    "Server",
    "Service",
    "ServiceEnv",
    "TaskLimits",
    "ToolPolicy",
    "connect",
    "serve_socket",
    "tool",
    "tool_policy_schema",
]
