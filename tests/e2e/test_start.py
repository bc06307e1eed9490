"""Starting: quick, clear about what is wrong, and clean at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import pytest

from remotes import eventually
from stack import TAUSESTACK, Stack, Tenant, running
from tausestack_runtime.supervisor.work import has_work

ROOT = Path(__file__).parents[2]


def up(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `tausestack up` where it has to fail."""
    env = {"PATH": os.environ["PATH"], "HOME": str(data.parent)}
    command = [TAUSESTACK, "up", "--data", str(data), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.covers("start:port-taken")
def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = up(tmp_path / "data", "--port", str(taken.getsockname()[1]))
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(taken.fileno()) or "port" in done.stderr
    assert "port" in done.stderr


@pytest.mark.covers("start:data-not-writable")
def test_a_data_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = up(blocked / "data", "--port", "0")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(blocked) in done.stderr


@pytest.mark.covers("start:world-readable-secret")
def test_a_secret_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret.key").write_text("x" * 64)
    (data / "secret.key").chmod(0o644)
    done = up(data, "--port", "0")
    assert done.returncode != 0
    assert "secret.key" in done.stderr
    assert "chmod 600" in done.stderr


@pytest.mark.covers("start:old-python")
def test_make_with_an_old_python_says_what_is_needed(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\ncase "$2" in *exit*) exit 1;; *) echo 3.10;; esac\n')
    old.chmod(0o755)
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    for name in ("tools", "requirements"):
        shutil.copytree(ROOT / name, copy / name)
    command = ["make", "run", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "TauseStack needs Python 3.11 or newer" in done.stderr
    assert "3.10" in done.stderr
    assert not (copy / ".venv").exists()


@pytest.mark.covers("start:clean-end")
def test_sigterm_lets_calls_end_and_leaves_nothing_behind(tmp_path: Path) -> None:
    statuses: list[int] = []
    with running(tmp_path / "data") as stack:
        tenant = stack.tenant()
        tenant.must("storage/list_keys", {})
        pids = [one["pid"] for one in stack.services().values() if one.get("pid")]
        assert pids
        callers = [threading.Thread(target=_call_until_gone, args=(tenant, statuses)) for _ in range(4)]
        for caller in callers:
            caller.start()
        while len(statuses) < 40:
            callers[0].join(0.01)
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(60) == 0
        for caller in callers:
            caller.join(30)
    assert set(statuses) == {200}
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def _call_until_gone(tenant: Tenant, statuses: list[int]) -> None:
    own = Tenant(tenant.name, tenant.key, tenant.url)
    with contextlib.suppress(OSError, httpx2.TransportError):
        while True:
            statuses.append(own.call("storage/list_keys", {}).status_code)


@pytest.mark.covers("start:data-survives")
def test_what_was_written_is_there_after_kill_and_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as stack:
        tenant = stack.tenant("acme")
        tenant.must("storage/put_json", {"key": "k", "value": {"n": 1}})
        _kill(stack)
    with running(data) as stack:
        again = Tenant("acme", tenant.key, stack.url)
        assert again.must("storage/get_json", {"key": "k"})["value"] == {"n": 1}
        assert again.client.get("/audit/verify").json()["ok"] is True


def _kill(stack: Stack) -> None:
    """Kill the supervisor outright; its children go with it."""
    stack.process.kill()
    stack.process.wait()


@pytest.mark.covers("start:folder")
def test_nothing_is_imported_from_the_folder_in_which_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("limits", "orjson", "uvicorn", "structlog", "tausestack_runtime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('whoever may write here would be run')")
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "data") as stack:
        doctor = stack.operator("GET", "doctor").json()
        for one in (*doctor["fork_servers"], *doctor["gateways"]):
            os.kill(one["pid"], signal.SIGKILL)  # what replaces it is a fresh interpreter
        assert eventually(lambda: _created(stack)).must("billing/list_plans", {})["plans"]


def _created(stack: Stack) -> Tenant | None:
    with contextlib.suppress(httpx2.TransportError):
        return stack.tenant()
    return None


@pytest.mark.covers("start:workers-with-work")
def test_the_agents_start_by_themselves_where_work_is_left_and_not_where_none_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as stack:
        asked = {"agent": "concierge", "input": "Guarda 1 en la clave k", "wait": 60}
        assert stack.tenant("acme").must("agents/run", asked)["status"] == "success"
    with running(data) as stack:
        stack.tenant("other").must("storage/list_keys", {})
        left = time.time()
        kept = {"for_tenant": "acme", "kind": "schedule", "id": "none", "due": left, "lease_until": 0, "created": left}
        columns, values = ", ".join(kept), ", ".join(f":{name}" for name in kept)
        with contextlib.closing(sqlite3.connect(data / "tenants" / "_system" / "agents.db")) as file, file:
            file.execute(f"INSERT INTO timers ({columns}) VALUES ({values})", kept)
        agents = eventually(lambda: (one := stack.services()["agents"])["pid"] and one)
        assert agents["started_at"] >= left
        assert agents["restarts"] == 0


@pytest.mark.covers("start:workers-with-work")
def test_a_file_that_cannot_be_read_may_hold_work(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    assert not has_work(path, ["dispatch"])
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE dispatch (id)")
        assert not has_work(path, ["dispatch"])
        assert has_work(path, ["dispatch", "timers"])
        file.execute("INSERT INTO dispatch VALUES (1)")
    assert has_work(path, ["dispatch"])
    path.write_bytes(b"no database" * 1000)
    assert has_work(path, ["dispatch"])
