"""A service's schema: its tables, and where its migrations are."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tausestack.names import check_server

if TYPE_CHECKING:
    from tausestack.database.vault import SealedTable

OF_TENANT: dict[Any, Any] = {"tausestack": "tenant"}
"""The `info` of a column that names whose a row is: rows in `_system` that end with a tenant, and go where it goes."""


def owner_column(table: sa.Table) -> sa.Column[Any] | None:
    """Return the column of a table that is marked by `OF_TENANT`, or None."""
    return next((column for column in table.columns if column.info.items() >= OF_TENANT.items()), None)


@dataclass(frozen=True)
class Schema:
    """The tables of one service and the package (`migrations`) that holds its Alembic revisions in `versions/`.

    Tables never mention the tenant: the file, or the row-level policy, is the tenant. Only in `_system` a row may be
    about one; the column that says so bears `info=OF_TENANT`.
    """

    service: str
    metadata: sa.MetaData
    migrations: str
    sealed: Sequence[SealedTable] = ()
    """The tables among them that hold sealed values."""
    idle_seconds: float = 0
    """After so long PostgreSQL ends a transaction in which nothing happens, lest a process that was frozen in one keep
    others from the tenant's; 0: never."""

    def __post_init__(self) -> None:
        check_server(self.service)

    @cached_property
    def folder(self) -> Path:
        """Where the revisions are."""
        spec = importlib.util.find_spec(self.migrations)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise ValueError(f"{self.migrations} is no importable package of migrations")
        return Path(places[0]) / "versions"

    @cached_property
    def head(self) -> str:
        """The newest revision, read from the files without importing Alembic, which most starts don't need."""
        parents = dict(_identity(path) for path in sorted(self.folder.glob("*.py")))
        heads = parents.keys() - {parent for some in parents.values() for parent in some}
        if len(heads) != 1:
            raise ValueError(f"{self.migrations} must have one newest revision, not {sorted(heads)}")
        return heads.pop()


def _identity(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a revision file's own id and its parents'."""
    found: dict[str, object] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name) and target.id in {"revision", "down_revision"}:
                found[target.id] = ast.literal_eval(node.value)
    revision, parent = found.get("revision"), found.get("down_revision")
    # It is part of a file's name.
    if not isinstance(revision, str) or not revision.replace("_", "").isalnum():
        raise ValueError(f"{path.name}: `revision` must be a word of letters, digits and _")
    if parent is None or isinstance(parent, str):
        return revision, (parent,) if parent else ()
    raise ValueError(f"{path.name}: `down_revision` must be one revision or None")
