"""Tenants, their API keys and roles: who may do what."""
