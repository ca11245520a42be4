"""Trace a job through all processes (distributed tracing by OpenTelemetry), if an operator asks for it.

Whoever works on a job opens a span here. While tracing is off, as it is without `OTEL_TRACES_EXPORTER`, that does
nothing, and nothing of OpenTelemetry is imported: `otel` has all that needs it. From process to process a trace travels
as W3C's `traceparent`, in the headers of HTTP and of messages. Attributes may hold nothing that a client has written.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib import import_module
from typing import Literal, Protocol

from contracts.process import env, log
from contracts.process.env import BadSetting
from contracts.process.settings import TraceSettings

HEADER = "traceparent"
EXTRA = "wanjet[otel]"
JOB_ID, ATTEMPT = "wanjet.job_id", "wanjet.attempt"
"""Names of attributes that several spans have."""

Kind = Literal["internal", "server", "producer", "consumer"]
About = Mapping[str, str | int | float | bool | None]
"""Attributes of a span, by names as OpenTelemetry has them; those that are None are left out."""

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII
)


class Span:
    """A span that goes nowhere, as all do while tracing is off; or, with a `traceparent`, another process's span."""

    def __init__(self, traceparent: str | None = None) -> None:
        self.traceparent = traceparent
        self.trace_id = "" if traceparent is None else traceparent.split("-")[1]

    def rename(self, name: str) -> None:
        """Give the span another name."""

    def note(self, about: About) -> None:
        """Add attributes."""

    def event(self, name: str, about: About) -> None:
        """Add an event, which happens now."""

    def failed(self, why: str) -> None:
        """Mark the span as failed; `why` is the name of an error, and not its text."""

    def end(self, *, ago_s: float = 0.0) -> None:
        """End the span, so many seconds ago, unless it has ended. It can be sent then."""


class Tracer(Protocol):
    """The part that begins spans which are sent."""

    def begin(self, name: str, *, parent: str | None, ago_s: float, kind: Kind, about: About) -> Span: ...
    def end(self) -> None: ...


class _Tracing:
    """The tracer of the process, once `configure` has made one."""

    tracer: Tracer | None = None


_NOWHERE = Span()
_current: ContextVar[Span] = ContextVar("span", default=_NOWHERE)


def configure(service: str) -> None:
    """Turn tracing on for this process, if the environment asks for it and the extra is installed. Call it once.

    Without the extra that is a warning in the log: the variables are often set for all processes of a host. Raises
    `BadSetting`.
    """
    asked = env.read(TraceSettings)
    exporters = set(asked.otel_traces_exporter) - {"none"}
    if asked.otel_sdk_disabled or not exporters:
        return
    try:
        otel = import_module("contracts.process.otel")
    except ModuleNotFoundError as missing:
        if not str(missing.name).startswith("opentelemetry"):
            raise
        log.get().warning("tracing_not_installed", needs=EXTRA)
        return
    try:
        _Tracing.tracer = otel.OtelTracer(service, exporters, asked.traces_file)
    except ValueError as error:
        raise BadSetting(f"OTEL_…: {error}") from error


def end() -> None:
    """Send the spans that wait, for half a second at most. A process ends so by itself, unless it was forked."""
    if _Tracing.tracer is not None:
        _Tracing.tracer.end()


def is_on() -> bool:
    """Return whether spans are sent."""
    return _Tracing.tracer is not None


def begin(
    name: str, about: About | None = None, *, parent: str | None = None, ago_s: float = 0.0, kind: Kind = "internal"
) -> Span:
    """Begin a span, which has to be ended, so many seconds ago. Its parent is a `traceparent`, or the current span.

    For a span that a block does not hold: `span` is for those.
    """
    if (tracer := _Tracing.tracer) is None:
        return _NOWHERE
    parent = accepted(parent) or _current.get().traceparent
    return tracer.begin(name, parent=parent, ago_s=ago_s, kind=kind, about=about or {})


@contextmanager
def span(
    name: str, about: About | None = None, *, parent: str | None = None, kind: Kind = "internal"
) -> Generator[Span, None, None]:
    """Trace the block: begin a span as `begin` does, make it the current one, and end it. An exception marks it."""
    begun = begin(name, about, parent=parent, kind=kind)
    try:
        with within(begun):
            yield begun
    except BaseException as error:
        begun.failed(type(error).__name__)
        raise
    finally:
        begun.end()


def within(span: Span) -> AbstractContextManager[None]:
    """Make a span the current one for the block: the parent of what begins there, with its `trace_id` in the log."""
    return nullcontext() if span.traceparent is None else _current_within(span)


def joined(traceparent: str | None) -> AbstractContextManager[None]:
    """Go on with another process's trace in the block, as `within` does, if there is one and tracing is on."""
    if _Tracing.tracer is None or (parent := accepted(traceparent)) is None:
        return nullcontext()
    return within(Span(parent))


@contextmanager
def _current_within(span: Span) -> Generator[None, None, None]:
    before = _current.set(span)
    try:
        with log.bound(trace_id=span.trace_id):
            yield
    finally:
        _current.reset(before)


def accepted(traceparent: str | None) -> str | None:
    """Return what a header `traceparent` says, None if it is none that W3C's recommendation allows."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


def current() -> Span:
    """Return the current span; one that goes nowhere outside of all."""
    return _current.get()
