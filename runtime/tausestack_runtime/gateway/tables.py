"""The gateway's own tables, in each tenant's database."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Schema

metadata = sa.MetaData()

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("tool", sa.Text, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Text, nullable=False),
    sa.Column("decided_at", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("policy", sa.Text, nullable=False, default=""),
)
"""`digest` is the arguments', `policy` the version of the tool's policy; a grant is used up once it is `used`."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("expires_at", sa.Text, nullable=False),
)
"""What the sessions of earlier clients changed; a session that changed nothing has no row."""

spending = sa.Table(
    "spending",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
)
"""What language models used in a calendar month, what is reserved among it; the cost in millionths of a US dollar.

`month` is `2026-11`, or `2026-11/agent` for what one agent used of it.
"""

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
"""Each request to a model: what it may use at most, then what it did."""

SCHEMA = Schema("gateway", metadata, "tausestack_runtime.gateway.migrations")
