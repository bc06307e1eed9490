"""Revisions of the gateway's tenant database."""
