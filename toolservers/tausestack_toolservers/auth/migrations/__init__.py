"""Revisions of the auth service's tables."""
