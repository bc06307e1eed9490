"""Revisions of the storage service's tables."""
