"""Two gateways behind one port, on PostgreSQL: it never matters which of them a request meets."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from benchmarks._postgres import database

from remotes import EARLIER, MODERN, Party, eventually, party
from sessions import Earlier, Message, heard
from stack import Tenant, free_port, running
from two_gateways import Gateways, until

CONNECTIONS = 32
INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"
NIT = {"nit": "900123456-8"}
CLIENTS = 6
CALLS_AROUND_A_KILL = 40


@pytest.fixture(scope="module")
def gateways(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    data = tmp_path_factory.mktemp("gateways") / "data"
    port = free_port()
    settings = {"TAUSESTACK_GATEWAYS": "2", "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}"}
    with database(postgres_server) as url, running(data, TAUSESTACK_DATABASE_URL=url, **settings) as stack:
        stack.remote_ports = (port, port)
        found = Gateways(stack, url.replace("//owner@/", "//postgres@/"))
        until(found.all_serve)
        yield found


@pytest.fixture
def tenant(gateways: Gateways) -> Tenant:
    until(gateways.all_serve)
    return gateways.stack.tenant()


@pytest.fixture
def through(gateways: Gateways, tenant: Tenant) -> Iterator[dict[int, Tenant]]:
    """The tenant, by the gateway that its calls meet first."""
    found = {number: gateways.met_first(number, tenant) for number in (1, 2)}
    yield found
    for one in found.values():
        one.client.close()


@pytest.mark.covers("gateways:share-the-port", "gateways:scrape")
def test_connections_are_shared_out_evenly_and_one_scrape_tells_of_all(gateways: Gateways, tenant: Tenant) -> None:
    tenant.install("colombia")
    before = gateways.scraped("tausestack_calls_total")
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(
                httpx2.Client(headers=tenant.headers, trust_env=False, verify=False, timeout=60)
            )
            url = f"{tenant.url}/api/v2/tenants/{tenant.name}/tools/colombia/validate_nit"
            assert client.post(url, json=NIT).status_code == 200
        held = gateways.scraped("tausestack_connections")
    calls = gateways.scraped("tausestack_calls_total")
    assert set(held) == {"1", "2"}
    assert min(held.values()) >= CONNECTIONS / 3, held
    for number in ("1", "2"):
        assert calls[number] - before.get(number, 0) >= CONNECTIONS / 3, (before, calls)
    assert gateways.scraped("tausestack_gateway_up") == {"1": 1, "2": 1}
    shown = json.loads(gateways.stack.cli("doctor", "--json", check=False).stdout)["checks"]
    serving = next(check for check in shown if check["check"] == "gateways serving")
    assert (serving["ok"], serving["bound"]) == (True, "2")
    assert all(one["pss_bytes"] > 0 for one in gateways.figures())


@pytest.mark.covers("gateways:one-view")
def test_what_is_done_through_one_holds_at_once_through_the_other(through: dict[int, Tenant]) -> None:
    first, second = through[1], through[2]
    for here, there in ((first, second), (second, first)):
        assert there.call("colombia/validate_nit", NIT).status_code == 404
        here.install("colombia")
        assert there.must("colombia/validate_nit", NIT)["valid"] is True
        assert here.client.delete("/servers/colombia").status_code == 200
        assert there.call("colombia/validate_nit", NIT).status_code == 404
    for here, there in ((first, second), (second, first)):
        made = here.client.post("/keys", json={"role": "developer"}).json()
        bearer = {"Authorization": f"Bearer {made['api_key']}"}
        assert there.client.get("/tools", headers=bearer).status_code == 200
        assert here.client.get("/tools", headers=bearer).status_code == 200
        assert here.client.delete(f"/keys/{made['id']}").status_code == 200
        assert there.client.get("/tools", headers=bearer).status_code == 401
        assert here.client.get("/tools", headers=bearer).status_code == 401


@pytest.mark.covers("limits:gateways", "limits:set")
def test_a_limit_is_one_for_both_and_outlives_a_kill(
    gateways: Gateways, tenant: Tenant, through: dict[int, Tenant]
) -> None:
    def set_limits(**limits: int | None) -> None:
        assert gateways.stack.operator("PATCH", f"tenants/{tenant.name}/limits", json=limits).status_code == 200

    def statuses(calls: int) -> Counter[int]:
        with ThreadPoolExecutor(8) as pool:
            return Counter(
                pool.map(lambda n: through[1 + n % 2].call("billing/list_plans", {}).status_code, range(calls))
            )

    for number in (1, 2):
        through[number].must("billing/list_plans", {})
    set_limits(calls_per_minute=22, runs=2)
    assert statuses(30) == {200: 20, 429: 10}
    run = {"agent": "concierge", "input": "Hola"}
    set_limits(calls_per_minute=None)
    assert through[2].client.post("/runs", json=run).status_code == 202
    set_limits(calls_per_minute=23)
    pid = gateways.kill(2)
    until(lambda: gateways.figures()[1]["pid"] != pid)
    until(gateways.all_serve)
    assert statuses(4) == {429: 4}
    set_limits(calls_per_minute=None)
    assert [through[number].client.post("/runs", json=run).status_code for number in (2, 1)] == [202, 429]
    (used,) = {str(through[number].client.get("/limits").json()["limits"]["runs"]["used"]) for number in (1, 2)}
    assert used == "2"


@pytest.mark.covers("gateways:runs", "gateways:nested")
def test_a_run_is_started_followed_decided_on_and_cancelled_through_either(
    gateways: Gateways, tenant: Tenant, through: dict[int, Tenant]
) -> None:
    handed = gateways.scraped("tausestack_handed_over_total")
    for started_at, decided_at in ((1, 2), (2, 1)):
        here, there = through[started_at], through[decided_at]
        run = here.client.post("/runs", json={"agent": "concierge", "input": INVOICE, "wait": 30}).json()
        assert run["status"] == "interrupted", run
        (waiting,) = there.client.get("/approvals?status=pending").json()["approvals"]
        assert waiting["id"] == run["interrupt"]["approval"]
        seen = events(here, run["id"])
        # The decision is a call nested in the resuming one: the agents' own connection is to one of the gateways.
        ended = there.client.post(f"/runs/{run['id']}/resume", json={"decision": {"approve": True}, "wait": 30}).json()
        assert ended["status"] == "success", ended
        rest = events(there, run["id"], after=seen[-1])
        assert rest
        again = events(here, run["id"])
        assert again == seen
        assert rest == events(here, run["id"], after=again[-1])
    assert len(through[1].must("billing/list_invoices", {})["invoices"]) == 2
    for number in (1, 2):
        held = through[number].client.post("/runs", json={"agent": "concierge", "input": INVOICE, "wait": 30}).json()
        other = through[3 - number]
        assert other.client.post(f"/runs/{held['id']}/cancel").json()["status"] == "cancelled"
    approvals = through[1].client.get("/approvals").json()["approvals"]
    assert Counter(one["status"] for one in approvals) == {"used": 2, "withdrawn": 2}
    assert sum(gateways.scraped("tausestack_handed_over_total").values()) > sum(handed.values())
    assert tenant.client.get("/audit/verify").json()["ok"] is True


def events(tenant: Tenant, run: str, after: str | None = None) -> list[str]:
    """Return the ids of a run's events until it waits for the first time or has ended."""
    headers = {"Last-Event-ID": after} if after else {}
    found: list[str] = []
    with tenant.client.stream("GET", f"/runs/{run}/events", headers=headers) as reply:
        for line in reply.iter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                found.append(value)
            elif field == "data" and json.loads(value).get("status") in {"interrupted", "success"}:
                break
    return found


