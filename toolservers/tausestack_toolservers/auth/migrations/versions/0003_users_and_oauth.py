"""People, what they let clients do, and what a key is narrowed to."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import create_tenant_index, create_tenant_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and create the tables."""
    op.add_column("api_keys", sa.Column("scopes", sa.JSON()))
    op.add_column("api_keys", sa.Column("last_used_at", sa.Text()))
    create_tenant_table(
        "users",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("scopes", sa.JSON()),
        sa.Column("password", sa.Text()),
        sa.Column("external", sa.Text()),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Text()),
        sa.Column("last_login_at", sa.Text()),
        sa.UniqueConstraint("external"),
    )
    create_tenant_table(
        "oauth_grants",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("client_name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
    )
    create_tenant_index("oauth_grants_by_user", "oauth_grants", ["user"])
    create_tenant_table(
        "oauth_codes",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("grant", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
    )
    create_tenant_table(
        "oauth_refresh_tokens",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("grant", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
    )
    create_tenant_index("oauth_refresh_tokens_by_grant", "oauth_refresh_tokens", ["grant"])
    create_tenant_table(
        "oauth_ended",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
