"""`tausestack db …`: the revisions that tenants' databases are at, and bringing all of them to the newest."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tausestack_runtime.cli.connection import Refusal
from tausestack_runtime.cli.output import JsonOption, show_json, show_table
from tausestack_runtime.settings import Settings, read_settings

if TYPE_CHECKING:
    from tausestack.database import Schema
    from tausestack.database.bulk import Standing

db_app = typer.Typer(help="Tenants' databases: which revisions they are at, and migrating them.", rich_markup_mode=None)

DataOption = Annotated[Path | None, typer.Option("--data", help="the data folder (TAUSESTACK_DATA, else .tausestack)")]
UrlOption = Annotated[
    str | None, typer.Option("--database-url", help="the PostgreSQL URL, as the owner's role (TAUSESTACK_DATABASE_URL)")
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="MODULE:NAME", help="a server or schema of yours whose data is there too"),
]


@db_app.command("status")
def status(
    data: DataOption = None, database_url: UrlOption = None, server: AlsoOption = None, as_json: JsonOption = False
) -> None:
    """Show how many databases of each service are at the newest revision; nothing is changed."""
    settings = _settings(data, database_url)
    found = [_counted(schema, settings) for schema in _schemas(server or [])]
    if as_json:
        show_json({"current": all(one["current"] == one["databases"] for one in found), "services": found})
    else:
        show_table(found, ("service", "head", "databases", "current", "stale", "unreadable", "revisions"), "nothing")


@db_app.command("migrate")
def migrate(
    data: DataOption = None, database_url: UrlOption = None, server: AlsoOption = None, as_json: JsonOption = False
) -> None:
    """Bring every tenant's databases to the newest revision; what is killed midway goes on when it is run again.

    A stack of this release may run meanwhile: it migrates what it touches by itself. With --json, a line each.
    """
    from tausestack.database.bulk import renew_template

    settings = _settings(data, database_url)
    schemas = {schema.service: schema for schema in _schemas(server or [])}
    began = time.monotonic()
    with _beside_no_other_release(settings):
        stale = [one for schema in schemas.values() for one in _standings(schema, settings) if not one.current]
        failed = _migrate_all(stale, schemas, settings, as_json=as_json)
        if settings.database_url is None:
            for schema in schemas.values():
                renew_template(schema, settings.data)
    summary = {
        "migrated": len(stale) - len(failed),
        "failed": failed,
        "seconds": round(time.monotonic() - began, 3),
    }
    if as_json:
        print(json.dumps(summary), flush=True)
    else:
        print(f"{summary['migrated']} databases were migrated in {summary['seconds']} s; all others were current")
    if failed:
        first = failed[0]
        raise Refusal(
            f"{len(failed)} databases could not be migrated and are as they were, such as {first['service']} of "
            f"{first['tenant']} ({first['error']}): mend or restore them, and run it again"
        )


def _settings(data: Path | None, database_url: str | None) -> Settings:
    from tausestack_runtime.supervisor.ground import check_database

    settings = read_settings(data=data, database_url=database_url)
    check_database(settings.data, settings.database_url)
    return settings


def _migrate_all(
    stale: Sequence[Standing], schemas: dict[str, Schema], settings: Settings, *, as_json: bool
) -> list[dict[str, Any]]:
    """Migrate databases one by one, and return those that could not be, with the reason: none keeps another waiting."""
    from tausestack.database.bulk import bring_up

    failed: list[dict[str, Any]] = []
    with _progress(stale, as_json=as_json) as each:
        for done, one in enumerate(each, 1):
            schema = schemas[one.service]
            told: dict[str, Any] = {"service": one.service, "tenant": one.tenant, "from": one.revision}
            began, ok = time.monotonic(), True
            try:
                bring_up(one, schema, settings.data, settings.database_url)
            except Exception as error:  # noqa: BLE001 whatever a revision raises: it is told, and the others are migrated
                ok = False
                failed.append({**told, "error": str(error) or type(error).__name__})
            if as_json:
                told |= {"to": schema.head, "ok": ok, "seconds": round(time.monotonic() - began, 4)}
                print(json.dumps({**told, "done": done, "total": len(stale)}), flush=True)
    return failed


@contextmanager
def _progress(stale: Sequence[Standing], *, as_json: bool) -> Generator[Any]:
    if as_json:
        yield stale
        return
    with typer.progressbar(stale, label="migrating", show_pos=True) as bar:
        yield bar


@contextmanager
def _beside_no_other_release(settings: Settings) -> Generator[None]:
    """Keep a stack from starting meanwhile; beside one of this release, which migrates as well, there is no harm."""
    if settings.database_url is not None:
        yield
        return
    from tausestack_runtime.supervisor.ground import claim_beside

    lock = claim_beside(settings.data)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _counted(schema: Schema, settings: Settings) -> dict[str, Any]:
    revisions, current, unreadable, databases = Counter[str](), 0, 0, 0
    for one in _standings(schema, settings):
        databases += 1
        current += one.current
        unreadable += bool(one.trouble)
        revisions[one.revision or "none"] += 1
    return {
        "service": schema.service,
        "head": schema.head,
        "databases": databases,
        "current": current,
        "stale": databases - current - unreadable,
        "unreadable": unreadable,
        "revisions": dict(sorted(revisions.items())),
    }


def _standings(schema: Schema, settings: Settings) -> Generator[Standing]:
    from tausestack.database.bulk import standings

    yield from standings(schema, settings.data, settings.database_url)


def _schemas(servers: Sequence[str]) -> list[Schema]:
    from tausestack_runtime.schemas import schemas  # imports every service

    return schemas(servers)
