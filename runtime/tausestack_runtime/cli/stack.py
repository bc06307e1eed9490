"""`tausestack up`, `worker`, `demo`, `doctor` and `token`: what concerns the stack on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tausestack_runtime.cli.connection import Refusal, TenantOption, operator, run
from tausestack_runtime.cli.output import JsonOption, say, show_json, show_table
from tausestack_runtime.settings import Settings, read_settings

DataOption = Annotated[Path | None, typer.Option("--data", help="the data folder (TAUSESTACK_DATA, else .tausestack)")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (up, worker, demo, doctor, token):
        app.command()(command)


def up(
    host: Annotated[str | None, typer.Option(help="the address to listen on (127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="the TCP port (8000)")] = None,
    data: DataOption = None,
    database_url: Annotated[
        str | None, typer.Option(help="a PostgreSQL URL (a SQLite file per tenant and service)")
    ] = None,
    gateways: Annotated[
        int | None, typer.Option(min=1, max=32, help="how many gateway processes share the port (1)")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(max=64, help="how many processes work on agents' runs, one at least (1)")
    ] = None,
    play_demo: Annotated[bool, typer.Option("--demo", help="play the demo once the stack is ready")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Start the stack, and serve until Ctrl-C."""
    settings = read_settings(
        host=host, port=port, data=data, database_url=database_url, gateways=gateways, workers=workers
    )
    if play_demo:
        raise typer.Exit(_serve_and_play(settings))
    from tausestack_runtime.supervisor import up as serve  # only this command needs it

    if with_parent:
        from tausestack_runtime.supervisor.linux import die_with_parent

        die_with_parent(os.getppid())
    raise typer.Exit(serve(settings))


def worker(
    gateway: Annotated[Path, typer.Option(help="the stack's internal door, {data}/run/gateway.sock, brought here")],
    database_url: Annotated[
        str | None, typer.Option(help="the stack's PostgreSQL URL (TAUSESTACK_DATABASE_URL)")
    ] = None,
    data: DataOption = None,
) -> None:
    """Work on agents' runs of a stack on another machine, until Ctrl-C; TAUSESTACK_SECRET_KEY has to be the stack's."""
    from tausestack_runtime.supervisor.alone import work  # only this command needs it

    work(read_settings(data=data, database_url=database_url), gateway.absolute())


def _serve_and_play(settings: Settings) -> int:
    """Play the demo on a stack in a process of its own, since the supervisor is single-threaded, forks, and reaps."""
    from tausestack_runtime.cli.demo import Demo, DemoFailed  # brings an HTTP client
    from tausestack_runtime.cli.launch import launched
    from tausestack_runtime.keys import operator_key

    if settings.port == 0:
        raise Refusal("--demo needs to know the port: give one with --port")

    try:
        with launched(settings) as stack:
            if not stack.await_ready():
                return stack.wait()
            played = Demo(stack.url, operator_key(settings.data, make=False), say=say)
            try:
                run(played.play())
            except DemoFailed as failure:
                say(f"\nThe demo failed: {failure}")
            played.show_doors()
            return stack.wait()
    except KeyboardInterrupt:
        return 0  # stopped as asked; the stack has ended cleanly by now


def demo(
    url: Annotated[str | None, typer.Option(help="play on this running stack, rather than on one of its own")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a stack on a free port, play the main job on it, and stop it."""
    from tausestack_runtime.cli.demo import Demo, DemoFailed  # brings an HTTP client
    from tausestack_runtime.cli.launch import own_stack
    from tausestack_runtime.keys import operator_key

    def play(address: str, folder: Path) -> None:
        played = Demo(address, operator_key(folder, make=False), say=_silent if as_json else say)
        run(played.play())
        if as_json:
            show_json(played.found)

    try:
        if url is not None:
            play(url.rstrip("/"), read_settings(data=data).data)
            return
        with own_stack(data) as stack:
            play(stack.url, stack.data)
    except DemoFailed as failure:
        raise Refusal(f"the demo failed: {failure}") from failure


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine and the running stack, each figure against its bound."""
    from tausestack_runtime.cli.doctor import examine  # brings an HTTP client

    async def work() -> list[dict[str, object]]:
        async with operator() as client:
            return await examine(client, read_settings())

    checks = run(work())
    bad = [str(check["check"]) for check in checks if check["ok"] is False]
    if as_json:
        show_json({"ok": not bad, "checks": checks})
    else:
        show_table(checks, ("check", "value", "bound", "ok"), "nothing was checked")
    if bad:
        raise Refusal(f"not as it should be: {', '.join(bad)}")


def token(
    server: Annotated[str, typer.Argument(metavar="SERVER")],
    tenant: TenantOption,
    data: DataOption = None,
    seconds: Annotated[int | None, typer.Option(min=1, max=3600, help="how long it holds (60)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print an assertion for trying a service alone, signed with the key in the data folder."""
    from tausestack.contract import Principal
    from tausestack.names import check_server, check_tenant
    from tausestack.scopes import ROLES
    from tausestack.tokens import ASSERTION_SECONDS, server_audience
    from tausestack_runtime.keys import Masters
    from tausestack_runtime.signing import SigningKeys

    settings = read_settings(data=data)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = SigningKeys(settings.data, Masters.of(settings))
    signer.ensure()
    principal = Principal(tenant=check_tenant(tenant), id="operator", scopes=ROLES["admin"], role="admin")
    lifetime = seconds or ASSERTION_SECONDS
    minted = signer.sign(principal, server_audience(check_server(server)), lifetime)
    if as_json:
        show_json({"token": minted, "expires_in": lifetime})
    else:
        print(minted)


def _silent(_: str) -> None:
    """Say nothing: with --json only the result is printed."""