@pytest.mark.covers("agents:events-after-a-kill")
def test_following_goes_on_through_the_other_gateway_where_one_dies(
    gateways: Gateways, through: dict[int, Tenant]
) -> None:
    run = through[1].client.post("/runs", json={"agent": "concierge", "input": INVOICE, "wait": 30}).json()
    with through[1].client.stream("GET", f"/runs/{run['id']}/events") as reply:
        lines = reply.iter_lines()
        assert "id: 1" in lines
        gateways.kill(1)
        with pytest.raises(httpx2.TransportError):
            list(lines)
    rest = events(through[2], run["id"], after="1")
    assert rest == [str(number) for number in range(2, len(rest) + 2)]
    until(gateways.all_serve)


@pytest.mark.covers("gateways:hand-over")
def test_a_request_is_handed_over_once_and_refused_where_its_gateway_is_gone(
    gateways: Gateways, tenant: Tenant
) -> None:
    def nested(parent: str, **headers: str) -> tuple[int, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "pro.tause/parent": parent,
        }
        body = {"jsonrpc": "2.0", "id": "n1", "method": "tools/list", "params": {"_meta": meta}}
        sent = {**tenant.headers, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list", **headers}
        with gateways.client(1) as client:
            reply = client.post(f"/tenants/{tenant.name}/mcp", json=body, headers=sent)
        return reply.status_code, reply.json()

    handed = gateways.scraped("tausestack_handed_over_total").get("1", 0)
    ours, theirs, nobodys = (f"call_{number:02x}{'0' * 22}" for number in (1, 2, 9))
    for parent in (ours, theirs, nobodys, "call_zz", "other"):
        status, answer = nested(parent)
        assert (status, answer["id"]) == (401, "n1"), answer
        assert "in flight" in answer["error"]["message"]
    assert gateways.scraped("tausestack_handed_over_total")["1"] == handed + 1
    assert nested(theirs, **{"tausestack-forwarded": "internally"})[0] == 404

    with gateways.away(2):
        status, answer = nested(theirs)
        assert (status, answer["id"]) == (503, "n1"), answer
        assert gateways.scraped("tausestack_gateway_up") == {"1": 1, "2": 0}
    assert nested(theirs)[0] == 401


@pytest.mark.covers("gateways:no-disguise")
def test_nobody_outside_passes_for_a_gateway(gateways: Gateways, tenant: Tenant) -> None:
    for said in ("internally", "publicly"):
        headers = {**tenant.headers, "tausestack-forwarded": said, "Host": "evil.example"}
        refused = httpx2.get(
            f"{tenant.url}/api/v2/tenants/{tenant.name}/tools",
            headers=headers,
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert refused.status_code == 421
        text = httpx2.get(
            f"{tenant.url}/metrics", headers={"tausestack-forwarded": said}, timeout=60, trust_env=False, verify=False
        ).text
        assert 'tausestack_gateway_up{gateway="2"} 1' in text


@pytest.fixture(params=[MODERN, EARLIER], ids=["modern", "earlier"])
def red(request: pytest.FixtureRequest, gateways: Gateways, tenant: Tenant) -> Iterator[Party]:
    """A server at a URL, once of each era."""
    with party(gateways.stack.remote_ports[0], "red", request.param) as running_party:
        tenant.install(running_party.url, name="red")
        yield running_party


def session(gateways: Gateways, tenant: Tenant) -> dict[int, Earlier]:
    """Return one session of an earlier client, begun at the first gateway, through each of the two."""
    begun = Earlier(f"/tenants/{tenant.name}/mcp", tenant.key, client=gateways.client(1))
    return {1: begun, 2: begun.through(gateways.client(2))}


@pytest.mark.covers("earlier:gateways")
def test_an_earlier_clients_session_is_every_gateways(gateways: Gateways, tenant: Tenant, red: Party) -> None:
    client = session(gateways, tenant)
    assert client[2].result("ping") == {}  # it knows the session now, as one in which nothing was done yet
    for asks, answers in ((1, 2), (2, 1)):

        def answer(question: Message, to: Earlier = client[answers]) -> None:
            assert to.respond(question, {"action": "accept", "content": {"name": "Ana"}}) == 202

        assert "Ana" in client[asks].call("red__ask", told=answer)["content"][0]["text"]
        call = client[asks].request("tools/call", {"name": "red__wait", "arguments": {}, "_meta": {"progressToken": 1}})
        call["id"] = f"waits at {asks}"
        client[asks].events.clear()
        with client[asks].sent(call) as messages:
            assert next(messages)["method"] == "notifications/progress"
        began = client[asks].events[0]
        with client[answers].listening(after=began) as messages:
            assert next(messages)["method"] == "notifications/progress"
            assert client[answers].notify("notifications/cancelled", {"requestId": call["id"]}) == 202
            assert list(messages) == []
    ended = {"gone", "notifications/cancelled"}
    eventually(lambda: sum(bool(ended & {*one, (one.get("message") or {}).get("method")}) for one in red.log()) == 2)
    assert client[2].result("logging/setLevel", {"level": "error"}) == {}
    assert client[2].end() == 200
    for number in (1, 2):
        until(lambda one=client[number]: one.post(one.request("ping")).status_code == 404)


@pytest.mark.covers("earlier:one-stream")
def test_of_streams_at_two_gateways_one_is_told_each_message(gateways: Gateways, tenant: Tenant, red: Party) -> None:
    client = session(gateways, tenant)
    note, anew = "notifications/resources/updated", "notifications/resources/list_changed"
    updated: Message = {"jsonrpc": "2.0", "method": note, "params": {"uri": "note://one"}}
    assert client[1].result("resources/subscribe", {"uri": "tausestack://red/note%3A%2F%2Fone"}) == {}
    with heard(client[1], gateways.client(1)) as older:
        eventually(lambda: red.tell(updated) and older)
        with heard(client[2], gateways.client(2)) as newer:
            eventually(lambda: red.tell(updated) and note in newer)
            before = older.count(note)
            for n in range(len(newer), len(newer) + 10):
                red.tell(updated)
                eventually(lambda n=n: len(newer) > n)
        eventually(lambda: red.tell({"jsonrpc": "2.0", "method": anew}) and anew in older)
        assert older.count(note) == before


@pytest.mark.covers("earlier:gateways")
def test_what_a_gateway_that_is_gone_had_is_refused_cleanly(gateways: Gateways, tenant: Tenant) -> None:
    client = session(gateways, tenant)
    gone = {"jsonrpc": "2.0", "id": f"g02-{'0' * 20}", "result": {}}
    assert client[1].post(gone).status_code == 202
    with gateways.away(2):
        assert client[1].post(gone).status_code == 503
        assert client[1].client.get(client[1].url, headers={"Last-Event-ID": f"02{'0' * 16}-1"}).status_code == 503
        assert client[1].result("ping") == {}
    assert client[1].client.get(client[1].url, headers={"Last-Event-ID": f"02{'0' * 16}-1"}).status_code == 400
    assert session(gateways, tenant)[2].result("ping") == {}
    assert client[1].through(gateways.client(2)).result("ping") == {}


class Caller(threading.Thread):
    """One client that reads and writes with keys over and over, and tries again where its connection breaks."""

    def __init__(self, tenant: Tenant, number: int, *, keep_connections: bool) -> None:
        super().__init__(daemon=True)
        self.tenant, self.number, self.keep = Tenant(tenant.name, tenant.key, tenant.url), number, keep_connections
        self.stopped = threading.Event()
        self.done, self.broken = 0, 0
        self.failures: list[str] = []
        self.keyed: list[str] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            name = f"k{self.number}-{self.done}"
            self._must("billing/list_plans", {}, None)
            self._must("billing/record_usage", {"metric": name, "quantity": 1}, name)
            self.keyed.append(name)
            self.done += 1

    def _must(self, address: str, arguments: dict[str, Any], key: str | None) -> None:
        for _ in range(3):
            if not self.keep:
                self.tenant.client.headers["connection"] = "close"
            try:
                reply = self.tenant.call(address, arguments, key=key)
            except httpx2.TransportError:
                self.broken += 1
                continue
            if reply.status_code != 200:
                self.failures.append(reply.text)
            return
        self.failures.append(f"{address}: no connection")


def under_load(gateways: Gateways, tenant: Tenant, end: signal.Signals, *, keep_connections: bool) -> list[Caller]:
    """End each gateway once while clients call; return the clients."""
    callers = [Caller(tenant, n, keep_connections=keep_connections) for n in range(CLIENTS)]
    for caller in callers:
        caller.start()
    try:
        for number in (1, 2):
            seen = sum(caller.done for caller in callers)
            until(lambda seen=seen: sum(caller.done for caller in callers) > seen + CALLS_AROUND_A_KILL)
            pid = gateways.kill(number, end)
            until(lambda number=number, pid=pid: gateways.figures()[number - 1]["pid"] != pid)
            until(gateways.all_serve)
    finally:
        for caller in callers:
            caller.stopped.set()
        for caller in callers:
            caller.join(60)
    return callers


@pytest.mark.covers("gateways:kill", "gateways:one-chain")
def test_a_killed_gateway_loses_nothing_for_a_client_that_tries_again(
    gateways: Gateways, tenant: Tenant, through: dict[int, Tenant]
) -> None:
    tenant.must("billing/list_plans", {})
    callers = under_load(gateways, tenant, signal.SIGKILL, keep_connections=True)
    assert [failure for caller in callers for failure in caller.failures] == []
    keyed = [name for caller in callers for name in caller.keyed]
    for number in (1, 2):
        totals = {one["metric"]: one["quantity"] for one in through[number].must("billing/get_usage", {})["usage"]}
        assert {name: totals.get(name) for name in keyed if totals.get(name) != 1} == {}
    usages = [through[number].client.get("/usage").json() for number in (1, 2)]
    written = [
        next(tool["calls"] for tool in usage["tools"] if (tool["server"], tool["tool"]) == ("billing", "record_usage"))
        for usage in usages
    ]
    assert written[0] == written[1] >= len(keyed)
    assert tenant.client.get("/audit/verify").json()["ok"] is True
    numbers = {entry["call"][5:7] for entry in tenant.client.get("/audit?limit=500").json()["entries"]}
    assert numbers == {"01", "02"}


@pytest.mark.covers("gateways:graceful")
def test_a_gateway_that_is_told_to_end_breaks_no_connection(gateways: Gateways, tenant: Tenant) -> None:
    tenant.must("billing/list_plans", {})
    callers = under_load(gateways, tenant, signal.SIGTERM, keep_connections=False)
    assert [failure for caller in callers for failure in caller.failures] == []
    assert sum(caller.broken for caller in callers) == 0
    assert Path(gateways.stack.log).read_text().count("Traceback") == 0


@pytest.mark.covers("life:every-gateway", "life:deleted")
def test_a_tenant_is_suspended_and_deleted_at_every_gateway(gateways: Gateways, through: dict[int, Tenant]) -> None:
    stack, (one, two) = gateways.stack, (through[1], through[2])
    one.must("storage/put_json", {"key": one.name, "value": one.name})
    two.must("billing/list_invoices", {})
    assert one.client.post("/runs", json={"agent": "concierge", "input": INVOICE, "wait": 30}).status_code < 300
    assert stack.operator("POST", f"tenants/{one.name}/suspend", json={}).status_code == 200
    for each in (one, two):
        refused = each.client.get("/tools")
        assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    receipt = stack.operator("DELETE", f"tenants/{one.name}")
    assert receipt.status_code == 200, receipt.text
    assert receipt.json()["removed"]["storage"]["documents"] == 1
    assert [each.client.get("/tools").status_code for each in (one, two)] == [401, 401]
    with psycopg.connect(gateways.superuser_url) as superuser:
        tables = superuser.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname !~ '^pg_'")
        holding = [
            name
            for (name,) in tables.fetchall()
            if "tausestack" in name
            and superuser.execute(f"SELECT 1 FROM {name} t WHERE t::text LIKE '%{one.name}%'").fetchone()
        ]
    assert holding == []
    again = stack.tenant(one.name)
    for each in (one, two):
        each.client.headers.update(again.headers)
        assert each.must("storage/list_keys", {})["keys"] == []
