"""One trace a run, across gateway, agents and servers, at a collector; nothing where none is set."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stack import running

REQUEST = "Valida el NIT 900.123.456-8 y crea una factura para Café Andino por 250.000 COP de asesoría"


class Collector:
    """Takes spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.port = 0

    def spans(self) -> list[tuple[str, Any]]:
        """Return every span with the name of the process that sent it."""
        found: list[tuple[str, Any]] = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {each.key: each.value.string_value for each in resource.resource.attributes}
                found += [(named["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on loopback."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            collector.bodies.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


@pytest.mark.covers("tracing:one-trace", "tracing:no-contents")
@pytest.mark.timeout(300)
def test_a_run_is_one_trace_over_gateway_agents_and_servers_and_holds_nothing_that_was_said(tmp_path: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with collecting() as collector:
        with running(tmp_path / "data", TAUSESTACK_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}") as stack:
            tenant = stack.tenant()
            tenant.install("colombia")
            given = {"agent": "concierge", "input": REQUEST, "wait": 60}
            headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            run = tenant.client.post("/runs", json=given, headers=headers).json()
            assert run["status"] == "interrupted", run
            ended = tenant.client.post(f"/runs/{run['id']}/resume", json={"decision": {"approve": True}, "wait": 60})
            assert ended.json()["status"] == "success"
        spans = [(process, span) for process, span in collector.spans() if span.trace_id.hex() == trace]
    named = {(process, span.name) for process, span in spans}
    assert named >= {
        ("gateway", "tools/call run"),
        ("agents", "tools/call run"),
        ("agents", "invoke_agent concierge"),
        ("gateway", "tools/call validate_nit"),
        ("colombia", "tools/call validate_nit"),
        ("gateway", "tools/call create_invoice"),
        ("billing", "tools/call create_invoice"),
    }, named
    assert any(attributes(span).get("gen_ai.operation.name") == "chat" for _, span in spans)
    ids = {span.span_id for _, span in spans}
    orphans = [(process, span.name) for process, span in spans if span.parent_span_id not in ids]
    assert orphans == [("gateway", "tools/call run")]
    of_run = [attributes(span) for process, span in spans if span.name == "tools/call validate_nit"]
    assert {(one["tausestack.tenant"], one["tausestack.run"]) for one in of_run} == {(tenant.name, run["id"])}
    said = b"".join(collector.bodies)
    leaking = [span for _, span in collector.spans() if b"900.123" in span.SerializeToString()]
    for secret in ("900.123.456", "900123456", "Café Andino", "asesor", tenant.key, "tsk_"):
        assert secret.encode() not in said, (secret, [str(each)[:6000] for each in leaking[:2]])


@pytest.mark.covers("tracing:off")
def test_without_a_collector_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, tausestack_runtime.gateway.app, tausestack.mcp, tausestack.mcp.service;"
        "print([each for each in sys.modules if each.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
