"""Tenants' SQLite files: made from a migrated template, and brought up to date."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tausestack.database.engines import begin, open_engine
from tausestack.database.schema import Schema

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def current_file(schema: Schema, data: Path, path: Path) -> None:
    """Make a tenant's file exist at the schema's newest revision.

    Any number of processes may do this at once, and any of them may die midway: the next one goes on.
    """
    if not path.exists():
        _create(schema, data, path)
    if file_revision(path) != schema.head:
        migrate_file(schema, path)


def file_revision(path: Path) -> str | None:
    """Return the revision that a file is at, None when it was never migrated."""
    raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=60)
    try:
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        raw.close()
    return None if row is None else str(row[0])


def migrate_file(schema: Schema, path: Path, revision: str = "head") -> None:
    """Run the revisions that a file lacks, up to one of them or the newest: all of these or none."""
    # Alembic is only for stale files: most starts never import it.
    from tausestack.database.upgrade import upgrade

    engine = open_engine(path, migrating=True)
    try:
        with begin(engine, write=True) as raw:
            upgrade(schema, raw, revision=revision)
            broken = raw.exec_driver_sql("PRAGMA foreign_key_check").first()
            if broken is not None:
                raise RuntimeError(f"migrating {schema.service} broke a foreign key of {broken[0]}")
            raw.commit()
    finally:
        engine.dispose()


def remove_file(path: Path) -> None:
    """Remove a tenant's file, and the tenant's folder when nothing else is in it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    if path.parent.exists() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def empty_log(path: Path) -> None:
    """Write a file's log into it and empty the log, as far as no reader needs that; nothing where there is no file."""
    if path.exists():
        raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
        try:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.close()


def give_back(path: Path) -> None:
    """Give the room of what was deleted in a file back, where it is a quarter of it; nothing where there is no file."""
    if path.exists():
        raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5, isolation_level=None)
        try:
            (pages,), (free,) = (raw.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
            if free * 4 >= pages:
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.close()


def template_file(schema: Schema, data: Path) -> Path:
    """Return where the migrated file is that new tenants' files are copies of."""
    return data / "templates" / f"{schema.service}-{schema.head}.db"


def make_template(schema: Schema, data: Path) -> Path:
    """Make the template exist, and return it."""
    template = template_file(schema, data)
    template.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    with _locked(template.with_name(f"{schema.service}.lock")):
        if not template.exists():
            _migrate_template(schema, template)
    return template


def clear_templates(schema: Schema, kept: Path) -> None:
    """Remove the templates of a service but one."""
    with _locked(kept.with_name(f"{schema.service}.lock")):
        for path in kept.parent.glob(f"{schema.service}-*.db"):
            # The name of another service may begin with this one's; a revision has no hyphen.
            if path != kept and "-" not in path.stem.removeprefix(f"{schema.service}-"):
                remove_file(path)


def new_file(schema: Schema, data: Path, path: Path, revision: str) -> None:
    """Make an empty file at a revision, the newest or an older one; raises `Unavailable` for one that is not known."""
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    if revision == schema.head:
        _copy(make_template(schema, data), path)
        return
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, _FILE_MODE))
    migrate_file(schema, path, revision)


def _create(schema: Schema, data: Path, path: Path) -> None:
    template = make_template(schema, data)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    with _locked(template.with_name(f"{schema.service}.lock")):
        if not path.exists():
            _copy(template, path)


def _migrate_template(schema: Schema, template: Path) -> None:
    # The lock dies with its holder, so what is found half made under it was left by the dead.
    unfinished = template.with_name(f"{schema.service}.new")
    remove_file(unfinished)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, _FILE_MODE))
    migrate_file(schema, unfinished)
    _flush(unfinished)
    unfinished.rename(template)


def _copy(template: Path, path: Path) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, _FILE_MODE))
    shutil.copyfile(template, unfinished)
    _flush(unfinished)
    unfinished.rename(path)


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
