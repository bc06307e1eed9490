"""The `platform` server: the tools that the gateway runs itself."""
