"""`tausestack tenant export|import`, `backup` and `restore`: what is done where the data lie, by who may read them."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from tausestack_runtime.cli.connection import Refusal, run
from tausestack_runtime.cli.db import AlsoOption, DataOption, UrlOption
from tausestack_runtime.cli.output import JsonOption, show_fields, show_json
from tausestack_runtime.settings import Settings, StartError, read_settings

if TYPE_CHECKING:
    from tausestack_runtime.keys import Keys, Masters
    from tausestack_runtime.life.archive import ArchiveWriter, Kind
    from tausestack_runtime.life.archive_keys import ArchiveKeys
    from tausestack_runtime.life.here import Here

PASSPHRASE_VARIABLE = "TAUSESTACK_PASSPHRASE"  # noqa: S105 a variable's name
MAX_PASSPHRASE_BYTES = 4096

FileArgument = Annotated[Path, typer.Argument(metavar="FILE")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="PATH",
        help=f"whose first line seals the secrets in it, so that another installation opens them too; - for standard "
        f"input, or {PASSPHRASE_VARIABLE}",
    ),
]
TenantArgument = Annotated[str, typer.Argument(metavar="ID")]


def add_to(app: typer.Typer, tenant_app: typer.Typer) -> None:
    """Add these commands to the application, and to that of tenants."""
    tenant_app.command("export")(export_tenant)
    tenant_app.command("import")(import_tenant)
    app.command()(backup)
    app.command()(restore)


def export_tenant(
    tenant: TenantArgument,
    file: FileArgument,
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    database_url: UrlOption = None,
    server: AlsoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all that there is of a tenant into one file; the stack may run. Secrets in it are sealed."""
    from tausestack_runtime.life.exporting import export_tenant as work

    async def export(here: Here, archive: ArchiveWriter) -> list[dict[str, Any]]:
        return [await work(here, tenant, archive)]

    settings = read_settings(data=data, database_url=database_url)
    _written(settings, server, file, _passphrase(passphrase_file), export, as_json=as_json)


