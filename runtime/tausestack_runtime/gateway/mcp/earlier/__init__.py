"""Clients of earlier versions of MCP, which keep a session: translated here, at the edge."""
