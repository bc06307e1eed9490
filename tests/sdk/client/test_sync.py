"""The client for scripts."""

from __future__ import annotations

import threading

import pytest

from tausestack import errors
from tausestack.client import connect_sync


@pytest.mark.covers("client:sync")
def test_a_script_calls_runs_and_streams_without_an_event_loop(gateway_url: str) -> None:
    before = threading.active_count()
    with connect_sync("acme", "tsk_acme", gateway_url) as client:
        assert client.call("demo/echo", {"a": 1})["arguments"] == {"a": 1}
        assert client.agents.run("concierge", "hello", wait=5).status == "success"
        assert [event.content["number"] for event in client.agents.stream("concierge", "hello")] == [1, 2, 3, 4]
        assert client.servers() == []
        with pytest.raises(errors.NotFound):
            client.call("demo/nothing")
    assert threading.active_count() == before


def test_a_stream_can_be_left_early(gateway_url: str) -> None:
    with connect_sync("acme", "tsk_acme", gateway_url) as client:
        events = client.agents.stream("concierge", "hello")
        assert next(events).content == {"number": 1}
        events.close()
        assert client.tools("echo")[0]["name"] == "echo"
