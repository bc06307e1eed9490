"""The MCP doors: the merged endpoint and one endpoint a server."""
