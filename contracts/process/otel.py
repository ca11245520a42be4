"""Send spans by OpenTelemetry's SDK: over OTLP, or as lines of JSON. `tracing` imports it, if tracing is on.

The standard variables hold: `OTEL_EXPORTER_OTLP_…`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
`OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`. Spans wait in a queue of limited length and are sent by a thread, so that a slow
collector delays nobody: what finds the queue full is lost, and so is what was not sent when the process ends.
"""

import atexit
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from contracts.process.tracing import About, Kind, Span

END_WITHIN_S = 0.5
"""How long the end of a process waits for the last spans to be sent."""
COMPLAINTS_APART_S = 60.0
STDERR = 2

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtelTracer:
    """Begins spans, and sends them once they have ended. One for the process, until its end."""

    def __init__(self, service: str, exporters: Collection[str], file: str | None) -> None:
        """Begin to send spans of `service`. `file` is where lines go; None for standard error. Raises `ValueError`."""
        resource = Resource.create({"service.instance.id": uuid.uuid4().hex})
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": f"wanjet-{service}"}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._processors = [BatchSpanProcessor(_exporter(name, file)) for name in sorted(exporters)]
        for processor in self._processors:
            provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("wanjet")
        for handler in logging.getLogger().handlers:
            handler.addFilter(_SeldomComplaints())
        self._told_to_end, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._end_when_told, name="traces' end", daemon=True).start()
        atexit.register(self.end)

    def begin(self, name: str, *, parent: str | None, ago_s: float, kind: Kind, about: About) -> Span:
        """Begin a span as `tracing.begin` does."""
        started = self._tracer.start_span(
            name,
            context=_context_of(parent),
            kind=_KINDS[kind],
            attributes=_given(about),
            start_time=time.time_ns() - int(ago_s * 1e9),
        )
        return OtelSpan(started)

    def end(self) -> None:
        """Send what waits, for at most `END_WITHIN_S`: the SDK itself would wait for a slow collector."""
        self._told_to_end.set()
        self._ended.wait(END_WITHIN_S)

    def _end_when_told(self) -> None:
        self._told_to_end.wait()
        for processor in self._processors:
            processor.shutdown()
        self._ended.set()


class OtelSpan(Span):
    """A span that is sent once it has ended, if its trace is sampled."""

    def __init__(self, span: Any) -> None:
        context = span.get_span_context()
        super().__init__(f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}")
        self._span = span

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self._span.update_name(name)

    def note(self, about: About) -> None:
        """Add attributes."""
        self._span.set_attributes(_given(about))

    def event(self, name: str, about: About) -> None:
        """Add an event, which happens now."""
        self._span.add_event(name, _given(about))

    def failed(self, why: str) -> None:
        """Mark the span as failed; `why` is the name of an error, and not its text."""
        self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self, *, ago_s: float = 0.0) -> None:
        """End the span, so many seconds ago, unless it has ended. It can be sent then."""
        if self._span.is_recording():
            self._span.end(time.time_ns() - int(ago_s * 1e9))


class LineExporter(SpanExporter):
    """Appends each span to a file, or to standard error, as a line of JSON; several processes may share the file."""

    def __init__(self, file: str | None) -> None:
        self._out = STDERR if file is None else os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans in one piece; those that cannot be written are lost."""
        text = "".join(f"{line(span)}\n" for span in spans).encode()
        try:
            while text:
                text = text[os.write(self._out, text) :]
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def line(span: ReadableSpan) -> str:
    """Return a span as a line of JSON: times in UTC and milliseconds, ids as `traceparent` has them."""
    context, parent, start_ns = span.get_span_context(), span.parent, span.start_time or 0
    fields = {
        "trace_id": "" if context is None else f"{context.trace_id:032x}",
        "span_id": "" if context is None else f"{context.span_id:016x}",
        "parent_id": None if parent is None else f"{parent.span_id:016x}",
        "service": span.resource.attributes["service.name"],
        "name": span.name,
        "start": datetime.fromtimestamp(start_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "ms": _ms((span.end_time or start_ns) - start_ns),
        "failed": span.status.description if span.status.status_code is StatusCode.ERROR else None,
        "attributes": dict(span.attributes or {}),
        "events": [
            {"name": event.name, "ms": _ms(event.timestamp - start_ns), **(event.attributes or {})}
            for event in span.events
        ],
    }
    return json.dumps(fields, default=str)


class _SeldomComplaints(logging.Filter):
    """Lets one line of the SDK through in `COMPLAINTS_APART_S`: else a collector that is away is named each second."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is logged."""
        now = time.monotonic()
        if not record.name.startswith("opentelemetry"):
            return True
        if now < self._next:
            return False
        self._next = now + COMPLAINTS_APART_S
        return True


def _exporter(name: str, file: str | None) -> SpanExporter:
    """Return the exporter of this name. Raises `ValueError` for a variable of it that cannot be."""
    if name == "console":
        return LineExporter(file)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # imports requests

    return OTLPSpanExporter()


def _context_of(traceparent: str | None) -> Context:
    """Return the context in which a span of this `traceparent` is the current one; an empty one without it."""
    if traceparent is None:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _given(about: About) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in about.items() if value is not None}


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
