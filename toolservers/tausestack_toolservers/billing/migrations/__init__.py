"""Revisions of the billing service's tables."""
