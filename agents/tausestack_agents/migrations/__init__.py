"""The migrations of the agents service."""
