"""This gateway, as an operator runs it: a whole stack, two tenants, the raw upstream installed in both."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from benchmarks._rig.processes import MEASURED, free_port, running, tree, wait_until

INSTALL_SECONDS = 60.0


@dataclass(frozen=True)
class Stack:
    """A stack that serves: its port, its gateway's process and all of its processes, and a key of each tenant."""

    port: int
    gateway: int
    root: int
    keys: dict[str, str]


@contextmanager
def stack(folder: Path, installed: dict[str, str]) -> Generator[Stack]:
    """Run a stack with a tenant for each name, in which the URL is installed as the server `raw`.

    Authentication, policy, limits, metering and audit are on: they can't be turned off.
    """
    port, data, log = free_port(), folder / "data", folder / "stack.log"
    command = [str(Path(sys.executable).with_name("tausestack")), "up", "--data", str(data), "--port", str(port)]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TAUSESTACK_LOG_LEVEL": "warning",
        "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": ",".join({urlsplit(url).netloc for url in installed.values()}),
    }
    with (
        running(command, core=MEASURED, log=log, environment=environment) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v2", timeout=INSTALL_SECONDS, trust_env=False) as http,
    ):
        wait_until(lambda: _ready(http), process, log)
        keys = {tenant: _tenant(http, data, tenant, url) for tenant, url in installed.items()}
        yield Stack(port, _gateway(process.pid), process.pid, keys)


def _ready(http: httpx2.Client) -> bool:
    with suppress(httpx2.TransportError):
        return http.get("/tenants").status_code == 401
    return False


def _tenant(http: httpx2.Client, data: Path, tenant: str, url: str) -> str:
    """Make a tenant, install the upstream for it, and return its key."""
    operator = {"Authorization": f"Bearer {(data / 'operator.key').read_text().strip()}"}
    made = http.post("/tenants", headers=operator, json={"id": tenant, "plan": "premium"})
    key = _good(made)["api_key"]
    wanted = {"ref": url, "name": "raw", "approve": True}
    _good(http.post(f"/tenants/{tenant}/servers", headers={"Authorization": f"Bearer {key}"}, json=wanted))
    return str(key)


def _good(reply: httpx2.Response) -> dict[str, str]:
    if reply.is_error:
        raise SystemExit(f"the stack answered HTTP {reply.status_code}: {reply.text}")
    return reply.json()


def _gateway(root: int) -> int:
    """Return the process of the gateway among those of a stack."""
    for pid in tree(root):
        if b"tausestack_runtime.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise SystemExit("no process of the stack is the gateway")
