"""With this folder on PYTHONPATH a process is without the application's tenant filter."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg

from tausestack.database import own_rows

own_rows.OwnRows = PGCompiler_psycopg
