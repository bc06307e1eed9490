"""Several streams of one session: a message that a server sends goes to one of them, and never to two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from remotes import EARLIER, MODERN, Party, eventually, party
from sessions import Earlier, Message, endpoint, heard
from stack import Stack, Tenant

NOTE = "tausestack://red/note%3A%2F%2Fone"
UPDATED: Message = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "note://one"}}
ANEW: Message = {"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}


@pytest.fixture(params=[MODERN, EARLIER], ids=["modern", "earlier"])
def red(request: pytest.FixtureRequest, stack: Stack, tenant: Tenant) -> Iterator[Party]:
    with party(stack.remote_ports[0], "red", request.param) as running:
        tenant.install(running.url, name="red")
        yield running


@pytest.mark.covers("earlier:one-stream")
@pytest.mark.parametrize("server", [None, "red"], ids=["merged", "its own"])
def test_of_two_streams_of_a_session_one_is_told_each_message(tenant: Tenant, red: Party, server: str | None) -> None:
    client = Earlier(endpoint(tenant, server), tenant.key)
    with heard(client) as older:
        assert client.result("resources/subscribe", {"uri": NOTE if server is None else "note://one"}) == {}
        assert red.tell(UPDATED)
        eventually(lambda: older)
        with heard(client) as newer:
            for n in range(20):
                red.tell(UPDATED)
                eventually(lambda n=n: len(newer) > n)
        eventually(lambda: red.tell(ANEW) and ANEW["method"] in older)
        assert older.count(UPDATED["method"]) == 1
        assert newer.count(UPDATED["method"]) == 20
