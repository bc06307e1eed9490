"""The gateway: the only door."""
