"""What each command prints, and its exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a successful command printed, and nothing beside it."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a failed command said."""
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("tausestack: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.covers("cli:json")
def test_a_tenant_is_made_with_an_admin_key_listed_and_shown(tausestack: Cli, operator_data: dict[str, str]) -> None:
    made = told(tausestack("tenant", "create", "hooli", "--plan", "premium", "--json", **operator_data))
    assert made["tenant"]["id"] == "hooli"
    assert made["api_key"].startswith("tsk_")
    tenants = told(tausestack("tenant", "list", "--json", **operator_data))["tenants"]
    assert {"acme", "globex", "hooli"} <= {tenant["id"] for tenant in tenants}
    assert told(tausestack("tenant", "show", "hooli", "--json", **operator_data))["plan"] == "premium"
    assert "already" in refused(tausestack("tenant", "create", "hooli", **operator_data))


@pytest.mark.covers("cli:limits")
def test_a_tenants_limits_are_shown_and_set(tausestack: Cli, operator_data: dict[str, str]) -> None:
    def amount(*arguments: str) -> Any:
        found = told(tausestack("tenant", *arguments, "--json", **operator_data))
        return found["limits"]["calls_per_minute"]["limit"]

    assert amount("show", "acme") == 600
    assert amount("set", "acme", "calls_per_minute=5") == 5
    assert amount("show", "acme") == 5
    printed = tausestack("tenant", "show", "acme", **operator_data).stdout
    assert "calls_per_minute" in printed
    for taken_back in ("calls_per_minute=", "calls_per_minute=default"):
        assert amount("set", "acme", "calls_per_minute=7") == 7
        assert amount("set", "acme", taken_back) == 600
    assert "calls_per_minute" in refused(tausestack("tenant", "set", "acme", "speed=5", **operator_data))
    for malformed in ("calls_per_minute", "=5"):
        assert "KEY=VALUE" in refused(tausestack("tenant", "set", "acme", malformed, **operator_data))


@pytest.mark.covers("cli:json")
def test_keys_are_made_listed_and_revoked(tausestack: Cli, operator_data: dict[str, str]) -> None:
    made = told(
        tausestack("key", "create", "--tenant", "acme", "--role", "viewer", "--name", "n", "--expires", "3", "--json")
    )
    assert {"id", "api_key", "role"} <= set(made)
    assert made["role"] == "viewer"
    listed = told(tausestack("key", "list", "--json", **operator_data))["keys"]
    assert ("acme", made["id"]) in [(key["tenant"], key["id"]) for key in listed]
    assert "api_key" not in listed[0]
    assert told(tausestack("key", "revoke", made["id"], "--json", **operator_data))["revoked"] is True
    assert told(tausestack("key", "revoke", made["id"], "--tenant", "acme", "--json"))["revoked"] is True
    assert "key list" in refused(tausestack("key", "revoke", "nothing", **operator_data))


@pytest.mark.covers("cli:json")
def test_a_server_is_planned_installed_listed_and_uninstalled(tausestack: Cli) -> None:
    assert told(tausestack("plan", "pypi:clock", "--tenant", "acme", "--json"))["hash"] == "abc123"
    installed = told(
        tausestack(
            "install",
            "pypi:clock",
            "--tenant",
            "acme",
            "--as",
            "clock",
            "--set",
            "TZ=UTC",
            "--secret",
            "K=a=b",
            "--yes",
            "--json",
        )
    )
    assert installed["given"] == {
        "ref": "pypi:clock",
        "name": "clock",
        "config": {"TZ": "UTC"},
        "secrets": {"K": "a=b"},
        "approve": True,
    }
    assert [one["name"] for one in told(tausestack("servers", "--tenant", "acme", "--json"))["servers"]] == ["clock"]
    assert told(tausestack("update", "clock", "--default", "--tenant", "acme", "--json"))["default"] is True
    assert told(tausestack("approve", "clock", "--tenant", "acme", "--json"))["approve"] is True
    assert told(tausestack("approve", "clock", "--hash", "ab12", "--tenant", "acme", "--json"))["approve"] == "ab12"
    assert told(tausestack("uninstall", "clock", "--tenant", "acme", "--purge", "--json"))["purged"] is True


@pytest.mark.covers("cli:references")
def test_what_can_be_installed_is_told_by_its_help(tausestack: Cli) -> None:
    for command in ("install", "plan"):
        helped = tausestack(command, "--help", COLUMNS="200")
        assert helped.returncode == 0
        for form in ("catalogue", "pypi:package", "npm:package", "@scope/package", "https://host/path", "HTTP header"):
            assert form in " ".join(helped.stdout.split()), form


def test_an_installation_that_nobody_can_approve_is_refused(tausestack: Cli) -> None:
    assert "--yes" in refused(tausestack("install", "pypi:clock", "--tenant", "acme"))


@pytest.mark.covers("cli:json")
def test_tools_are_listed_and_searched(tausestack: Cli) -> None:
    assert len(told(tausestack("tools", "--tenant", "acme", "--json"))["tools"]) == 8
    found = told(tausestack("tools", "--tenant", "acme", "--search", "slow", "--json"))["tools"]
    assert [tool["address"] for tool in found] == ["demo/slow"]
    assert tausestack("tools", "--tenant", "acme", "--search", "slow").stdout.splitlines()[1].startswith("demo/slow")


@pytest.mark.covers("cli:json")
def test_a_tool_is_called_with_arguments_from_the_line_or_a_file(tausestack: Cli, tmp_path: Path) -> None:
    line = ("call", "demo/echo", "--tenant", "acme", "--json", "--args")
    assert told(tausestack(*line, '{"city": "Bogotá"}'))["arguments"] == {"city": "Bogotá"}
    (tmp_path / "arguments.json").write_text('{"a": 1}')
    assert told(tausestack(*line, f"@{tmp_path}/arguments.json"))["arguments"] == {"a": 1}


@pytest.mark.covers("cli:operator-session")
def test_the_operator_calls_in_a_tenant_by_a_session_of_its_own(tausestack: Cli, operator_data: dict[str, str]) -> None:
    done = tausestack("call", "demo/echo", "--tenant", "acme", "--json", **operator_data)
    assert told(done)["arguments"] == {}


@pytest.mark.covers("cli:json")
def test_an_agent_is_listed_run_approved_shown_and_cancelled(tausestack: Cli) -> None:
    agents = told(tausestack("agent", "list", "--tenant", "acme", "--json"))["agents"]
    assert agents[0]["name"] == "concierge"
    held = told(tausestack("agent", "run", "concierge", "pay", "--tenant", "acme", "--json"))
    assert held["status"] == "interrupted"
    line = ("agent", "resume", held["id"], "--tenant", "acme", "--json", "--decision")
    assert told(tausestack(*line, '{"approve": true}'))["status"] == "success"
    assert told(tausestack("agent", "show", held["id"], "--tenant", "acme", "--json"))["output"] == "Hecho."
    assert "waits for nothing" in refused(tausestack(*line, '{"approve": true}'))
    assert told(tausestack("agent", "cancel", held["id"], "--tenant", "acme", "--json"))["status"] == "cancelled"


def test_a_person_is_told_how_to_decide(tausestack: Cli) -> None:
    done = tausestack("agent", "run", "concierge", "pay", "--tenant", "acme")
    assert done.returncode == 0
    assert "tausestack agent resume run-" in done.stdout


@pytest.mark.covers("cli:exit-code")
def test_a_broken_audit_chain_fails_the_command(tausestack: Cli, operator_data: dict[str, str]) -> None:
    assert told(tausestack("audit", "verify", "--tenant", "acme", "--json"))["ok"] is True
    done = tausestack("audit", "verify", "--tenant", "globex", **operator_data)
    assert "broken" in refused(done)


@pytest.mark.covers("cli:one-line-errors")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tools",), "--tenant"),
        (("nonsense",), "--help"),
        (("key", "create", "--tenant", "acme", "--role", "king"), "viewer"),
        (("call", "echo", "--tenant", "acme"), "server/tool"),
        (("call", "demo/echo", "--tenant", "acme", "--args", "{"), "JSON"),
        (("call", "demo/echo", "--tenant", "acme", "--args", "[]"), "JSON object"),
        (("call", "demo/fail", "--tenant", "acme"), "There is no such invoice"),
        (("call", "demo/spend", "--tenant", "acme"), "approval"),
        (("tools", "--tenant", "globex"), "not yours"),
        (("tools", "--tenant", "nobody"), "not yours"),
        (("tools", "--tenant", "../x"), "can't be a tenant"),
        (("install", "x", "--tenant", "acme", "--set", "novalue", "--yes"), "NAME=VALUE"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(tausestack: Cli, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(tausestack(*arguments))


@pytest.mark.covers("cli:one-line-errors")
def test_without_a_credential_or_a_stack_it_says_what_to_set_or_start(tausestack: Cli) -> None:
    assert "TAUSESTACK_API_KEY" in refused(tausestack("tools", "--tenant", "acme", TAUSESTACK_API_KEY=""))
    away = tausestack("tools", "--tenant", "acme", TAUSESTACK_URL="http://127.0.0.1:1")
    assert "tausestack up" in refused(away)
    by_port = refused(tausestack("tools", "--tenant", "acme", TAUSESTACK_URL="", TAUSESTACK_PORT="1"))
    assert "http://127.0.0.1:1:" in by_port


@pytest.mark.covers("cli:isolation")
def test_another_tenant_and_an_unknown_one_are_told_apart_by_nothing(tausestack: Cli) -> None:
    theirs, nobodys = (tausestack("servers", "--tenant", tenant) for tenant in ("globex", "nobody"))
    assert (theirs.returncode, theirs.stdout, theirs.stderr) == (nobodys.returncode, nobodys.stdout, nobodys.stderr)
