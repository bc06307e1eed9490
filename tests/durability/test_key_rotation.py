"""The master key is replaced under a running stack, whatever is killed in the middle, and nothing sealed is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oauth_client import PASSWORD, OAuthClient
from remotes import Party, eventually, party
from stack import TAUSESTACK, Stack, Tenant, free_port, running

TENANTS = 6
ROTATE = ("keys", "rotate", "master")


def header(tenant: Tenant, red: Party) -> str:
    """Return the secret that a call brings to the remote server now: the registry opens it anew after each change."""
    assert tenant.call("red/echo", {"text": tenant.name}).status_code == 200
    return red.calls("tools/call")[-1]["headers"]["authorization"]


def install(tenant: Tenant, red: Party) -> None:
    tenant.install(red.url, name="red", secrets={"Authorization": f"Bearer of-{tenant.name}"})


def kill(stack: Stack, service: str) -> None:
    pid = stack.services()[service]["pid"]
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def kept_changing(tenant: Tenant) -> Iterator[list[str]]:
    """Set secrets all the time, so that the registry seals and opens them anew for each call; yield what failed."""
    stop, failed = threading.Event(), list[str]()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            changed = tenant.client.patch("/servers/red", json={"secrets": {"X-Number": str(number)}})
            called = tenant.call("red/echo", {"text": "hi"})
            failed.extend(reply.text for reply in (changed, called) if reply.status_code != 200)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield failed
    finally:
        stop.set()
        worker.join()


@pytest.mark.timeout(180)
@pytest.mark.covers("keys:rotate-master")
def test_the_master_is_replaced_while_calls_go_on(tmp_path: Path) -> None:
    # A stack of its own: in the one that tests share, however many tenants they have left were worked through.
    port = free_port()
    with (
        party(port, "red") as red,
        running(tmp_path / "data", TAUSESTACK_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{port}") as stack,
    ):
        tenants = [stack.tenant() for _ in range(TENANTS)]
        for tenant in tenants:
            install(tenant, red)
        before = stack.operator("GET", "keys").json()["masters"]
        with kept_changing(tenants[0]) as failed:
            begun = stack.operator("POST", "keys/master", json={}).json()["masters"]
            assert begun[1:] == before[:1]
            assert stack.operator("POST", f"keys/tenants/{tenants[1].name}", json={}).json()["done"] == 1
            # Broken off here, the command goes on with it.
            stack.cli(*ROTATE)
        assert failed == []
        assert stack.operator("GET", "keys").json()["masters"] == begun[:1]
        assert list(stack.operator("GET", "keys").json()["leaving"]) == before[:1]
        kill(stack, "registry")
        for tenant in tenants:
            tenant.client.patch("/servers/red", json={"secrets": {"X-Later": "1"}})
            assert header(tenant, red) == f"Bearer of-{tenant.name}"
        assert stack.operator("POST", "keys/tenants/nobody", json={}).status_code == 404
        assert tenants[0].client.get("/../../keys").status_code in {401, 404}


@pytest.mark.timeout(180)
@pytest.mark.covers("keys:rotate-of-the-environment", "oauth:registrations-last")
def test_a_master_of_the_environment_gives_way_to_a_new_one_and_opens_nothing_afterwards(tmp_path: Path) -> None:
    old, new, port = "0" * 40, "1" * 40, free_port()
    data, usual = tmp_path / "data", {"TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}"}
    with party(port, "red") as red:
        with running(data, TAUSESTACK_SECRET_KEY=old, **usual) as stack:
            tenants = [stack.tenant() for _ in range(2)]
            for tenant in tenants:
                install(tenant, red)
            tenants[0].must("auth/create_user", {"id": "ana", "roles": ["agent"], "password": PASSWORD})
            host = OAuthClient(tenants[0])
            (before,) = stack.operator("GET", "keys").json()["masters"]
            refused = stack.cli(*ROTATE, check=False)
            assert refused.returncode != 0
            assert "TAUSESTACK_SECRET_KEY_PREVIOUS" in refused.stderr
            assert "Traceback" not in refused.stderr
        with running(data, TAUSESTACK_SECRET_KEY=new, TAUSESTACK_SECRET_KEY_PREVIOUS=old, **usual) as stack:
            tenants = [Tenant(one.name, one.key, stack.url) for one in tenants]
            assert header(tenants[0], red) == f"Bearer of-{tenants[0].name}"  # sealed by the old one yet
            fresh, known = stack.operator("GET", "keys").json()["masters"]
            assert (known, fresh != before) == (before, True)
            stack.cli(*ROTATE)
            assert fresh in stack.cli("keys", "list").stdout
        assert not (data / "secret.key").exists()
        with running(data, TAUSESTACK_SECRET_KEY=new, **usual) as stack:
            for one in tenants:
                assert header(Tenant(one.name, one.key, stack.url), red) == f"Bearer of-{one.name}"
            assert stack.operator("GET", "keys").json()["masters"] == [fresh]
            host.tenant = Tenant(tenants[0].name, tenants[0].key, stack.url)
            assert host.signed_in("ana")["access_token"], "a client that registered under the old one is known still"
        with running(data, TAUSESTACK_SECRET_KEY=old, **usual) as stack:
            # What is sealed by a master that is not here is told of by the master's name, and nothing is made anew.
            away = Tenant(tenants[0].name, tenants[0].key, stack.url).call("red/echo", {"text": "hi"})
            assert (away.status_code, away.json()["code"]) == (503, "unavailable")
            assert f"Bearer of-{tenants[0].name}" not in away.text
        assert [call for call in red.calls("tools/call") if "authorization" not in call["headers"]] == []


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.covers("keys:rotate-master")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_rotation_that_is_killed_anywhere_is_gone_on_with(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(7)
    port = free_port()
    environment = {"TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}"}
    if database == "postgresql":
        environment["TAUSESTACK_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    tenants: list[Tenant] = []
    masters = set[str]()
    with party(port, "red") as red:
        for each in range(4):
            with running(tmp_path / "data", **environment) as stack:
                tenants = [Tenant(one.name, one.key, stack.url) for one in tenants]
                tenants += [stack.tenant(f"t{each}-{number}") for number in range(4)]
                for tenant in tenants[-4:]:
                    install(tenant, red)
                for victim in ("command", "registry", "command", "stack"):
                    shell = {
                        "PATH": os.environ["PATH"],
                        "TAUSESTACK_URL": stack.url,
                        "TAUSESTACK_DATA": str(stack.data),
                    }
                    command = subprocess.Popen([TAUSESTACK, *ROTATE], env=shell, stderr=subprocess.DEVNULL)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        command.wait(chance.uniform(0.3, 3.0))
                    if victim == "registry":
                        kill(stack, "registry")
                    elif victim == "stack":
                        stack.process.kill()
                        stack.process.wait()
                    command.kill()
                    command.wait()
        with running(tmp_path / "data", **environment) as stack:
            stack.cli(*ROTATE)
            stack.cli("keys", "rotate", "data")
            masters.update(stack.operator("GET", "keys").json()["masters"])
            assert len(masters) == 1
            for tenant in tenants:
                again = Tenant(tenant.name, tenant.key, stack.url)
                eventually(lambda one=again: one.client.get("/servers").status_code == 200)
                assert header(again, red) == f"Bearer of-{tenant.name}"