def backup(
    file: FileArgument,
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    database_url: UrlOption = None,
    server: AlsoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole installation, every tenant of it, into one file; the stack may run. Secrets in it are sealed."""
    from tausestack_runtime.life.exporting import back_up

    settings = read_settings(data=data, database_url=database_url)
    _written(settings, server, file, _passphrase(passphrase_file), back_up, as_json=as_json)


def import_tenant(
    file: FileArgument,
    name: Annotated[str | None, typer.Option("--as", metavar="ID", help="the id that it is to have here")] = None,
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    database_url: UrlOption = None,
    server: AlsoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a tenant in from a file that 'tenant export' wrote; the stack may run. It is there whole, or not at all."""
    from tausestack_runtime.life.here import beside, tenants_turn
    from tausestack_runtime.life.importing import import_tenant as work

    settings = read_settings(data=data, database_url=database_url)
    passphrase, began = _passphrase(passphrase_file), time.monotonic()
    with beside(settings) as masters, tenants_turn(settings.data, "alone"):
        archive = _opened(file, "tenant", passphrase, masters.live())

        async def take_in() -> dict[str, Any]:
            async with _here(settings, masters, server) as here:
                return await work(here, archive, name)

        found = run(take_in())
    found["seconds"] = round(time.monotonic() - began, 3)
    if as_json:
        show_json(found)
        return
    about = found["tenant"]
    show_fields({"id": about["id"], "name": about["name"], "plan": about["plan"], "status": about["status"]})
    show_fields({str(part): str(number) for part, number in found["taken"].items()})


def restore(
    file: FileArgument,
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    database_url: UrlOption = None,
    server: AlsoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an installation of a backup, in a data folder and a database that are empty; no stack runs there."""
    settings = read_settings(data=data, database_url=database_url)
    passphrase, began = _passphrase(passphrase_file), time.monotonic()
    archive = _opened(file, "installation", passphrase, _present(settings))
    with _empty(settings) as (masters, workplace):
        taken = run(_restored(settings, workplace, masters, server, archive))
    found = {"tenants": len(taken) - 1, "taken": taken, "seconds": round(time.monotonic() - began, 3)}
    if as_json:
        show_json(found)
    else:
        print(f"{found['tenants']} tenants are restored; start with 'tausestack up'")
        print("credentials of the operator, and the stack's own, are made anew then")


async def _restored(
    settings: Settings, workplace: Path, masters: Masters, server: list[str] | None, archive: Any
) -> dict[str, Any]:
    from tausestack_runtime.life.importing import restore as work
    from tausestack_runtime.life.importing import wipe

    async with _here(settings.model_copy(update={"data": workplace}), masters, server) as here:
        await wipe(here)
        if (settings.data / "tenants").exists():  # of a restore into a database that was cut off at its very end
            shutil.rmtree(settings.data / "tenants")

        def move() -> None:
            (workplace / "tenants").rename(settings.data / "tenants")

        return await work(here, archive, move)


def _present(settings: Settings) -> tuple[Keys, ...]:
    """Return the masters of a folder that is to be restored into, perhaps none; nothing is made."""
    from tausestack_runtime.keys import SECRET_FILE, Masters

    _check_empty(settings)
    there = settings.secret is not None or (settings.data / SECRET_FILE).exists()
    return Masters.of(settings, make=False).live() if there else ()


def _check_empty(settings: Settings) -> None:
    """Raise `StartError` where an installation is in the folder, other than one that a restore did not end."""
    from tausestack_runtime.life.here import check_owner
    from tausestack_runtime.supervisor.ground import RESTORING

    check_owner(settings.data)
    cut_off = settings.database_url is not None and (settings.data / RESTORING).exists()
    if (settings.data / "tenants").exists() and not cut_off:
        raise StartError(f"an installation is in {settings.data} already: restore into an empty folder (--data)")


def _check_nobodys(settings: Settings, workplace: Path) -> None:
    """Raise `StartError` where the database is another installation's; the workplace is made this one's."""
    if settings.database_url is None:
        return
    from tausestack.database.mark import make_mark, own_mark, whose

    if whose(settings.data, settings.database_url) is not None:
        raise StartError("the database is another installation's: restore into an empty one (--database-url)")
    if (own := own_mark(settings.data)) is not None:
        make_mark(workplace, own)


@contextmanager
def _empty(settings: Settings) -> Generator[tuple[Masters, Path]]:
    """Keep a data folder for oneself that no installation is in, with a workplace in it that nothing is left of.

    A master that was made for it goes again where nothing came to stand there.
    """
    from tausestack_runtime.keys import SECRET_FILE, Masters
    from tausestack_runtime.supervisor.ground import RESTORING, claim_data

    lock = claim_data(settings.data)
    workplace, secret = settings.data / RESTORING, settings.data / SECRET_FILE
    had = secret.exists()
    try:
        _check_empty(settings)
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(mode=0o700)
        _check_nobodys(settings, workplace)
        try:
            yield Masters.of(settings), workplace
        finally:
            if not had and not (settings.data / "tenants").exists():
                secret.unlink(missing_ok=True)
            shutil.rmtree(workplace, ignore_errors=True)
    finally:
        os.close(lock)


def _written(
    settings: Settings,
    server: list[str] | None,
    file: Path,
    passphrase: str | None,
    work: Callable[[Here, ArchiveWriter], Awaitable[list[dict[str, Any]]]],
    *,
    as_json: bool,
) -> None:
    """Write an archive, which is there whole or not at all, and tell what is in it."""
    from tausestack_runtime.life.archive import ArchiveWriter
    from tausestack_runtime.life.archive_keys import ArchiveKeys
    from tausestack_runtime.life.here import beside, tenants_turn

    began = time.monotonic()
    with beside(settings) as masters, tenants_turn(settings.data, "with others"), _new(file) as sink:
        keys = ArchiveKeys.of_master(masters.current) if passphrase is None else ArchiveKeys.of_passphrase(passphrase)
        archive = ArchiveWriter(sink, keys)

        async def write() -> list[dict[str, Any]]:
            async with _here(settings, masters, server) as here:
                return await work(here, archive)

        told = run(write())
    found = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "opened_by": keys.told["by"],
        "tenants": [{"id": one["id"], "parts": one["parts"]} for one in told],
        "seconds": round(time.monotonic() - began, 3),
    }
    if as_json:
        show_json(found)
        return
    opens = "the passphrase" if passphrase is not None else "this installation's master key alone"
    print(f"{file}: {found['bytes']} bytes; its secrets are opened by {opens}")
    for one in told:
        records = sum(part.get("records", 0) for part in one["parts"].values())
        print(f"{one['id']}: {records} rows, {one['parts'].get('ledger', {}).get('lines', 0)} lines of the ledger")
        if left := one["parts"]["files"]["left_out"]:
            print(f"{one['id']}: {left} files can't travel (sockets, pipes, folders nested too deep) and are left out")


@asynccontextmanager
async def _here(settings: Settings, masters: Masters, server: list[str] | None) -> AsyncGenerator[Here]:
    from tausestack.telemetry import configure_logging
    from tausestack_runtime.life.here import Here

    configure_logging("error", "tausestack")
    here = Here(settings, masters, server or ())
    try:
        yield here
    finally:
        await here.aclose()


@contextmanager
def _new(path: Path) -> Generator[IO[bytes]]:
    """Write a file that appears whole, when all went well: nothing of it is left where this dies before."""
    if path.exists() or path.is_symlink():
        raise Refusal(f"{path} is there already: nothing was written")
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        raw = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refusal(f"{path} can't be written: {error.strerror}") from error
    with os.fdopen(raw, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        try:
            # With a folder's descriptor Python follows the link; without one it does not.
            os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            raise Refusal(f"{path} is there already: nothing was written") from None
        finally:
            os.close(folder)


def _opened(path: Path, kind: Kind, passphrase: str | None, masters: Sequence[Keys]) -> Any:
    from tausestack_runtime.life.archive import open_archive
    from tausestack_runtime.life.archive_keys import keys_for

    def keys(told: dict[str, Any]) -> ArchiveKeys:
        return keys_for(told, passphrase, masters)

    try:
        return open_archive(path, kind, keys)
    except OSError as error:
        raise Refusal(f"{path} can't be read: {error.strerror}") from error


_ONE_LINE = "give a file that you may read with the passphrase as its first line, or '-' for the standard input"


def _passphrase(path: Path | None) -> str | None:
    """Return the passphrase that is given, or None; a line's end does not count."""
    if path is None:
        return os.environ.get(PASSPHRASE_VARIABLE) or None
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            raw = file.read(MAX_PASSPHRASE_BYTES).partition(b"\n")[0].rstrip(b"\r")
        if not raw:
            raise Refusal(f"the passphrase can't be read from {path}: its first line is empty; {_ONE_LINE}")
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Refusal(f"the passphrase can't be read from {path}: {why}; {_ONE_LINE}") from error
