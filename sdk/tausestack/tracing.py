"""Traces: OpenTelemetry spans by the conventions for GenAI and MCP, sent to a collector over OTLP/HTTP.

Nothing of OpenTelemetry's SDK is imported where no collector is set. Attributes name tools, agents, tenants and runs;
what is said to tools, and what they answer, is in none.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

from tausestack.errors import TauseError

Kind = Literal["internal", "server", "client"]


class Span:
    """A span that is open."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, **attributes: str | float | bool | None) -> None:
        """Add attributes; in their names `_` stands for `.` and `__` for `_`. What is None is left out."""
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name.replace("__", "\0").replace("_", ".").replace("\0", "_"), value)

    def fail(self, kind: str) -> None:
        """Say that it failed, by the stable code of the error."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes spans, and sends them in batches from a thread of its own."""

    def __init__(self, endpoint: str, process: str) -> None:
        """`endpoint` is the collector's root, such as http://127.0.0.1:4318; `process` names this one."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        from tausestack.contract import VERSION

        about = {"service.namespace": "tausestack", "service.name": process, "service.version": VERSION}
        self.provider = TracerProvider(resource=Resource.create(about))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self.provider.get_tracer("tausestack", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: Kind = "internal", parent: str | None = None) -> Generator[Span]:
        """Open a span, of a W3C `traceparent` or of the one that is open here; what is raised within fails it."""
        from opentelemetry.trace import SpanKind

        context = None if parent is None else self._propagator.extract({"traceparent": parent})
        with self._tracer.start_as_current_span(
            name, context, SpanKind[kind.upper()], record_exception=False, set_status_on_exception=False
        ) as opened:
            span = Span(opened)
            try:
                yield span
            except TauseError as error:
                span.fail(error.code)
                raise
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    def carrier(self) -> dict[str, str]:
        """Return what goes along in `_meta` so that a call belongs to the open span: `{"traceparent"}`, or nothing."""
        carried: dict[str, str] = {}
        self._propagator.inject(carried)
        return {name: value for name, value in carried.items() if name == "traceparent"}

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def tracing(endpoint: str | None, process: str) -> Tracing | None:
    """Return a process's tracing, None where no collector is set."""
    return Tracing(endpoint, process) if endpoint else None
