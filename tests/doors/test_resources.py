"""Resources through the merged endpoint: each URI reaches the server that gave it out, as that gave it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from mcp.shared.uri_template import UriTemplate

from remotes import Party, eventually, listening, party
from sessions import Earlier, endpoint
from stack import Stack, Tenant

URIS = [
    "note://one",
    "note://one/two?q=a%26b&c=d#end",
    "file:///a%2Fb/c d/ñandú/100%",
    "NOTE://Host/../x/./y//z",
    "urn:isbn:0451450523",
    "data:text/plain,tausestack%3A%2F%2Fblue%2Fx",
    "no scheme/at all",
    ":odd",
    "x://" + "é" * 300,
]
VALUES: dict[str, Any] = {
    "id": "a/b c%2Fd:ñ?&=#100%",
    "path": "docs/año/ü&x=y?z#f",
    "q": "uno & dos=tres/¿?",
    "list": ["a,b", "c d", "ñ"],
}
TEMPLATES = [
    "note://{id}",
    "note://{id}/x y",
    "file:///{+path}",
    "note://host{/id}{?q}",
    "search://{?q,id}",
    "search://x?fixed=1%20a{&q}",
    "list://{list}/{#path}",
    "list://x{/list*}{?map*}",
    "tags://a{.id}{;q}",
    "{+path}",
    "{id}",
]


@pytest.fixture
def parties(stack: Stack, tenant: Tenant) -> Iterator[dict[str, Party]]:
    """Two servers that offer the same."""
    with ExitStack() as running:
        found: dict[str, Party] = {}
        for port, name in zip(stack.remote_ports, ("red", "blue"), strict=False):
            found[name] = running.enter_context(party(port, name))
            found[name].offer_resources(URIS, TEMPLATES)
            tenant.install(found[name].url, name=name)
        yield found


def filled(template: str) -> str:
    """Return the URI that a template is filled to; the official SDK fills no `{?map*}`."""
    return UriTemplate.parse(template.replace("{?map*}", "?a=1%262&%C3%B1=%20")).expand(VALUES)


def asked(one: Party, method: str = "resources/read") -> list[str]:
    return [call["message"]["params"]["uri"] for call in one.calls(method)]


def result(tenant: Tenant, method: str, params: dict[str, Any]) -> Any:
    reply = tenant.rpc(method, params)
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]


@pytest.mark.covers("remote:resources")
def test_each_resource_of_a_list_is_read_at_its_server_by_its_own_uri(
    tenant: Tenant, parties: dict[str, Party]
) -> None:
    listed = [one["uri"] for one in result(tenant, "resources/list", {})["resources"]]
    assert len(set(listed)) == len(listed) == 2 * len(URIS)
    for uri in listed:
        (read,) = result(tenant, "resources/read", {"uri": uri})["contents"]
        assert read["uri"] == uri
    for one in parties.values():
        assert asked(one) == URIS


@pytest.mark.covers("remote:resources")
def test_a_filled_template_reaches_its_server_as_if_that_had_been_asked(
    tenant: Tenant, parties: dict[str, Party]
) -> None:
    listed = result(tenant, "resources/templates/list", {})["resourceTemplates"]
    merged = [one["uriTemplate"] for one in listed]
    assert len(set(merged)) == len(merged) == 2 * len(TEMPLATES)
    for template in merged:
        uri = filled(template)
        (read,) = result(tenant, "resources/read", {"uri": uri})["contents"]
        assert read["uri"] == uri
    uris = [filled(template) for template in TEMPLATES]
    for one in parties.values():
        assert asked(one) == uris
    earlier = Earlier(endpoint(tenant), tenant.key)
    for template in merged[: len(TEMPLATES)]:
        uri = filled(template)
        (read,) = earlier.result("resources/read", {"uri": uri})["contents"]
        assert read["uri"] == uri
    assert asked(parties["blue"]) == uris * 2
    asked_about = {"ref": {"type": "ref/resource", "uri": merged[0]}, "argument": {"name": "id", "value": "a"}}
    assert result(tenant, "completion/complete", asked_about)["completion"]["values"] == [TEMPLATES[0], "a"]


@pytest.mark.covers("remote:resources")
def test_a_watched_resource_is_told_of_by_the_uri_that_was_asked_for(tenant: Tenant, parties: dict[str, Party]) -> None:
    own = filled(TEMPLATES[0])
    uri = f"tausestack://red/:{own}"
    told = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": own}}
    with listening(tenant, {"resourceSubscriptions": [uri]}) as messages:
        assert next(messages)["params"]["notifications"]["resourceSubscriptions"] == [uri]
        eventually(lambda: parties["red"].tell(told))
        assert next(messages)["params"]["uri"] == uri
    client = Earlier(endpoint(tenant), tenant.key)
    with client.listening() as messages:
        assert client.result("resources/subscribe", {"uri": uri}) == {}
        parties["red"].tell(told)
        assert next(messages)["params"]["uri"] == uri
