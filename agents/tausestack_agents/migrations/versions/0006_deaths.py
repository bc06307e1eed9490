"""How often the process died that a run had to itself, and where in the run that was."""

import sqlalchemy as sa

from tausestack.database.migrations import add_tenant_column

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Count deaths with the work that is due."""
    for name in ("deaths", "deaths_here", "died_at"):
        add_tenant_column("dispatch", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
