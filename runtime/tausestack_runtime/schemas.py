"""The schemas of a stack: its services', its gateway's, and those of servers that are named."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from tausestack.database import Schema
from tausestack_runtime.gateway.tables import SCHEMA
from tausestack_runtime.services import SERVICES
from tausestack_runtime.settings import StartError


def schemas(others: Sequence[str] = ()) -> list[Schema]:
    """Return the schemas of all that keeps tenants' data; `others` are more servers as `package.module:attribute`."""
    named = [spec.tables for spec in SERVICES if spec.tables is not None]
    return [SCHEMA, *(_schema(where) for where in (*named, *others))]


def _schema(where: str) -> Schema:
    name, _, attribute = where.partition(":")
    try:
        found: Any = getattr(importlib.import_module(name), attribute, None)
    except ImportError as error:
        raise StartError(f"{name} can't be imported: {error}") from error
    schema = getattr(found, "schema", found)
    if not isinstance(schema, Schema):
        raise StartError(f"{where} is neither a schema nor a server that has one: name it as package.module:attribute")
    return schema
