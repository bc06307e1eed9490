"""The tables of a small service that the contract tests run on."""

import sqlalchemy as sa

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("balance", sa.Integer(), nullable=False),
    sa.Column("settings", sa.JSON()),
    sa.Column("closed", sa.Boolean(), nullable=False, server_default=sa.false()),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("account", sa.Text(), sa.ForeignKey("accounts.name", ondelete="CASCADE"), nullable=False),
    sa.Column("reference", sa.Text(), nullable=False),
    sa.UniqueConstraint("account", "reference"),
)
