"""A server that is slow to list: whoever lists gets what it listed before, and says so, before a client gives up."""

from __future__ import annotations

import signal

import pytest

from remotes import eventually, party
from stack import Stack, Tenant


@pytest.mark.covers("remote:away")
def test_a_server_that_is_slow_to_list_keeps_nobody_waiting(stack: Stack, tenant: Tenant) -> None:
    with party(stack.remote_ports[0], "red") as red, party(stack.remote_ports[1], "blue") as blue:
        tenant.install(red.url, name="red")
        tenant.install(blue.url, name="blue")
        red.process.send_signal(signal.SIGSTOP)
        listed = tenant.rpc("prompts/list", {}).json()["result"]["prompts"]
        red.process.send_signal(signal.SIGCONT)
        why = {one["name"]: one.get("_meta", {}).get("pro.tause/stale") for one in listed}
        assert why["blue__greet"] is None
        assert why["red__greet"] == "red takes long to answer prompts/list"
        eventually(lambda: "stale" not in tenant.rpc("prompts/list", {}).text)
