"""A stack starts in one piece or says in one line why not, and stops without losing what is in flight."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


@pytest.mark.covers("supervisor:shutdown")
def test_sigterm_lets_calls_finish_and_leaves_nothing(stack, wait_until, is_alive):
    pids = [stack.get(name)["pid"] for name in ("plain", "heavy")] + [stack.gateway()["pid"]]
    pids += [server["pid"] for server in stack.ask("services")["fork_servers"]]
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(stack.get, "plain", "/probe/slow?seconds=1")
        through = pool.submit(stack.gateway, "/?seconds=0.5")
        wait_until(lambda: Path("/proc/net/unix").read_text().count(stack.socket("plain")) >= 2)
        wait_until(lambda: _connected(stack.port))
        code, log = stack.stop()
        assert call.result()["pid"] == pids[0]
        assert through.result()["pid"] == pids[2]
    assert code == 0, log
    assert not any(is_alive(pid) for pid in pids)
    assert not stack.run.exists()
    assert "Traceback" not in log


@pytest.mark.covers("supervisor:shutdown")
def test_the_port_refuses_once_the_stack_stops(stack):
    stack.gateway()
    stack.stop()
    with pytest.raises(ConnectionRefusedError):
        stack.gateway()


@pytest.mark.covers("supervisor:shutdown")
def test_nothing_outlives_a_killed_supervisor(stack, wait_until, is_alive):
    told = stack.get("plain", "/probe/leave")
    pids = [told["pid"], stack.get("heavy")["pid"], stack.gateway()["pid"]]
    pids += [server["pid"] for server in stack.ask("services")["fork_servers"]]
    stack.process.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    for left in told["left"]:
        os.kill(left, signal.SIGKILL)  # a process that a service set loose is the service's to tie: nobody is left to


@pytest.mark.covers("supervisor:gateway")
def test_a_killed_gateway_comes_back_on_the_same_port(shared, wait_until):
    pid = shared.gateway()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: shared.ask("services")["gateway"]["pid"] not in {None, pid})
    assert shared.gateway()["pid"] != pid
    assert shared.ask("services")["gateway"]["restarts"] == 1


@pytest.mark.covers("supervisor:gateway")
def test_a_gateway_that_is_killed_over_and_over_is_never_waited_for(stack, wait_until):
    for kills in range(1, 7):
        os.kill(stack.gateway()["pid"], signal.SIGKILL)
        wait_until(lambda: stack.ask("services")["gateway"]["restarts"] == kills)  # noqa: B023 waited for at once
    stack.gateway()
    stack.stop()
    assert [line["again_in"] for line in stack.logged("gateway died")] == [0.05] * 6


@pytest.mark.covers("supervisor:gateway")
def test_the_gateway_inherits_its_sockets_and_learns_where_the_others_are(shared):
    told = shared.gateway()
    assert told["told"]["TAUSESTACK_RUN"] == str(shared.run)
    assert told["told"]["TAUSESTACK_PORT"] == str(shared.port)
    assert told["internal"] == str(shared.run / "gateway.sock")


@pytest.mark.covers("supervisor:ready")
def test_the_time_from_start_to_ready_is_known(shared, wait_until):
    seconds = wait_until(lambda: shared.ask("services")["gateway"]["ready_seconds"])
    assert 0 < seconds < 30


@pytest.mark.covers("supervisor:private")
def test_nobody_else_can_reach_the_sockets_or_read_the_keys(shared):
    assert stat.S_IMODE(shared.run.stat().st_mode) == 0o700
    for path in [*shared.run.iterdir(), shared.data / "secret.key", shared.data / "operator.key"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.covers("supervisor:refusals")
def test_a_taken_port_is_said_in_one_line(launch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, log = launch(port=port, wait=False).ended()
    assert code == 1
    assert log.strip() == (
        f"tausestack: port {port} on 127.0.0.1 is taken: stop what listens there, or choose another with --port"
    )


@pytest.mark.covers("supervisor:refusals")
def test_a_data_folder_that_cannot_be_written_is_said_in_one_line(launch, tmp_path):
    (tmp_path / "file").touch()
    code, log = launch(tmp_path / "file" / "data", wait=False).ended()
    assert code == 1
    assert len(log.strip().splitlines()) == 1
    assert "can't be written (Not a directory): choose another with --data" in log


@pytest.mark.covers("supervisor:refusals")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_a_read_only_data_folder_is_said_in_one_line():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        program = (
            "import os, sys; from pathlib import Path; from tausestack_runtime.settings import StartError;"
            "from tausestack_runtime.supervisor.ground import claim_data\n"
            "os.setuid(65534)\n"
            "try: claim_data(Path(sys.argv[1]))\n"
            "except StartError as refusal: sys.exit(str(refusal))"
        )
        ended = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "can't be written (Permission denied)" in ended.stderr


@pytest.mark.covers("supervisor:refusals")
def test_a_second_stack_on_the_same_data_is_refused(stack, launch):
    code, log = launch(stack.data, wait=False).ended()
    assert code == 1
    assert f"in use by another stack (process {stack.process.pid})" in log
    assert stack.get("plain")["status"] == 200


@pytest.mark.covers("supervisor:refusals")
def test_a_secret_that_others_can_read_is_refused(launch, data):
    data.mkdir()
    secret = data / "secret.key"
    secret.write_text("0" * 64)
    secret.chmod(0o644)
    code, log = launch(wait=False).ended()
    assert code == 1
    assert f"others can read {secret}" in log


@pytest.mark.covers("gateways:need-postgres")
def test_several_gateways_on_sqlite_are_refused_in_one_line(launch):
    code, log = launch(wait=False, TAUSESTACK_GATEWAYS="2").ended()
    assert code == 1
    assert log.strip() == (
        "tausestack: 2 gateways need PostgreSQL: give its URL with --database-url, or start one gateway"
    )


@pytest.mark.covers("supervisor:long-path")
def test_a_data_folder_too_deep_for_a_socket_works_too(launch, tmp_path, wait_until):
    deep = tmp_path / ("d" * 120)
    stack = launch(deep, wait=False)
    run = Path(wait_until(lambda: _told(stack))["told"]["TAUSESTACK_RUN"])
    assert not run.is_relative_to(deep)
    assert stack.get("plain", path=str(run / "plain.sock"))["status"] == 200
    code, _ = stack.stop()
    assert code == 0
    assert not run.exists()


def _told(stack):
    try:
        return stack.gateway()
    except ConnectionRefusedError:
        return None


def _connected(port):
    """Return whether a TCP connection to a port is there."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
