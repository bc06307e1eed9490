"""The kit: what MCP servers of the house, and of everybody else, are written with."""

from tausestack.contract import ToolPolicy, tool_policy_schema
from tausestack.mcp.context import Context
from tausestack.mcp.earlier import tool
from tausestack.mcp.serve import serve_socket
from tausestack.mcp.server import Server
from tausestack.mcp.service import Service, ServiceEnv

__all__ = ["Context", "Server", "Service", "ServiceEnv", "ToolPolicy", "serve_socket", "tool", "tool_policy_schema"]
