"""Services start on first use, come back after a crash, stop when idle, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tausestack.errors import Unavailable
from tausestack.tenancy import credential_hash
from tausestack_runtime.keys import Keys
from tausestack_runtime.services import instance_name
from tausestack_runtime.supervisor.control import ControlClient


@pytest.mark.covers("supervisor:first-use")
def test_a_service_starts_on_the_first_connection_and_no_earlier(stack):
    assert stack.service("plain")["state"] == "stopped"
    pid = stack.get("plain")["pid"]
    assert stack.service("plain")["pid"] == pid
    assert stack.get("plain")["pid"] == pid
    assert stack.service("brief")["pid"] is None


@pytest.mark.covers("supervisor:cold-start")
def test_a_cold_service_answers_within_a_third_of_a_second(shared, wait_until):
    shared.get("plain")  # by then the fork server has imported
    seconds: list[float] = []
    for _ in range(5):  # the machine may be busy in one moment, but not in all
        wait_until(lambda: shared.service("brief")["state"] == "stopped")
        started = time.monotonic()
        shared.get("brief")
        seconds.append(time.monotonic() - started)
        if min(seconds) < 0.3:
            return
    pytest.fail(f"{seconds}")


@pytest.mark.covers("supervisor:crash")
def test_the_call_after_a_kill_is_answered_by_another_process(shared):
    for _ in range(3):
        first = shared.get("plain")["pid"]
        os.kill(first, signal.SIGKILL)
        assert shared.get("plain")["pid"] != first


@pytest.mark.covers("supervisor:crash")
def test_calls_that_wait_while_a_service_is_down_are_all_answered(shared, wait_until):
    pid = shared.get("plain")["pid"]
    os.kill(pid, signal.SIGSTOP)  # it accepts nothing: all of these wait in the backlog
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(shared.get, "plain") for _ in range(32)]
        table = Path("/proc/net/unix")
        wait_until(lambda: table.read_text().count(shared.socket("plain")) >= 33)
        os.kill(pid, signal.SIGKILL)
        answers = {call.result()["pid"] for call in calls}
    assert len(answers) == 1
    assert pid not in answers


@pytest.mark.covers("supervisor:leftovers")
def test_what_a_dead_service_left_running_is_killed(shared, wait_until, is_alive):
    told = shared.get("plain", "/probe/leave")
    assert all(is_alive(left) for left in told["left"])
    os.kill(told["pid"], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(left) for left in told["left"]))
    wait_until(lambda: not any(Path(f"/proc/{left}").exists() for left in told["left"]))  # reaped, not left as zombies


@pytest.mark.covers("supervisor:idle")
def test_an_idle_service_stops_and_no_call_is_lost_to_that(shared, wait_until):
    seen = set()
    for _ in range(4):
        pid = shared.get("brief")["pid"]
        wait_until(lambda: shared.service("brief")["state"] in {"stopping", "stopped"})
        seen |= {pid, shared.get("brief")["pid"]}  # this call comes while it stops
        wait_until(lambda: shared.service("brief")["pid"] != pid)  # noqa: B023 called at once
    assert len(seen) >= 4


@pytest.mark.covers("supervisor:idle")
def test_a_service_with_a_call_in_flight_is_not_idle(shared):
    pid = shared.get("brief")["pid"]
    assert shared.get("brief", "/probe/slow?seconds=1.2")["pid"] == pid  # over twice its idle time


@pytest.mark.covers("supervisor:crash-loop")
def test_a_service_that_keeps_crashing_is_answered_for_with_503(shared, wait_until):
    calls = threading.Thread(target=lambda: _refused(shared))
    calls.start()
    wait_until(lambda: shared.service("broken")["state"] == "failing")
    calls.join()
    assert wait_until(lambda: _status(shared) == 503)
    assert shared.service("broken")["restarts"] >= 10
    assert shared.get("plain")["status"] == 200


def _refused(shared):
    while _status(shared) != 503:
        continue


def _status(shared):
    """Return the status of an answer; None where the connection was closed before the request was on its way."""
    try:
        return shared.get("broken")["status"]
    except ConnectionError:
        return None


@pytest.mark.covers("supervisor:crash-loop")
def test_an_operator_can_have_a_failing_service_tried_again(shared, wait_until):
    wait_until(lambda: _status(shared) == 503)
    shared.ask("restart", service="broken")
    assert shared.service("broken")["state"] == "stopped"


@pytest.mark.covers("supervisor:worker")
def test_a_worker_comes_back_without_being_called(shared, wait_until):
    pid = shared.get("worker")["pid"]
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: shared.service("worker")["pid"] not in {None, pid})


@pytest.mark.covers("supervisor:worker")
def test_a_worker_that_has_a_database_is_started_with_the_stack(launch, data, wait_until):
    system = data / "tenants" / "_system"
    system.mkdir(parents=True)
    (system / "worker.db").touch()
    stack = launch()
    wait_until(lambda: stack.service("worker")["state"] == "running")
    assert stack.service("plain")["state"] == "stopped"


@pytest.mark.covers("supervisor:fork-server")
def test_a_killed_fork_server_takes_no_service_along_and_comes_back(stack):
    pids = {name: stack.get(name)["pid"] for name in ("plain", "heavy")}
    for server in stack.ask("services")["fork_servers"]:
        os.kill(server["pid"], signal.SIGKILL)
    assert {name: stack.get(name)["pid"] for name in ("plain", "heavy")} == pids
    assert stack.get("brief")["status"] == 200
    os.kill(pids["heavy"], signal.SIGKILL)
    assert stack.get("heavy")["pid"] != pids["heavy"]


@pytest.mark.covers("supervisor:fork-server")
def test_a_fork_server_that_works_is_never_waited_for_however_often_it_is_killed(stack):
    for _ in range(6):
        (server,) = stack.ask("services")["fork_servers"]
        os.kill(server["pid"], signal.SIGKILL)
        os.kill(stack.get("plain")["pid"], signal.SIGKILL)
        assert stack.get("plain")["status"] == 200
    stack.stop()
    assert [line["again_in"] for line in stack.logged("fork server died")] == [0.05] * 6


@pytest.mark.covers("supervisor:fork-server")
def test_what_a_killed_fork_server_did_not_start_has_not_crashed(stack, wait_until):
    killed = None

    def another() -> int | None:
        found = [server["pid"] for server in stack.ask("services")["fork_servers"] if server["name"] == "nursery"]
        return next((pid for pid in found if pid != killed), None)

    with ThreadPoolExecutor(1) as pool:
        call = None
        for _ in range(12):  # as many crashes of its own would have it answered for with 503
            pid = wait_until(another)
            os.kill(pid, signal.SIGSTOP)  # it takes no order
            call = call or pool.submit(stack.get, "plain")
            wait_until(lambda: stack.service("plain")["state"] == "starting")
            os.kill(pid, signal.SIGKILL)
            killed = pid
        assert call.result()["status"] == 200
    stack.stop()
    assert {line["again_in"] for line in stack.logged("fork server died")} == {0.05}


@pytest.mark.covers("supervisor:fork-server")
def test_what_is_heavy_is_imported_once_and_not_before_it_is_needed(stack):
    assert [server["name"] for server in stack.ask("services")["fork_servers"]] == ["nursery"]
    first = stack.get("heavy")
    servers = {server["name"]: server["pid"] for server in stack.ask("services")["fork_servers"]}
    os.kill(first["pid"], signal.SIGKILL)
    again = stack.get("heavy")
    assert again["pid"] != first["pid"]
    assert [told["imported_by"] for told in (first, again)] == [servers["nursery-heavy"]] * 2
    assert stack.get("plain")["imported_by"] == servers["nursery"]


@pytest.mark.covers("supervisor:restart")
def test_a_restart_lets_the_call_in_flight_finish(shared, wait_until):
    pid = shared.get("plain")["pid"]
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(shared.get, "plain", "/probe/slow?seconds=0.5")
        wait_until(lambda: Path("/proc/net/unix").read_text().count(shared.socket("plain")) >= 2)
        shared.ask("restart", service="plain")
        assert call.result()["pid"] == pid
    assert shared.get("plain")["pid"] != pid


@pytest.mark.covers("supervisor:adapters")
def test_each_tenant_has_an_adapter_of_its_own_which_can_be_stopped(shared, wait_until):
    paths = {tenant: shared.ask("ensure", service="adapter", tenant=tenant)["socket"] for tenant in ("acme", "globex")}
    told = {tenant: shared.get("adapter", path=path) for tenant, path in paths.items()}
    assert {tenant: answer["tenant"] for tenant, answer in told.items()} == {"acme": "acme", "globex": "globex"}
    assert told["acme"]["pid"] != told["globex"]["pid"]
    shared.ask("stop", service="adapter", tenant="acme")
    wait_until(lambda: not Path(paths["acme"]).exists())
    assert Path(paths["globex"]).exists()
    again = shared.ask("ensure", service="adapter", tenant="acme")["socket"]
    assert shared.get("adapter", path=again)["pid"] != told["acme"]["pid"]


@pytest.mark.covers("supervisor:adapters")
def test_a_name_that_is_no_tenants_gets_no_adapter(shared):
    for tenant in ("../../etc", "_system", "", "A"):
        with pytest.raises(Unavailable, match="can't be a tenant"):
            shared.ask("ensure", service="adapter", tenant=tenant)
    assert instance_name("adapter", "a.b") != instance_name("adapter", "a-b")


@pytest.mark.covers("supervisor:credentials")
def test_a_process_is_known_by_its_credential_for_as_long_as_it_lives(shared, wait_until):
    told = shared.get("plain")
    hashed = credential_hash(told["credential"])
    assert shared.ask("identify", credential_hash=hashed)["service"] == "plain"
    assert shared.ask("identify", credential_hash=credential_hash("another"))["service"] is None
    os.kill(told["pid"], signal.SIGKILL)
    wait_until(lambda: shared.ask("identify", credential_hash=hashed)["service"] is None)


@pytest.mark.covers("supervisor:credentials")
def test_a_service_gets_the_keys_it_seals_with_and_never_a_master_secret(launch):
    secrets = {
        "TAUSESTACK_SECRET_KEY": "0123456789abcdef" * 2,
        "TAUSESTACK_SECRET_KEY_PREVIOUS": "fedcba9876543210" * 2,
    }
    stack = launch(**secrets)
    plain, brief = stack.get("plain"), stack.get("brief")
    assert list(plain["keys"]) == [Keys(secret).id for secret in secrets.values()]
    assert brief["keys"] == {}
    assert plain["credential"] != brief["credential"]
    for service in (plain, brief):
        said = json.dumps([service["environ"], service["told"]])
        assert not [secret for secret in secrets.values() if secret in said]
    told = stack.gateway()["told"]
    assert {name: told[name] for name in secrets} == secrets
    with pytest.raises(Unavailable, match="no process of a service that seals"):
        stack.ask("sealing_keys", credential=brief["credential"])


@pytest.mark.covers("keys:file-replaced")
def test_keys_are_rotated_under_a_running_stack(stack):
    before = stack.get("plain")["keys"]
    begun = stack.ask("begin_master")
    assert begun["masters"][1:] == list(before)
    assert begun["signing"][0]["retires_at"] is None
    assert [key["retires_at"] is not None for key in begun["signing"][1:]] == [True]
    assert list(stack.get("plain")["keys"]) == begun["masters"]
    assert stack.ask("begin_master") == begun
    with pytest.raises(Unavailable, match="another rotation"):
        stack.ask("retire_master", current=begun["masters"][1])
    retired = stack.ask("retire_master", current=begun["masters"][0])
    assert (retired["masters"], list(retired["leaving"])) == (begun["masters"][:1], begun["masters"][1:])
    assert list(stack.get("plain")["keys"]) == begun["masters"][:1]
    assert stat.S_IMODE((stack.data / "secret.key").stat().st_mode) == 0o600


@pytest.mark.covers("supervisor:private")
def test_a_service_holds_no_other_services_socket(shared):
    assert shared.get("plain", "/probe/sockets")["sockets"] == ["plain.sock"]
    assert shared.get("heavy", "/probe/sockets")["sockets"] == ["heavy.sock"]


@pytest.mark.covers("supervisor:control")
def test_the_gateways_client_survives_bad_questions_and_says_what_is_wrong(shared):
    async def talk():
        client = ControlClient(shared.run / "control.sock")
        with pytest.raises(Unavailable, match="no service is called nonesuch"):
            await client.ensure("nonesuch")
        paths = await asyncio.gather(*(client.ensure("adapter", f"tenant-{number}") for number in range(20)))
        assert await client.identify("0" * 64) is None
        figures = await client.services()
        await client.aclose()
        return paths, figures

    paths, figures = asyncio.run(talk())
    assert len(set(paths)) == 20
    assert figures["pss_bytes"] > figures["supervisor"]["pss_bytes"] > 0
