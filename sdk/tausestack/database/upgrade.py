"""Running a service's Alembic revisions on an open connection."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from tausestack.database.schema import Schema
from tausestack.errors import Unavailable

# Alembic's `op` and `context` are globals of the process.
_one_at_a_time = threading.Lock()


def upgrade(schema: Schema, raw: sa.Connection, *, schema_name: str | None = None, revision: str = "head") -> None:
    """Bring a database to a revision within the connection's transaction, which the caller commits."""
    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent / "alembic_env"))
    config.set_main_option("version_locations", _escaped(schema.folder))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = raw
    config.attributes["schema_name"] = schema_name
    with _one_at_a_time:
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise Unavailable(
                f"the database of '{schema.service}' is not one that this release knows: {error}"
            ) from error


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
