"""Databases by tenant, and by nothing else: a SQLite file per tenant and service, or PostgreSQL row-level security."""

from tausestack.database.connection import Connection, Parameters, Row, Work
from tausestack.database.schema import OF_TENANT, Schema
from tausestack.database.tenants import TenantDatabases
from tausestack.database.vault import SealedTable, Vault

__all__ = ["OF_TENANT", "Connection", "Parameters", "Row", "Schema", "SealedTable", "TenantDatabases", "Vault", "Work"]
