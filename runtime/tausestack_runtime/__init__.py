"""The runtime: supervisor, gateway, ledger, adapters and command line."""
