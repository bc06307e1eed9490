"""The command `tausestack`: its commands, and how a failure is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from tausestack.errors import TauseError
from tausestack_runtime.cli import (
    agents,
    approvals,
    archives,
    audit,
    db,
    evaluation,
    keys,
    new,
    schedules,
    servers,
    stack,
    teams,
    tenants,
    threads,
)
from tausestack_runtime.cli.connection import Refusal
from tausestack_runtime.settings import StartError

app = typer.Typer(
    name="tausestack",
    help="An MCP-native, multi-tenant runtime for agents.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
stack.add_to(app)
archives.add_to(app, tenants.tenant_app)
app.add_typer(tenants.tenant_app, name="tenant")
app.add_typer(tenants.key_app, name="key")
app.add_typer(keys.keys_app, name="keys")
servers.add_to(app)
agents.agent_app.command("eval")(evaluation.evaluate_agent)
app.add_typer(agents.agent_app, name="agent")
app.add_typer(teams.team_app, name="team")
app.add_typer(approvals.approval_app, name="approval")
app.add_typer(threads.thread_app, name="thread")
app.add_typer(schedules.schedule_app, name="schedule")
app.add_typer(audit.audit_app, name="audit")
app.add_typer(db.db_app, name="db")
app.add_typer(new.new_app, name="new")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a failure is one line on standard error that says what to do."""
    try:
        found = app(args=None if arguments is None else list(arguments), prog_name="tausestack", standalone_mode=False)
    except typer.TyperException as error:
        describe = getattr(error, "format_message", error.__str__)
        return _fail(f"{describe()} See '{_command_of(error)} --help'.", 2)
    except (TauseError, StartError, Refusal) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return _fail("nothing was done", 1)
    except BrokenPipeError:
        # Whoever read the output has gone: nothing more can be said to them, not even by Python's own last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return found if isinstance(found, int) else 0


def _fail(message: str, code: int) -> int:
    print("tausestack: " + " ".join(message.split()), file=sys.stderr)
    return code


def _command_of(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return "tausestack" if context is None else str(context.command_path)
